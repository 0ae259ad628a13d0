//! One vendor, run.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bearerd::clock::Clock;
use serde_json::{Value, json};

use super::fixture::{Answer, Call, Exchange, Expected, Failure, Fixture};
use super::material::Material;
use crate::support::message::Message;
use crate::support::sidecar::run;
use crate::support::{PATIENCE, Reply, Setup, Sidecar, Upstream, bearerd, canary};

/// Fields that bearerd makes by itself on the way to an issuer.
const USUAL: [&str; 5] = ["host", "accept", "user-agent", "content-type", "content-length"];

/// What a server answers, in turn.
type Script = Arc<Mutex<VecDeque<Reply>>>;

/// A vendor's issuer and upstream, and bearerd before them.
struct House {
    material: Material,
    issuer: Upstream,
    issuer_script: Script,
    upstream: Upstream,
    upstream_script: Script,
}

/// All that a file tells.
pub fn all(fixture: &Fixture) -> Result<(), String> {
    let run = AssertUnwindSafe(|| {
        commands(fixture)?;
        life(fixture)?;
        fixture.failure.iter().try_for_each(|failure| self::failure(fixture, failure))
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "it panicked".to_owned()))
    })
}

impl House {
    fn new() -> Self {
        let (issuer_script, upstream_script) = (Script::default(), Script::default());
        let next = |script: &Script| {
            let script = Arc::clone(script);
            move |_: &Message| {
                let next = script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                next.unwrap_or_else(|| Reply::status(599, "text/plain", "nothing more is expected"))
            }
        };
        let issuer = Upstream::issuer(next(&issuer_script));
        let upstream = Upstream::answering(next(&upstream_script));
        let places = [("issuer", issuer.origin()), ("upstream", upstream.origin())];
        Self { material: Material::new(&places), issuer, issuer_script, upstream, upstream_script }
    }

    /// The configuration and its files.
    fn setup(&mut self, fixture: &Fixture) -> Setup {
        let mut setup = Setup::new(&self.material.text(&fixture.configuration));
        for (name, content) in &fixture.files {
            let content = match content {
                Value::String(text) => self.material.text(text),
                document => self.material.json(document).to_string(),
            };
            setup = setup.file(name, &content);
        }
        for name in &fixture.presets {
            let text = fs::read_to_string(format!("tests/vendors/presets/{name}")).expect(name);
            setup = setup.file(name, &text);
        }
        setup
    }

    fn reply(&mut self, answer: &Answer) -> Reply {
        let (media_type, body) = match (&answer.json, &answer.body) {
            (Some(json), _) => ("application/json", self.material.json(json).to_string()),
            (None, Some(body)) => ("text/plain", self.material.text(body)),
            (None, None) => ("text/plain", String::new()),
        };
        let mut fields = format!("Content-Type: {media_type}\r\n");
        for (name, value) in &answer.headers {
            write!(fields, "{name}: {}\r\n", self.material.text(value)).expect("a text takes all");
        }
        Reply::with_fields(answer.status, &fields, &body)
    }

    fn script(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            let reply = self.reply(&exchange.answer);
            self.issuer_script.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
        }
    }

    /// Holds a request to what is expected. `further` says whether fields may be there that are not.
    fn hold(&mut self, who: &str, expected: &Expected, found: &Message, further: bool) -> Result<(), String> {
        let line = format!("{} HTTP/1.1", self.material.text(&expected.line));
        if found.start_line() != line {
            return Err(format!("{who} got {:?}, and not {line:?}", found.start_line()));
        }
        for (name, value) in &expected.headers {
            let sent = found.fields(name);
            let sent = match sent.as_slice() {
                [one] => Value::from(one.as_str()),
                several => json!(several),
            };
            self.material.compare(&format!("{who}'s field {name}"), value, &sent)?;
        }
        if let Some(name) = expected.absent.iter().find(|name| !found.fields(name).is_empty()) {
            return Err(format!("{who} got a field {name}:\n{}", found.head()));
        }
        if !further {
            let names = found.head();
            let names = names.lines().skip(1).filter_map(|line| line.split_once(':'));
            for (name, _) in names {
                let is_expected = |other: &String| other.eq_ignore_ascii_case(name);
                let is_usual = USUAL.iter().any(|usual| usual.eq_ignore_ascii_case(name));
                if !is_usual && !expected.headers.keys().any(is_expected) {
                    return Err(format!("{who} got a field {name} too"));
                }
            }
        }
        self.hold_body(who, expected, found)
    }

    fn hold_body(&mut self, who: &str, expected: &Expected, found: &Message) -> Result<(), String> {
        let media_type = found.field("content-type").unwrap_or_default();
        if let Some(form) = &expected.form {
            let sent: BTreeMap<String, Value> =
                found.form().into_iter().map(|(name, value)| (name, value.into())).collect();
            let expected = json!(form);
            self.material.compare(&format!("{who}'s form"), &expected, &json!(sent))?;
            if media_type != "application/x-www-form-urlencoded" {
                return Err(format!("{who} got a form as {media_type:?}"));
            }
        } else if let Some(json) = &expected.json {
            self.material.compare(&format!("{who}'s JSON"), json, &found.json())?;
            if media_type != "application/json" {
                return Err(format!("{who} got JSON as {media_type:?}"));
            }
        } else {
            let body = self.material.text(expected.body.as_deref().unwrap_or_default());
            if found.text() != body {
                return Err(format!("{who} got {:?}, and not {body:?}", found.text()));
            }
        }
        Ok(())
    }
}

/// `check`, `forecast` and `explain`, which ask nobody.
fn commands(fixture: &Fixture) -> Result<(), String> {
    let mut house = House::new();
    let setup = house.setup(fixture);
    let path = setup.write().display().to_string();
    for arguments in [vec!["check"], vec!["forecast", "--days", "3"]] {
        let output = run(bearerd(&[arguments.as_slice(), &["--config", path.as_str()]].concat()), "");
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        canary::assert_unseen(&said, &format!("`{}`", arguments.join(" ")));
        if !output.status.success() {
            return Err(format!("`{}` says:\n{}", arguments.join(" "), String::from_utf8_lossy(&said)));
        }
    }
    let asked = house.issuer.requests().len() + house.upstream.requests().len();
    if asked == 0 { Ok(()) } else { Err(format!("a command sent {asked} requests")) }
}

/// From the first token on.
fn life(fixture: &Fixture) -> Result<(), String> {
    let mut house = House::new();
    let setup = house.setup(fixture);
    house.script(&fixture.issuer);
    let sidecar = setup.start();
    sidecar.wait_until_ready();
    let mut seen = 0;
    for call in &fixture.call {
        seen += self::call(&mut house, &sidecar, call, seen)?;
    }
    let asked = house.issuer.requests();
    if asked.len() != fixture.issuer.len() {
        return Err(format!("the issuer was asked {} times:\n{asked:#?}", asked.len()));
    }
    for (exchange, found) in fixture.issuer.iter().zip(&asked) {
        house.hold("the issuer", &exchange.request, found, false)?;
    }
    if let Some(lasts) = fixture.issuer.iter().rev().find_map(|exchange| exchange.lasts) {
        let said = sidecar.credential(&fixture.credential);
        let time = |key: &str| said[key].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let (Some(from), Some(to)) = (time("obtained_at"), time("expires_at")) else {
            return Err(format!("the credential does not end: {said}"));
        };
        let length = to.duration_since(from).as_secs();
        if !(lasts.cast_signed() - 20..=lasts.cast_signed()).contains(&length) {
            return Err(format!("the token lasts {length} s, and not {lasts}"));
        }
    }
    let listing = sidecar.admin().get("/v1/credentials");
    canary::assert_unseen(&[listing.head.as_slice(), &listing.body].concat(), "the admin listener");
    canary::assert_unseen(&sidecar.admin().get("/metrics").body, "the metrics");
    // Its logs are searched when it goes.
    drop(sidecar);
    Ok(())
}

/// One request of the app; says how many came to the upstream.
fn call(house: &mut House, sidecar: &Sidecar, call: &Call, seen: usize) -> Result<usize, String> {
    for passed in &call.upstream {
        let reply = house.reply(&passed.answer);
        house.upstream_script.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }
    let (method, target) = call.app.split_once(' ').unwrap_or(("GET", &call.app));
    let mut fields = String::new();
    for (name, value) in &call.headers {
        write!(fields, "{name}: {value}\r\n").expect("a text takes all");
    }
    let got = sidecar.app().request(method, target, &fields, call.body.as_bytes());
    let came = house.upstream.requests().split_off(seen);
    if came.len() != call.upstream.len() {
        return Err(format!(
            "{:?}: {} requests came to the upstream, and the app got {}\n{}",
            call.app,
            came.len(),
            got.head(),
            got.text()
        ));
    }
    for (passed, found) in call.upstream.iter().zip(&came) {
        house.hold("the upstream", &passed.request, found, true)?;
    }
    if got.status() != call.status {
        return Err(format!("{:?}: the app got {}\n{}", call.app, got.head(), got.text()));
    }
    if let Some(Answer { json: Some(json), .. }) = call.upstream.last().map(|passed| &passed.answer) {
        house.material.compare("the app's JSON", json, &got.json())?;
    }
    Ok(came.len())
}

/// What another answer of the issuer means.
fn failure(fixture: &Fixture, failure: &Failure) -> Result<(), String> {
    let mut house = House::new();
    let setup = house.setup(fixture);
    let reply = house.reply(&failure.answer);
    house.issuer_script.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    let sidecar = setup.start();
    let told = sidecar.wait("an error", || {
        Some(sidecar.credential(&fixture.credential)).filter(|said| !said["last_error"].is_null())
    });
    let (class, message) = (&told["last_error"]["class"], &told["last_error"]["message"]);
    let says = house.material.text(&failure.says);
    canary::assert_unseen(told.to_string().as_bytes(), "the admin listener");
    if class != failure.class.as_str() || !message.as_str().is_some_and(|text| text.contains(&says)) {
        return Err(format!("{:?} is {class}: {message}", failure.answer));
    }
    // What is rejected is not tried again by itself, and whoever asks is told at once.
    if failure.class == "rejected" {
        let first = fixture.call.first().ok_or("there is no call")?;
        let (method, target) = first.app.split_once(' ').unwrap_or(("GET", &first.app));
        let begun = Clock::system().boot();
        let got = sidecar.app().request(method, target, "", first.body.as_bytes());
        if got.status() != 503
            || Clock::system().boot() - begun > PATIENCE / 4
            || house.issuer.requests().len() != 1
        {
            return Err(format!("{:?}: the app got {}", failure.answer, got.head()));
        }
    }
    Ok(())
}
