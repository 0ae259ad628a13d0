//! Credentials: what all flows have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::raw::credential::{FLOW_KEYS, FlowKind};
use crate::config::raw::scalar::TextOr;
use crate::config::raw::secret::SecretReference;
use crate::config::raw::{self, Map};
use crate::config::suggest::list;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::endpoint::{Endpoint, endpoint};
use crate::config::validate::names::Names;
use crate::config::validate::{fixed, inject, login, oauth2, plaintext, rotation, secret, signature};
use crate::credential::{
    CredentialName, CredentialSpec, DeadlineRule, ExpectedUpstream, Flow, Source, Times,
};
use crate::inject::{Injection, Verification};
use crate::rate::Rate;
use crate::route::Refusal;
use crate::upstream::Url;

/// How often an issuer is asked to send a message, unless the configuration says so.
const MAILED: Rate = Rate { count: 1, per: Duration::from_secs(3600) };

/// So much longer than its messages are waited for an exchange may take.
const ASKING_FOR_MAIL: Duration = Duration::from_secs(120);

/// A credential, and what its routes take from it.
pub(crate) struct Credential {
    pub(crate) spec: CredentialSpec,
    /// Plain parameters, for the injections of routes.
    pub(crate) plain: BTreeMap<String, String>,
    /// Its secrets, for the injections of routes.
    pub(crate) sources: BTreeMap<String, Source>,
    /// What is injected where the route does not say.
    pub(crate) injection: Option<Injection>,
    /// Further injections, by the names that routes may say.
    pub(crate) injections: Vec<(String, Injection)>,
    pub(crate) refusal: Refusal,
    /// What answers have to fit where the route does not say.
    pub(crate) verification: Option<Arc<Verification>>,
    /// The names of its inputs.
    pub(crate) secrets: Vec<String>,
    pub(crate) wait: Duration,
    /// Its tokens are bound to a key.
    pub(crate) is_key_bound: bool,
    /// Its tokens are bound to the certificate that its egress shows.
    pub(crate) is_certificate_bound: bool,
    /// Where exchanges go, and further URLs that routes deny.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// The names of a credential's outputs; `None` if its own mistakes hide them.
pub(crate) fn outputs(raw: &raw::Credential) -> Option<Vec<String>> {
    let names: Vec<String> = match raw.flow? {
        FlowKind::Static => {
            let token = raw.token.as_ref().map(|_| "token");
            token.into_iter().chain(raw.secrets.names()).map(str::to_owned).collect()
        }
        FlowKind::OAuth2 => {
            ["access_token", "id_token"].into_iter().chain(raw.outputs.names()).map(str::to_owned).collect()
        }
        FlowKind::Login => {
            let steps = raw.steps.as_ref()?;
            steps.iter().flat_map(|step| step.outputs.names()).map(str::to_owned).collect()
        }
    };
    (!names.is_empty()).then_some(names)
}

/// All credentials, in the order of the file.
pub(crate) fn all(
    raw: &Map<raw::Credential>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Vec<Credential> {
    raw.into_iter().filter_map(|(name, raw)| one(name, raw, place.key(name), context)).collect()
}

fn one(name: &str, raw: &raw::Credential, place: Place<'_>, context: &mut Context<'_>) -> Option<Credential> {
    check_name(name, place, context);
    let Some(kind) = raw.flow else {
        if !place.is_spoiled("preset") {
            let flows = "a `flow` (`static`, `oauth2` or `login`) or a `preset`";
            context.findings.missing(place, "flow", &format!("a credential has {flows}"));
        }
        return None;
    };
    check_keys(kind, place, context);
    if raw.preset.is_none() && raw.environment.is_some() {
        context.findings.error(place.key("environment"), "environments belong to presets");
    }

    let places = ["secrets", "values", "params"];
    let spoiled = places.iter().flat_map(|key| place.key(key).spoiled());
    let spoiled = spoiled.chain(place.spoiled()).cloned().collect();
    let numbers = raw.values.into_iter().chain(&raw.params).filter(|(_, value)| value.is_number);
    let numbers = numbers.map(|(name, _)| name.clone()).collect();
    let names = Names { plain: plain(raw, kind, place, context), numbers, spoiled, ..Names::default() };
    let mut inputs = Inputs { names, sources: Vec::new() };
    name.clone_into(&mut context.owner);
    // One that refers to others of them comes behind those.
    let rank = |it: &SecretReference| u8::from(it.secret.is_some()) + 2 * u8::from(it.jwt.is_some());
    for rank_now in 0..3 {
        for (key, reference) in raw.secrets.into_iter().filter(|(_, it)| rank(it) == rank_now) {
            inputs.add(key, reference, place.key("secrets").key(key), context);
        }
    }
    let mut endpoints = Vec::new();
    let allow_plaintext = raw.allow_plaintext == Some(true);
    let flow = match kind {
        FlowKind::Static => fixed::flow(raw, place, &mut inputs, context).map(Flow::Static),
        FlowKind::OAuth2 => oauth2::flow(raw, place, &mut inputs, &mut endpoints, context)
            .map(|flow| Flow::OAuth2(Box::new(flow))),
        FlowKind::Login => login::flow(raw, place, &mut inputs, &mut endpoints, context)
            .map(|flow| Flow::Login(Box::new(flow))),
    };
    let rotation = match kind {
        FlowKind::Login => rotation::rotation(raw, place, &inputs, &mut endpoints, context),
        FlowKind::Static | FlowKind::OAuth2 => None,
    };
    let way = (raw.egress.as_deref(), allow_plaintext);
    plaintext::check(&endpoints, flow.as_ref(), way, place, context);
    if !context.is_durable
        && kind != FlowKind::Static
        && inputs.names.secrets.iter().any(|name| name == "password")
    {
        let message =
            "this credential sends a password, and no durable store counts its rejections over restarts";
        let problem = context.findings.hint(place, message);
        problem.help("an issuer that locks accounts may see more than three wrong tries");
    }
    further_endpoints(raw, place, &inputs.names, &mut endpoints, context);

    let outputs = outputs(raw);
    let deadline = deadline(raw, outputs.as_deref(), place.key("deadline"), context);
    let dpop = oauth2::dpop::is_on(raw);
    let mut injections = Vec::new();
    for (name, raw) in &raw.injections {
        let place = place.key("injections").key(name);
        let of = inject::injection(raw, place, &inputs.names, (outputs.as_deref(), dpop), context);
        injections.push((name.clone(), of));
    }
    let injection = match &raw.inject {
        Some(TextOr::Table(raw)) => {
            let place = place.key("inject");
            Some(inject::injection(raw, place, &inputs.names, (outputs.as_deref(), dpop), context))
        }
        Some(TextOr::Text(of)) => inject::named(of, &injections, place.key("inject"), context),
        None => inject::by_default(kind, outputs.as_deref().unwrap_or_default(), dpop),
    };
    let verification = raw.verify.as_ref().and_then(|raw| {
        signature::verification(raw, place.key("verify"), &inputs.names, outputs.as_deref(), context)
    });
    let refusal = match &raw.refusal {
        Some(raw) => inject::refusal(raw, place.key("refusal"), context),
        None => Refusal::default(),
    };
    let times = times(raw, flow.as_ref(), place, context);
    let egress = oauth2::certificate::egress(name, raw, place, context);
    let Inputs { names, sources, .. } = inputs;
    let secrets = names.secrets.clone();
    let own = names.sources;
    let inputs = sources.into_iter().chain(names.links.take()).collect();
    Some(Credential {
        sources: own,
        spec: CredentialSpec {
            name: CredentialName::from(name),
            flow: flow?,
            inputs,
            egress,
            times: context.alike.times.one(times),
            optional: raw.optional == Some(true),
            only_subjects: false,
            expected_upstream: expected_upstream(raw, place.key("expect_upstream"), context),
            deadline: deadline.map(Box::new),
            rotation: rotation.map(Box::new),
            retry_ambiguous: raw.retry_ambiguous == Some(true),
            lends: Arc::default(),
        },
        plain: names.plain,
        injection,
        injections,
        refusal,
        verification,
        secrets,
        wait: raw.wait.map_or(Duration::from_secs(5), |time| time.0),
        is_key_bound: dpop,
        is_certificate_bound: oauth2::certificate::is_bound(raw),
        endpoints,
    })
}

/// The times of its renewals.
fn times(raw: &raw::Credential, flow: Option<&Flow>, place: Place<'_>, context: &mut Context<'_>) -> Times {
    let default_lifetime = raw.default_lifetime.map_or(Duration::from_secs(3600), |time| time.0);
    let mailed = flow.map_or(Duration::ZERO, waits_for_mail);
    let usual_timeout = if mailed.is_zero() { Duration::from_secs(30) } else { mailed + ASKING_FOR_MAIL };
    let exchange_timeout = raw.exchange_timeout.map_or(usual_timeout, |time| time.0);
    for (key, time) in [("default_lifetime", default_lifetime), ("exchange_timeout", exchange_timeout)] {
        if time.is_zero() {
            context.findings.error(place.key(key), format!("`{key}` is longer than nothing"));
        }
    }
    if !mailed.is_zero() {
        check_mailed(raw.max_renewals, place, context);
    }
    Times {
        renew_before: raw.renew_before.map(|time| time.0),
        default_lifetime,
        max_renewals: raw.max_renewals.or_else(|| (!mailed.is_zero()).then_some(MAILED)),
        exchange_timeout,
        typical_lifetime: raw.typical_lifetime.map(|time| time.0),
    }
}

/// Where the answer says where requests go. The routes that are held to it are not known yet.
fn expected_upstream(
    raw: &raw::Credential,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Box<ExpectedUpstream>> {
    let pointer = raw.expect_upstream.as_ref()?;
    inject::check_pointer(pointer, place, context);
    Some(Box::new(ExpectedUpstream { pointer: pointer.clone(), routes: Vec::new() }))
}

/// How long a flow waits for messages, all in all.
fn waits_for_mail(flow: &Flow) -> Duration {
    match flow {
        Flow::Login(flow) => flow.mails().map(|mail| mail.wait).sum(),
        Flow::Static(_) | Flow::OAuth2(_) => Duration::ZERO,
    }
}

/// Tells of more attempts than people's mailboxes are made for, and of a count that a restart forgets.
fn check_mailed(limit: Option<Rate>, place: Place<'_>, context: &mut Context<'_>) {
    if limit.is_some_and(|limit| limit.per < MAILED.per * limit.count) {
        let message = "each attempt has a message sent, and this allows more than one an hour";
        context.findings.warning(place.key("max_renewals"), message);
    }
    let message = "each attempt has a message sent, and no durable store counts them over restarts";
    context.warn_unless_durable(place, message, "each start would be a further attempt");
}

/// Where the token tells what ends beside it.
fn deadline(
    raw: &raw::Credential,
    outputs: Option<&[String]>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<DeadlineRule> {
    let raw = raw.deadline.as_ref()?;
    let (Some(of), Some(jwt), Some(claim)) = (&raw.of, &raw.jwt, &raw.claim) else {
        context
            .findings
            .error(place, "a deadline says `of` what it is, the `jwt` that tells it, and its `claim`");
        return None;
    };
    inject::check_pointer(claim, place.key("claim"), context);
    if let Some(outputs) = outputs.filter(|outputs| !outputs.contains(jwt)) {
        let message =
            format!("there is no such output: there is {}", list(outputs.iter().map(String::as_str)));
        context.findings.error(place.key("jwt"), message);
    }
    Some(DeadlineRule { of: of.clone(), jwt: jwt.clone(), claim: claim.clone() })
}

fn further_endpoints(
    raw: &raw::Credential,
    place: Place<'_>,
    names: &Names,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) {
    for (index, url) in raw.token_endpoints.iter().flatten().enumerate() {
        let place = place.key("token_endpoints").item(index);
        if let Some(template) = names.template(url, place, &[], context) {
            endpoints.extend(endpoint(&template, place, context));
        }
    }
}

/// The inputs of one credential as they are gathered.
pub(crate) struct Inputs {
    pub(crate) names: Names,
    sources: Vec<(String, Source)>,
}

impl Inputs {
    /// Resolves a reference and keeps it under a name.
    pub(crate) fn add(
        &mut self,
        name: &str,
        reference: &SecretReference,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) {
        if let Some(source) = secret::source(reference, place, &self.names, context) {
            self.put(name, source, place, context);
        } else {
            // The name is there, if wrong: templates may use it.
            self.names.secrets.push(name.to_owned());
        }
    }

    /// The source of an input.
    pub(crate) fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|(known, _)| known == name).map(|(_, source)| source)
    }

    /// Keeps a source under a name.
    pub(crate) fn put(&mut self, name: &str, source: Source, place: Place<'_>, context: &mut Context<'_>) {
        context.input(name, place);
        self.names.secrets.push(name.to_owned());
        self.names.sources.insert(name.to_owned(), source.clone());
        self.sources.push((name.to_owned(), source));
    }
}

/// A name that goes into URLs, metrics and templates.
pub(crate) fn check_name(name: &str, place: Place<'_>, context: &mut Context<'_>) {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > 100 || !name.bytes().all(is_part) {
        let message = "a name is made of letters, digits, `-` and `_`, at most 100 of them";
        context.findings.error_at(place.key_span(), message);
    }
}

/// Tells keys that belong to another flow.
fn check_keys(kind: FlowKind, place: Place<'_>, context: &mut Context<'_>) {
    for (key, flows) in FLOW_KEYS {
        if place.has(key) && !flows.contains(&kind) {
            let flows = list(flows.iter().map(|flow| flow.as_str()));
            let message = format!("`{key}` belongs to the flow {flows}, and this is `{}`", kind.as_str());
            context.findings.error_at(place.key(key).key_span(), message);
        }
    }
}

/// The plain parameters of a credential, which are put into its templates when they are read.
fn plain(
    raw: &raw::Credential,
    kind: FlowKind,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> BTreeMap<String, String> {
    let mut plain = BTreeMap::new();
    let params = (kind == FlowKind::Login).then_some(("params", &raw.params));
    for (key, values) in [("values", &raw.values)].into_iter().chain(params) {
        for (name, value) in values {
            if raw.secrets.get(name).is_some() {
                let message = format!("`{name}` is a secret and a plain parameter: it can be one");
                context.findings.error_at(place.key(key).key(name).key_span(), message);
            }
            plain.insert(name.clone(), value.text.clone());
        }
    }
    if let Some(address) = &raw.base_url {
        let place = place.key("base_url");
        let spoiled = place.key("values").spoiled().to_vec();
        let names = Names { plain: plain.clone(), spoiled, ..Names::default() };
        let Some(address) = names.template(address, place, &[], context) else { return plain };
        let Some(address) = address.as_text() else { return plain };
        match address.parse::<Url>() {
            Ok(url) if url.path_and_query.query().is_some() => {
                context.findings.error(place, "a base address has no query");
            }
            Ok(_) => {}
            Err(error) => {
                context.findings.error(place, error);
            }
        }
        plain.insert("base_url".to_owned(), address.trim_end_matches('/').to_owned());
    }
    plain
}
