//! Web forms and messages as steps of a login.

use super::{accepted, around, mistakes};

#[test]
fn web_forms_and_messages_are_checked() {
    let told = mistakes(&around(
        r#"
[credentials.c]
flow = "login"
params = { box = "maildir:" }
secrets = { password = { env = "PASSWORD" } }
[[credentials.c.steps]]
submit = "form["
outputs = { a = { css = "" }, b = { attribute = "value" }, c = { css = "input", regex = "(x)" } }
[[credentials.c.steps]]
submit = "form"
json = { a = 1 }
success = { css = ["p", "p["], css_absent = "[" }
[[credentials.c.steps]]
mail = { mailbox = "imap.example.org", from = "Portal <a@b.example>", wait = "soon", then = "seem" }
url = "https://issuer.example/"
outputs = { d = "/x" }
[[credentials.c.steps]]
mail = { mailbox = "{box}", from = "a@b.example", subject = "(", then = "move:../x" }
outputs = { e = { regex = "(x)" } }
expires_at = { output = "f", format = "%Y" }
[[credentials.c.steps]]
mail = { mailbox = "imap://mail.example.org", from = "a@b.example", username = "me", password = "{passwort}", auth = "token" }
[[credentials.c.steps]]
mail = { }
"#,
    ));
    insta::assert_snapshot!(told, @r#"
    12:10 this is not a CSS selector (such as "form#login" or "input[name=csrf]")
    12:10 no step before this one has a page with a form
    13:25 this is not a CSS selector (such as "form#login" or "input[name=csrf]")
    13:37 an attribute is that of what `css` matches
    13:60 an output is at one place: `json`, `header`, `cookie`, `regex` or `css`
    14:1 what is submitted is a form: `submit` goes with `form` only
    17:13 this is not a CSS selector (such as "form#login" or "input[name=csrf]")
    17:45 this is not a CSS selector (such as "form#login" or "input[name=csrf]")
    19:1 `username` is missing: a server wants to know whose mailbox it is
    19:1 `password` is missing: a server wants to know whose mailbox it is
    19:20 this is not a mailbox (such as "imaps://imap.example.org/INBOX" or "maildir:/var/mail/bearerd")
    19:47 this is not the address of a sender (such as "token@portal.example", without a name and brackets)
    19:78 this is not a duration (such as "50m")
    19:93 this is not `seen`, `delete` or `move:FOLDER` (did you mean `seen`?)
    20:1 a step asks, or waits for a message: `url` does not go with `mail`
    21:17 a message is looked through by `regex` or `css`
    23:20 this names no folder (such as "imaps://imap.example.org/INBOX" or "maildir:/var/mail/bearerd")
    23:61 this is not a regular expression
    23:73 this names no folder that could be moved to
    25:25 there is no such output: the steps have `a`, `b`, `c`, `d` and `e`
    26:1 `outputs` is missing: they say what is taken from the message
    27:97 the template names `passwort`, which has no value (did you mean `password`?)
    27:118 this is not `password` or `access_token`
    28:1 `outputs` is missing: they say what is taken from the message
    29:1 `mailbox` is missing: it says where the message comes
    29:1 `from` is missing: anybody can send a message: it says who sends the right one
    "#);
}

#[test]
fn a_password_of_a_mailbox_goes_out_in_plain_text_only_where_that_is_permitted() {
    let with = |mailbox: &str, lines: &str| {
        around(&format!(
            "[credentials.c]\nflow = \"login\"\nmax_renewals = \"1/1h\"\n{lines}\
             inject = {{ headers = {{ X-Token = \"{{d}}\" }} }}\n\
             [[credentials.c.steps]]\nurl = \"https://issuer.example/\"\n\
             [[credentials.c.steps]]\nmail = {{ {mailbox}, from = \"a@b.example\", username = \"me\", password = \"x\" }}\n\
             outputs = {{ d = {{ regex = \"(x)\" }} }}\n"
        ))
    };
    let told = mistakes(&with("mailbox = \"imap://mail.example.org\", starttls = false", ""));
    assert!(told.contains("imap://mail.example.org:143/INBOX is plain text: everyone on the way"), "{told}");
    assert!(told.contains("write imaps://, or leave `starttls` on") && !told.contains("HTTP"), "{told}");
    for (mailbox, lines) in [
        ("mailbox = \"imap://mail.example.org\"", ""),
        ("mailbox = \"imap://mail.example.org\", starttls = false", "allow_plaintext = true\n"),
        ("mailbox = \"imap://127.0.0.1:143\"", ""),
    ] {
        accepted(&with(mailbox, lines));
    }
    let told = mistakes(&with("mailbox = \"imaps://mail.example.org\", starttls = true", ""));
    assert!(told.contains("`starttls` goes with `imap://`"), "{told}");
    let told = mistakes(&with("mailbox = \"maildir:/var/mail/x\", starttls = true", ""));
    assert!(told.contains("no server"), "{told}");
}
