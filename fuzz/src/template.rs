//! Templates: what is read renders if it is given its values, and puts each value where it stands only.

use bearerd::clock::Clock;
use bearerd::secret::Secret;
use bearerd::template::Template;

const VALUE: &str = "v4lue{}/?&=%\"\\";

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::parse(text) else { return };
    let clock = Clock::system();
    let given = |_: &str| Some(Secret::from(VALUE));
    let rendered = template.render(&given, &clock);
    // Keys are read by two functions, and this value is none.
    let Ok(rendered) = rendered else {
        let told = rendered.map(|_| ()).expect_err("an error").to_string();
        assert!(text.contains("der") || text.contains("rsa_oaep"), "all values are there: {told}");
        assert!(!told.contains(VALUE), "no message shows a value: {told}");
        return;
    };
    if let Some(expected) = plainly(text) {
        assert_eq!(rendered.as_slice(), expected.as_bytes(), "each value stands in its place");
    }
    if let Some(plain) = template.as_text() {
        assert_eq!(rendered.as_slice(), plain.as_bytes());
        assert!(template.names().is_empty());
    }
    assert!(rendered.starts_with(template.literal_prefix().as_bytes()));
    if !template.names().is_empty() {
        assert!(template.render(&|_| None, &clock).is_err(), "a missing value is told");
        let bound = template.clone().bind(&|_| Some("bound".to_owned()));
        assert!(bound.render(&|_| None, &clock).is_ok(), "nothing is left to bind");
    }
}

/// A template without functions as the simplest reader has it, who puts the value where a name stands in braces.
fn plainly(text: &str) -> Option<String> {
    let (mut rendered, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        rendered.push_str(&rest[..at]);
        let (brace, behind) = rest[at..].split_at(1);
        rest = if let Some(behind) = behind.strip_prefix(brace) {
            rendered.push_str(brace);
            behind
        } else {
            let (name, behind) = behind.split_once('}')?;
            let is_plain = name.trim_matches(' ').chars().all(|next| next.is_ascii_alphanumeric());
            if !is_plain || matches!(name.trim_matches(' '), "now" | "uuid") {
                return None;
            }
            rendered.push_str(VALUE);
            behind
        };
    }
    Some(rendered + rest)
}
