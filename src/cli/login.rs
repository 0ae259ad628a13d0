//! `bearerd login NAME`: a person consents, in a browser, on another device, or with a one-time
//! password.

mod loopback;

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cli::client::{self, Failure, PROMPT, Question, Reply, Target};
use crate::cli::exit::Exit;
use crate::cli::login::loopback::{Loopback, Redeem};
use crate::cli::output::talk;
use crate::upstream::Url;

/// How long the issuer may take with what was typed.
const EXCHANGE: Duration = Duration::from_secs(60);
/// How long one question waits for the end of a login.
const WAIT: Duration = Duration::from_secs(60);

/// The arguments of `bearerd login`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// The credential, of the grant `authorization_code` or `device_code`
    pub name: String,
    /// Whose tokens of the credential
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// What the credential asks of whoever logs in, such as mobile=9876543210
    #[arg(long = "with", value_name = "NAME=VALUE", value_parser = pair)]
    pub hints: Vec<(String, String)>,
    /// A parameter of the authorization request, which the credential's `authorize_accepts` names
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub params: Vec<(String, String)>,
    /// Print the URL and open no browser
    #[arg(long)]
    pub no_browser: bool,
    /// Which bearerd.
    #[command(flatten)]
    pub target: Target,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What `authorize` answers.
#[derive(Debug, Deserialize)]
struct Begun {
    state: String,
    url: Option<String>,
    /// Where the browser comes back to.
    redirect_uri: Option<String>,
    user_code: Option<String>,
    verification_uri: Option<String>,
    verification_uri_complete: Option<String>,
    /// What the issuer says of where it sent a password.
    #[serde(flatten)]
    shown: BTreeMap<String, Value>,
}

/// How a login ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcome {
    outcome: String,
    detail: String,
}

/// Logs in, and waits till it is done.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut wish = Map::new();
    wish.extend(arguments.hints.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
    if let Some(subject) = &arguments.subject {
        wish.insert("subject".to_owned(), subject.as_str().into());
    }
    if !arguments.params.is_empty() {
        let params = arguments.params.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        wish.insert("params".to_owned(), Value::Object(params.collect()));
    }
    let loopback = Loopback::bind();
    if let Some(loopback) = &loopback {
        wish.insert("loopback_port".to_owned(), loopback.port().into());
    }
    let begun = match ask(arguments, "/authorize", &Value::Object(wish), EXCHANGE) {
        Ok(reply) => reply,
        Err(failure) => return failure.tell(),
    };
    let Ok(begun) = serde_json::from_slice::<Begun>(&begun.body) else {
        talk("bearerd: the answer is not one of this version of bearerd");
        return Exit::Internal.into();
    };
    let ended = match (&begun.url, &begun.user_code) {
        (Some(url), _) => in_browser(arguments, &begun, url, loopback),
        (None, Some(code)) => on_device(arguments, &begun, code),
        (None, None) => by_password(arguments, &begun),
    };
    match ended {
        Ok(()) => {
            talk(format_args!("bearerd: logged in to `{}`", arguments.name));
            Exit::Done.into()
        }
        Err(failure) => failure.tell(),
    }
}

/// The browser comes back to bearerd, or to this process; where it cannot (over SSH), a person pastes where
/// it came to.
fn in_browser(
    arguments: &Arguments,
    begun: &Begun,
    url: &str,
    loopback: Option<Loopback>,
) -> Result<(), Failure> {
    let (results, first) = mpsc::channel();
    let redirect_uri = begun.redirect_uri.as_deref().and_then(|uri| uri.parse::<Url>().ok());
    let answering = redirect_uri.as_ref().and_then(|uri| {
        let loopback = loopback?.behind(uri)?;
        Some(loopback.serve(uri, &redeemer(arguments, &begun.state), &results))
    });
    talk(format_args!("Open this page and consent:\n\n  {url}\n"));
    if !arguments.no_browser && has_screen() {
        open(url);
    }
    talk("If the browser cannot come back to this machine, paste the address that it ends at, or the code:");
    let (waiting, state, sender) = (arguments.clone(), begun.state.clone(), results.clone());
    thread::spawn(move || sender.send(wait(&waiting, &state)));
    let (pasting, state) = (arguments.clone(), begun.state.clone());
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line.trim().is_empty() {
                continue;
            }
            // What is ended by hand needs no one to wait for it.
            let result = ask(&pasting, "/callback", &pasted(line.trim(), &state), EXCHANGE).map(drop);
            if results.send(result).is_err() {
                return;
            }
        }
    });
    // The thread that waits always sends in the end.
    let ended = first
        .recv()
        .unwrap_or_else(|_| Err(Failure::Machine("nobody waits for the login any more".to_owned())));
    // The browser has its page before the process ends.
    drop(answering.as_ref().map(|answering| answering.lock()));
    ended
}

/// Hands over what a browser brought to this process. Whoever does not know the state changes nothing.
fn redeemer(arguments: &Arguments, state: &str) -> Redeem {
    let (arguments, state) = (arguments.clone(), state.to_owned());
    Arc::new(move |query| {
        let mut fields = form_urlencoded::parse(query.as_bytes());
        fields.find(|(name, value)| name == "state" && *value == state)?;
        Some(ask(&arguments, "/callback", &pasted(&format!("?{query}"), &state), EXCHANGE).map(drop))
    })
}

/// An address with code and state in its query, or a code alone.
fn pasted(text: &str, state: &str) -> Value {
    let query = text.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or(query));
    match query {
        Some(query) if query.contains('=') => {
            let known = ["code", "state", "iss", "error", "error_description"];
            let mut members: Map<_, _> = form_urlencoded::parse(query.as_bytes())
                .filter(|(name, _)| known.contains(&&**name))
                .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
                .collect();
            members.entry("state").or_insert_with(|| state.into());
            Value::Object(members)
        }
        _ => json!({ "code": text, "state": state }),
    }
}

fn on_device(arguments: &Arguments, begun: &Begun, code: &str) -> Result<(), Failure> {
    let uri = begun.verification_uri.as_deref().unwrap_or_default();
    talk(format_args!("On any device, open\n\n  {uri}\n\nand type the code\n\n  {code}\n"));
    if let Some(complete) = &begun.verification_uri_complete {
        talk(format_args!("or open {complete}"));
        if !arguments.no_browser && has_screen() {
            open(complete);
        }
    }
    wait(arguments, &begun.state)
}

fn by_password(arguments: &Arguments, begun: &Begun) -> Result<(), Failure> {
    let shown = begun.shown.iter().filter(|(name, _)| *name != "expires_in");
    let shown: Vec<String> = shown.filter_map(|(_, value)| value.as_str().map(str::to_owned)).collect();
    talk(format_args!(
        "A one-time password was sent{}.",
        if shown.is_empty() { String::new() } else { format!(" to {}", shown.join(" and ")) }
    ));
    let input = std::io::stdin();
    loop {
        if input.is_terminal() {
            talk("Type it:");
        }
        let mut line = String::new();
        match input.lock().read_line(&mut line) {
            Ok(0) => return Err(Failure::Usage("no password came on standard input".to_owned())),
            Err(error) => return Err(Failure::machine(&error)),
            Ok(_) if line.trim().is_empty() => continue,
            Ok(_) => {}
        }
        let answer = json!({ "otp": line.trim(), "state": begun.state });
        match ask(arguments, "/callback", &answer, EXCHANGE) {
            Ok(_) => return Ok(()),
            Err(failure) if failure.may_be_typed_again() && input.is_terminal() => {
                failure.tell();
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Waits for the end of a login.
fn wait(arguments: &Arguments, state: &str) -> Result<(), Failure> {
    let state = form_urlencoded::byte_serialize(state.as_bytes()).collect::<String>();
    let path = client::credential_path(&arguments.name, &format!("/authorize?state={state}&wait=true"));
    loop {
        let question = Question { limit: WAIT, ..Question::get(path.clone()) };
        let reply = client::reply(&arguments.target, question)?;
        if !reply.status.is_success() {
            return Err(Failure::refused(&reply));
        }
        let ended: Outcome = serde_json::from_slice(&reply.body).unwrap_or_default();
        match ended.outcome.as_str() {
            "pending" => {}
            "ok" => return Ok(()),
            _ => return Err(Failure::Login(ended.detail)),
        }
    }
}

/// Asks for a change of the credential.
fn ask(arguments: &Arguments, rest: &str, body: &Value, limit: Duration) -> Result<Reply, Failure> {
    let path = client::credential_path(&arguments.name, rest);
    let question =
        Question { body: Bytes::from(body.to_string()), ..Question::post(path, limit.max(PROMPT)) };
    let reply = client::reply(&arguments.target, question)?;
    if reply.status.is_success() { Ok(reply) } else { Err(Failure::refused(&reply)) }
}

/// Whether a browser of this machine would be seen by whoever types here.
fn has_screen() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_remote = is_set("SSH_CONNECTION") || is_set("SSH_TTY");
    !is_remote && (cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"))
}

/// Opens a page in the browser, if there is one: the URL was printed all the same.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = |command: &mut Command| {
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    if let Ok(mut process) = quiet(&mut Command::new(program)) {
        // Somebody has to hear of its end.
        thread::spawn(move || process.wait());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::pasted;

    #[test]
    fn an_address_or_a_code_may_be_pasted() {
        assert_eq!(
            pasted("http://127.0.0.1:1/cb?code=a%2Fb&state=s&iss=https%3A%2F%2Fi&x=y#z", "s0"),
            json!({"code": "a/b", "state": "s", "iss": "https://i"})
        );
        assert_eq!(
            pasted("https://app.example/cb?error=access_denied", "s0"),
            json!({"error": "access_denied", "state": "s0"})
        );
        assert_eq!(pasted("a/b?c", "s0"), json!({"code": "a/b?c", "state": "s0"}));
    }
}
