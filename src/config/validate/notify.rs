//! `[notify.NAME]`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::raw::choice::Texts;
use crate::config::raw::notify::EventName;
use crate::config::raw::secret::SecretReference;
use crate::config::raw::{self, Map};
use crate::config::suggest::list;
use crate::config::tree::Place;
use crate::config::validate::context::{Context, unknown};
use crate::config::validate::credential::check_name;
use crate::config::validate::plaintext::is_exposed;
use crate::config::validate::secret;
use crate::credential::Source;
use crate::credential::deadline::NOTICE;
use crate::notification::{Event, MailLogin, MailSpec, ReceiverSpec, Security, Way};
use crate::upstream::{Origin, Scheme, Url};

/// The most notices that may wait.
const LARGEST_QUEUE: u32 = 100_000;

/// All receivers, in the order of the file.
pub(crate) fn all(
    raw: &Map<raw::Notify>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Vec<Arc<ReceiverSpec>> {
    let receivers = raw.into_iter().filter_map(|(name, raw)| receiver(name, raw, place.key(name), context));
    receivers.map(Arc::new).collect()
}

fn receiver(
    name: &str,
    raw: &raw::Notify,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<ReceiverSpec> {
    check_name(name, place, context);
    let way = way(raw, place, context);
    let egress = context.egress(raw.egress.as_deref(), place.key("egress"));
    if raw.command.is_some() && raw.egress.is_some() {
        context.findings.error_at(place.key("egress").key_span(), "a command is not reached over a network");
    }
    for (key, time) in [("timeout", raw.timeout), ("before", raw.before)] {
        if time.is_some_and(|time| time.0.is_zero()) {
            context.findings.error(place.key(key), format!("`{key}` is longer than nothing"));
        }
    }
    if raw.remind.is_some_and(|time| !time.0.is_zero() && time.0 < Duration::from_secs(60)) {
        let problem = context.findings.error(place.key("remind"), "a reminder every minute is the most");
        problem.help("such as \"24h\"; \"0\" reminds of nothing");
    }
    if raw.max_queue.is_some_and(|most| most == 0 || most > LARGEST_QUEUE) {
        let message = format!("from 1 to {LARGEST_QUEUE} notices may wait");
        context.findings.error(place.key("max_queue"), message);
    }
    let credentials =
        raw.credentials.as_ref().map(|names| credentials(names, place.key("credentials"), context));
    Some(ReceiverSpec {
        name: name.to_owned(),
        way: way?,
        events: events(raw, place, context),
        credentials,
        after: raw.after.map_or(ReceiverSpec::AFTER, |time| time.0),
        before: raw.before.map_or(NOTICE, |time| time.0),
        remind: raw.remind.map_or(ReceiverSpec::REMIND, |time| time.0),
        flaps: raw.flaps.unwrap_or(ReceiverSpec::FLAPS),
        rate: raw.rate.unwrap_or(ReceiverSpec::RATE),
        max_queue: raw.max_queue.map_or(ReceiverSpec::MAX_QUEUE, |most| most as usize),
        timeout: raw.timeout.map_or(ReceiverSpec::TIMEOUT, |time| time.0),
        egress,
    })
}

fn events(raw: &raw::Notify, place: Place<'_>, context: &mut Context<'_>) -> BTreeSet<Event> {
    let Some(names) = &raw.events else { return Event::ALL.into() };
    if names.is_empty() && !context.findings.has_errors() {
        context.findings.error(place.key("events"), "an empty list tells nothing");
    }
    names.iter().copied().map(event).collect()
}

fn event(name: EventName) -> Event {
    match name {
        EventName::Pending => Event::Pending,
        EventName::Failing => Event::Failing,
        EventName::Expired => Event::Expired,
        EventName::Rejected => Event::Rejected,
        EventName::LoginRequired => Event::LoginRequired,
        EventName::Revoked => Event::Revoked,
        EventName::Refused => Event::Refused,
        EventName::Deadline => Event::Deadline,
        EventName::Address => Event::Address,
        EventName::Recovered => Event::Recovered,
    }
}

fn credentials(names: &[String], place: Place<'_>, context: &mut Context<'_>) -> BTreeSet<String> {
    for (index, name) in names.iter().enumerate() {
        if !context.outputs.contains_key(name) {
            let known: Vec<String> = context.outputs.keys().cloned().collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            unknown(&mut context.findings, place.item(index), "credential", name, &known);
        }
    }
    if names.is_empty() {
        context.findings.error(place, "an empty list tells of no credential");
    }
    names.iter().cloned().collect()
}

fn way(raw: &raw::Notify, place: Place<'_>, context: &mut Context<'_>) -> Option<Way> {
    let ways = [
        ("webhook", raw.webhook.is_some()),
        ("command", raw.command.is_some()),
        ("mail", raw.mail.is_some()),
    ];
    let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(way, _)| *way).collect();
    let belonging = [
        ("key", raw.key.is_some(), "webhook"),
        ("server", raw.server.is_some(), "mail"),
        ("from", raw.from.is_some(), "mail"),
        ("user", raw.user.is_some(), "mail"),
        ("password", raw.password.is_some(), "mail"),
        ("starttls", raw.starttls.is_some(), "mail"),
    ];
    match given.as_slice() {
        [one] => {
            for (key, is_given, of) in belonging {
                if is_given && of != *one {
                    context.findings.error_at(
                        place.key(key).key_span(),
                        format!("`{key}` belongs to `{of}`, not to `{one}`"),
                    );
                }
            }
        }
        [] if ways.iter().any(|(way, _)| place.is_spoiled(way)) => return None,
        [] => {
            let problem = context.findings.error(place, "this does not say how the receiver is reached");
            problem.help("say one of `webhook`, `command` and `mail`");
            return None;
        }
        several => {
            let several = list(several.iter().copied());
            let problem = context.findings.error(place, format!("this is {several} at once"));
            problem.help("each way is a receiver of its own, with a name of its own");
            return None;
        }
    }
    if let Some(url) = &raw.webhook {
        return webhook(url, raw, place, context);
    }
    if let Some(argv) = &raw.command {
        if argv.first().is_none_or(String::is_empty) {
            context.findings.error(place.key("command"), "`command` names no program");
            return None;
        }
        return Some(Way::Command(argv.clone()));
    }
    let Some(Texts(to)) = &raw.mail else { return None };
    mail(to, raw, place, context).map(|mail| Way::Mail(Box::new(mail)))
}

fn webhook(url: &str, raw: &raw::Notify, place: Place<'_>, context: &mut Context<'_>) -> Option<Way> {
    let at = place.key("webhook");
    let url = url.parse::<Url>();
    let url =
        url.map_err(|mistake| context.findings.error(at, mistake).help("such as \"https://host/path\"")).ok();
    if let Some(url) = &url {
        check_plaintext(&url.origin, raw, at, context);
    }
    let Some(key) = &raw.key else {
        let why = "what is not signed, anybody could have sent (`openssl rand -hex 32` makes a key)";
        context.findings.missing(place, "key", why);
        return None;
    };
    let key = own_secret(key, "the key of a webhook", place.key("key"), context);
    Some(Way::Webhook { url: url?, key: key? })
}

fn mail(to: &[String], raw: &raw::Notify, place: Place<'_>, context: &mut Context<'_>) -> Option<MailSpec> {
    let at = place.key("mail");
    if to.is_empty() {
        context.findings.error(at, "an empty list writes to nobody");
    }
    for (index, address) in to.iter().enumerate() {
        check_address(address, at.item(index), context);
    }
    match &raw.from {
        None => context.findings.missing(place, "from", "a mail says who writes"),
        Some(from) => check_address(from, place.key("from"), context),
    }
    if raw.server.is_none() {
        context.findings.missing(
            place,
            "server",
            "the server that takes mails, such as \"smtp://localhost\"",
        );
    }
    for (key, other, lacks) in [
        ("user", "password", raw.user.is_some() && raw.password.is_none()),
        ("password", "user", raw.password.is_some() && raw.user.is_none()),
    ] {
        if lacks {
            context.findings.missing(place, other, &format!("`{key}` needs it"));
        }
    }
    let at = place.key("server");
    let (server, security) = server(raw.server.as_deref()?, raw, at, context)?;
    if security == Security::Plain {
        check_plaintext(&server, raw, at, context);
    }
    let password = raw.password.as_ref();
    let password =
        password.map(|raw| own_secret(raw, "the password of a mail server", place.key("password"), context));
    let login = match (&raw.user, password) {
        (Some(user), Some(password)) => Some(MailLogin { user: user.clone(), password: password? }),
        _ => None,
    };
    Some(MailSpec { server, security, from: raw.from.clone()?, to: to.to_vec(), login })
}

/// The origin behind `smtp://` or `smtps://`, and how the way there is secured.
fn server(
    text: &str,
    raw: &raw::Notify,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<(Origin, Security)> {
    let help = "such as \"smtps://mail.example.org\", or \"smtp://mail.example.org:587\" for STARTTLS";
    let (is_tls, rest) = match (text.strip_prefix("smtps://"), text.strip_prefix("smtp://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => {
            context.findings.error(place, "a mail server starts with `smtps://` or `smtp://`").help(help);
            return None;
        }
    };
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    // Who logs in submits (RFC 6409), others relay.
    let port = match (is_tls, raw.user.is_some()) {
        (true, _) => 465,
        (false, true) => 587,
        (false, false) => 25,
    };
    let rest = if has_port { rest.to_owned() } else { format!("{}:{port}", rest.trim_end_matches('/')) };
    let url = match format!("http://{rest}").parse::<Url>() {
        Ok(url) if url.path_and_query != "/" => Err("a mail server has no path"),
        other => other,
    };
    let url = url.map_err(|mistake| context.findings.error(place, mistake).help(help)).ok()?;
    let wants = raw.starttls.unwrap_or(!url.origin.is_loopback() && raw.allow_plaintext != Some(true));
    let security = match (is_tls, wants) {
        (true, _) => Security::Tls,
        (false, true) => Security::StartTls,
        (false, false) => Security::Plain,
    };
    Some((url.origin, security))
}

/// What goes out in plain text is allowed in so many words.
fn check_plaintext(origin: &Origin, raw: &raw::Notify, place: Place<'_>, context: &mut Context<'_>) {
    let plain = Origin {
        scheme: if origin.scheme == Scheme::Https { Scheme::Https } else { Scheme::Http },
        ..origin.clone()
    };
    if !is_exposed(&plain, raw.egress.as_deref(), context) {
        return;
    }
    if raw.allow_plaintext == Some(true) {
        let message = format!("notices are sent to {} in plain text", origin.host_and_port());
        context.findings.warning(place, message).help("`allow_plaintext` permits it");
    } else {
        let message =
            format!("everyone on the way to {} could read and forge notices", origin.host_and_port());
        let help = "use TLS, or say `allow_plaintext = true` if the receiver has nothing else";
        context.findings.error(place, message).help(help);
    }
}

fn check_address(address: &str, place: Place<'_>, context: &mut Context<'_>) {
    let bare = address.rsplit_once('<').map_or(address, |(_, rest)| rest.trim_end_matches('>')).trim();
    let is_address = bare.split_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
    let is_sound = bare.chars().all(|next| next.is_ascii_graphic() && !matches!(next, '<' | '>' | ','))
        && !address.chars().any(|next| next.is_control() || next == ',' || !next.is_ascii());
    if !is_address || !is_sound {
        let problem = context.findings.error(place, "this is not an address of mail");
        problem.help("such as \"ops@example.org\" or \"Ops <ops@example.org>\", in ASCII");
    }
}

/// A secret that belongs to no credential: it comes from outside.
fn own_secret(
    raw: &SecretReference,
    what: &str,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Source> {
    match secret::early(raw, place, context)? {
        Source::Output { .. } | Source::Jwt(_) => {
            let problem = context.findings.error(place, format!("{what} is not made by bearerd"));
            problem.help("say one of `file`, `env`, `systemd` and `command`");
            None
        }
        source => Some(source),
    }
}
