//! `bearerd explain METHOD URL`: what would become of a request, told by the code that would do it,
//! without any network.

use std::borrow::Borrow;
use std::fmt::{self, Write};
use std::process::ExitCode;

use clap::Args;
use http::uri::Authority;
use http::{Method, Uri};

use crate::app;
use crate::caller::Rule;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{ConfigFile, output};
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::credential::Flow;
use crate::http1::RequestHead;
use crate::inject::BodyValue;
use crate::proxy::ProxyError;
use crate::proxy::admit::{Door, PSEUDONYM, admit};
use crate::proxy::choose::{Choice, Chosen, choose};
use crate::proxy::sanitize::Sanitized;
use crate::route::{AllowRule, Route, RouteTable, SubjectSource};
use crate::server::{Address, Bind, ListenerSpec};
use crate::template::Template;

/// The arguments of `bearerd explain`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The method, such as GET
    pub method: Method,
    /// The URL as the app would call it, such as http://127.0.0.1:8080/ledger/user/me
    #[arg(value_parser = url)]
    pub url: Uri,
    /// For whom, where the route wants that in a header field
    #[arg(long)]
    pub subject: Option<String>,
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfigFile,
}

fn url(text: &str) -> Result<Uri, &'static str> {
    text.parse().map_err(|_| "a URL is written http://HOST:PORT/PATH, as the app would call it")
}

/// Explains; the exit code says whether the request would be forwarded.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Some((called, head)) = request(&arguments.method, &arguments.url) else {
        let wrong = "the URL is written http://HOST:PORT/PATH, as the app would call it";
        return Err(Failure::new(wrong, Exit::Usage));
    };
    let config = arguments.file.load(&Environment::of_process())?.config;
    let table = app::unkept_table(&config, &Clock::system());
    let table = table.map_err(|error| Failure::new(error, Exit::Configuration))?;
    let (text, exit) = explain(&config, &table, &called, &head, arguments.subject.as_deref());
    let written = output::data(text);
    Ok(if exit == Exit::Done { written } else { exit.into() })
}

/// Where a request is sent.
struct Called {
    authority: Authority,
    is_tls: bool,
}

/// The request as it would arrive, and where it was sent.
fn request(method: &Method, url: &Uri) -> Option<(Called, RequestHead)> {
    let authority = url.authority()?.clone();
    let is_tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return None,
    };
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let fields: [(&[u8], &[u8]); 1] = [(b"host", authority.as_str().as_bytes())];
    let head = RequestHead::new(method.clone(), target.as_bytes(), &fields);
    Some((Called { authority, is_tls }, head))
}

/// What is told, line by line.
struct Told(String);

impl Told {
    fn line(&mut self, what: &str, how: impl fmt::Display) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "{what:<12}{how}");
    }

    fn refused(mut self, error: &ProxyError) -> (String, Exit) {
        self.line(
            "refused",
            format_args!("{} {}: {}", error.code.status().as_u16(), error.code.as_str(), error.detail),
        );
        (self.0, Exit::No)
    }
}

fn explain(
    config: &Config,
    table: &RouteTable,
    called: &Called,
    head: &RequestHead,
    subject: Option<&str>,
) -> (String, Exit) {
    let mut told = Told(String::new());
    let Some(listener) = listener(&config.listeners, called) else {
        let speaks = if called.is_tls { "speaks TLS" } else { "listens" };
        told.line(
            "refused",
            format_args!("no listener of this configuration {speaks} on {}", called.authority),
        );
        return (told.0, Exit::No);
    };
    told.line("listener", format_args!("{} ({})", listener.name, listener.bind));
    let address = match &listener.bind {
        Bind::To(address) => Some(address),
        Bind::Inherited(_) => None,
    };
    let door = listener.door(address, &std::sync::Arc::default());
    if let Some(rule) = &listener.allow {
        told.line("takes", Callers(std::slice::from_ref(rule)));
    }
    let with_subject = with_subject(table, &door, head, subject);
    let head = with_subject.as_ref().unwrap_or(head);
    let choice = match enter(table, &door, head) {
        Ok(Chosen::Route(choice)) => choice,
        Ok(Chosen::Control(_) | Chosen::Nobody) => {
            told.line("answered", "by bearerd itself");
            return (told.0, Exit::No);
        }
        Err(error) => return told.refused(&error),
    };
    let route = choice.route;
    describe(&mut told, config, route);
    let claim = match choice.claim(head) {
        Ok(claim) => claim,
        Err(error) => return told.refused(&error),
    };
    if let Some(subject) = &claim.subject {
        told.line("subject", subject);
    }
    let sanitized = Sanitized::new(head, &choice.found, route, &claim.rest, "1.1 bearerd");
    let (method, target) = (sanitized.method(), sanitized.target());
    told.line("forwarded", format_args!("{method} {}{target}", route.spec.upstream.origin));
    (told.0, Exit::Done)
}

/// Who answers a request, of whatever caller.
fn enter<'table, 'head>(
    table: &'table RouteTable,
    door: &Door,
    head: &'head RequestHead,
) -> Result<Chosen<'table, 'head>, ProxyError> {
    let routes = table.listener(&door.listener);
    choose(routes, door, admit(door, head, PSEUDONYM, routes)?)
}

/// The same request with a subject in the field in which its route wants it.
fn with_subject(
    table: &RouteTable,
    door: &Door,
    head: &RequestHead,
    subject: Option<&str>,
) -> Option<RequestHead> {
    let Ok(Chosen::Route(Choice { route, .. })) = enter(table, door, head) else { return None };
    let Some(SubjectSource::Header(name)) = route.subject() else { return None };
    let field = (name.as_str().as_bytes(), subject?.as_bytes());
    let fields: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).chain([field]).collect();
    Some(RequestHead::new(head.method.clone(), head.target(), &fields))
}

/// The listener that a call leads to: that of its port; else the only one, if its port is not known
/// before it listens or it has none.
fn listener<'a>(listeners: &'a [ListenerSpec], called: &Called) -> Option<&'a ListenerSpec> {
    let port = called.authority.port_u16().unwrap_or(if called.is_tls { 443 } else { 80 });
    let port_of = |listener: &ListenerSpec| match &listener.bind {
        Bind::To(Address::Tcp(address)) => Some(address.port()).filter(|port| *port != 0),
        Bind::To(Address::Unix(_)) | Bind::Inherited(_) => None,
    };
    let of_port = listeners.iter().find(|listener| port_of(listener) == Some(port));
    let only = if let [only] = listeners { Some(only).filter(|only| port_of(only).is_none()) } else { None };
    of_port.or(only).filter(|listener| listener.tls.is_some() == called.is_tls)
}

fn describe(told: &mut Told, config: &Config, route: &Route) {
    let spec = &route.spec;
    let host = spec.host.as_ref().map(|host| format!(", host {host}")).unwrap_or_default();
    told.line("route", format_args!("{} (path {}{host})", spec.name, spec.path));
    if !spec.callers.is_empty() {
        told.line("takes", Callers(&spec.callers));
    }
    let rules: Vec<String> = spec.allow.iter().map(rule).collect();
    let denied = if spec.denied.is_empty() { "" } else { ", but its token endpoints" };
    let allowed = if rules.is_empty() { "everything".to_owned() } else { rules.join(", ") };
    told.line("allows", format_args!("{allowed}{denied}"));
    let credential = config.credentials.iter().find(|credential| credential.name == spec.credential);
    let flow = credential.map(|credential| &credential.flow).map_or("", Flow::as_str);
    told.line("credential", format_args!("{} ({flow})", spec.credential));
    match spec.subject.as_deref() {
        None => {}
        Some(SubjectSource::Header(name)) => {
            told.line("for", format_args!("the subject in the field {name}"));
        }
        Some(SubjectSource::Path(number)) => {
            told.line("for", format_args!("the subject in segment {number} of the path"));
        }
    }
    let injection = &spec.injection;
    for (name, template) in &injection.headers {
        told.line("injects", format_args!("header {name}: {}", redacted(template)));
    }
    for (name, template) in &injection.query {
        told.line("injects", format_args!("query parameter {name}={}", redacted(template)));
    }
    for (name, template) in &injection.cookies {
        told.line("injects", format_args!("cookie {name}={}", redacted(template)));
    }
    for (name, value) in &injection.body {
        let value = match value {
            BodyValue::Text(template) => redacted(template),
            BodyValue::Literal(_) => "[a fixed value]".to_owned(),
        };
        told.line("injects", format_args!("body member {name}: {value}"));
    }
    for (name, signature) in &injection.signatures {
        told.line("injects", format_args!("header {name}: [a signature by {}]", signature.key));
    }
    if let Some(verification) = &spec.verification {
        let value = redacted(&verification.value);
        told.line("verifies", format_args!("answers by their field {}: {value}", verification.header));
    }
}

/// Rules over callers, in words.
struct Callers<'a, T>(&'a [T]);

impl<T: Borrow<Rule>> fmt::Display for Callers<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.0.iter().enumerate() {
            formatter.write_str(if index == 0 { "callers" } else { ", or callers" })?;
            rule.borrow().fmt(formatter)?;
        }
        Ok(())
    }
}

fn rule(rule: &AllowRule) -> String {
    match &rule.method {
        Some(method) => format!("`{method} {}`", rule.pattern),
        None => format!("`{}`", rule.pattern),
    }
}

/// A template with its values, and the texts that follow them, hidden.
fn redacted(template: &Template) -> String {
    if template.names().is_empty() && template.is_stable() {
        return "[a fixed value]".to_owned();
    }
    template.outline()
}
