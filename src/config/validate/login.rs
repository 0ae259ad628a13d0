//! The flow `login`.

use http::Method;

use crate::config::raw;
use crate::config::raw::choice::Texts;
use crate::config::raw::json::Json;
use crate::config::raw::scalar::Map;
use crate::config::raw::step::{Condition as RawCondition, LoginStep};
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Inputs;
use crate::config::validate::endpoint::{Endpoint, endpoint};
use crate::config::validate::extract::{self, selector};
use crate::config::validate::inject::{check_pointer, check_statuses, field_name, is_single_line, tests};
use crate::config::validate::names::Names;
use crate::config::validate::{expiry, mail};
use crate::credential::flow::LoginFlow;
use crate::credential::flow::login::{Condition, Extract, HttpStep, JsonTemplate, Step, StepBody};
use crate::template::Template;

pub(crate) fn flow(
    raw: &raw::Credential,
    place: Place<'_>,
    inputs: &mut Inputs,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Option<LoginFlow> {
    let raw = raw.steps.as_deref().unwrap_or_default();
    if raw.is_empty() {
        context.findings.missing(place, "steps", "a login has at least one step");
        return None;
    }
    let known: Vec<String> = raw.iter().flat_map(|step| step.outputs.names()).map(str::to_owned).collect();
    if known.is_empty() && !context.findings.has_errors() {
        context.findings.error(place.key("steps"), "no step has `outputs`: there would be nothing to inject");
    }
    Some(LoginFlow { steps: steps(raw, place.key("steps"), Vec::new(), inputs, endpoints, context)? })
}

/// Steps in order; the templates of each may name what is known before and the outputs of those before it.
pub(crate) fn steps(
    raw: &[LoginStep],
    place: Place<'_>,
    mut known: Vec<String>,
    inputs: &Inputs,
    endpoints: &mut Vec<Endpoint>,
    context: &mut Context<'_>,
) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut has_page = false;
    for (index, raw) in raw.iter().enumerate() {
        let place = place.item(index);
        let reader = Reader { names: &inputs.names, known: &known, has_page, place };
        steps.push(reader.step(raw, endpoints, context));
        has_page |= raw.mail.is_none();
        for name in raw.outputs.names() {
            if inputs.names.secrets.iter().chain(inputs.names.plain.keys()).any(|input| input == name) {
                let message = format!("`{name}` is an output here and an input of the same credential");
                context.findings.error_at(place.key("outputs").key(name).key_span(), message);
            }
            known.push(name.to_owned());
        }
    }
    for (index, raw) in raw.iter().enumerate() {
        expiry::check_outputs(raw, &known, place.item(index), context);
    }
    steps.into_iter().collect()
}

/// Reads one step.
pub(super) struct Reader<'a> {
    pub(super) names: &'a Names,
    /// The outputs of earlier steps.
    known: &'a [String],
    /// A step before it was answered, maybe by a page.
    has_page: bool,
    pub(super) place: Place<'a>,
}

impl Reader<'_> {
    fn step(
        &self,
        raw: &LoginStep,
        endpoints: &mut Vec<Endpoint>,
        context: &mut Context<'_>,
    ) -> Option<Step> {
        if let Some(mail) = &raw.mail {
            return mail::step(self, raw, mail, endpoints, context).map(Step::Mail);
        }
        if self.place.is_spoiled("mail") {
            return None;
        }
        self.http(raw, endpoints, context).map(Step::Http)
    }

    fn http(
        &self,
        raw: &LoginStep,
        endpoints: &mut Vec<Endpoint>,
        context: &mut Context<'_>,
    ) -> Option<HttpStep> {
        let place = self.place;
        let submit = raw.submit.as_ref().map(|text| self.selector(text, place.key("submit"), context));
        if raw.url.is_none() && submit.is_none() && !place.is_spoiled("submit") {
            context.findings.missing(place, "url", "a step asks someone");
        }
        if submit.is_some() && !self.has_page {
            context.findings.error(place.key("submit"), "no step before this one has a page with a form");
        }
        let url = raw.url.as_ref().map(|url| self.template(url, place.key("url"), context));
        let whole = url.as_ref().map(|url| endpoint(url.as_ref()?, place.key("url"), context));
        endpoints.extend(whole.clone().flatten());
        let body = self.body(raw, context);
        let is_form = matches!(body, None | Some(StepBody::Empty | StepBody::Form(_)));
        if submit.is_some() && !is_form {
            context.findings.error(place, "what is submitted is a form: `submit` goes with `form` only");
        }
        let method = self.method(raw, body.as_ref(), context);
        let headers = self.headers(&raw.headers, context);
        let query = self.templates(&raw.query, place.key("query"), context);
        if raw.url.is_none() && !raw.query.is_empty() {
            context.findings.error(place.key("query"), "a query is appended to a `url`, and there is none");
        }
        let outputs = self.outputs(raw, context);
        let expiry = expiry::rules(raw, place, context);
        if let Some(pointer) = &raw.warn {
            check_pointer(pointer, place.key("warn"), context);
        }
        let success = self.condition(&raw.success, (200..300).collect(), place.key("success"), context);
        let reject = self.condition(&raw.reject, vec![401], place.key("reject"), context);
        if whole.is_some_and(|endpoint| endpoint.is_none()) || (url.is_none() && submit.is_none()) {
            return None;
        }
        Some(HttpStep {
            method: method?,
            url: url.flatten(),
            submit: submit.flatten(),
            follows: raw.follow == Some(true),
            headers,
            query,
            body: body?,
            success: success?,
            reject: reject?,
            outputs,
            expiry,
            warn: raw.warn.clone(),
        })
    }

    /// What is taken from the answer, or from the message.
    pub(super) fn outputs(&self, raw: &LoginStep, context: &mut Context<'_>) -> Vec<(String, Extract)> {
        let place = self.place.key("outputs");
        let read = |(name, raw): (&String, &_)| {
            Some((name.clone(), extract::extract(raw, place.key(name), self.names, context)?))
        };
        raw.outputs.into_iter().filter_map(read).collect()
    }

    fn selector(&self, text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<String> {
        selector(&self.names.plainly(text)?, place, context)
    }

    fn condition(
        &self,
        raw: &RawCondition,
        default: Vec<u16>,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> Option<Condition> {
        check_statuses(raw.status.as_deref(), place.key("status"), context);
        let mut selectors = |texts: &Option<Texts>, place: Place<'_>| {
            let texts = texts.iter().flat_map(|Texts(texts)| texts);
            let read: Vec<_> = texts.map(|text| self.selector(text, place, context)).collect();
            read.into_iter().collect::<Option<Vec<_>>>()
        };
        let css = selectors(&raw.css, place.key("css"));
        let css_absent = selectors(&raw.css_absent, place.key("css_absent"));
        let patterns = raw.regex.iter().flat_map(|Texts(texts)| texts).map(|text| {
            let pattern = self.names.plainly(text)?;
            let is_right = regex_lite::Regex::new(&pattern).is_ok();
            if !is_right {
                context.findings.error(place.key("regex"), "this is not a regular expression");
            }
            is_right.then_some(pattern)
        });
        let regex: Option<Vec<_>> = patterns.collect();
        Some(Condition {
            status: raw.status.clone().unwrap_or(default),
            json: tests(&raw.json, place.key("json"), context),
            css: css?,
            css_absent: css_absent?,
            regex: regex?,
        })
    }

    pub(super) fn template(
        &self,
        text: &str,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> Option<Template> {
        self.names.template(text, place, self.known, context)
    }

    fn templates(
        &self,
        raw: &Map<String>,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> Vec<(String, Template)> {
        raw.into_iter()
            .filter_map(|(name, text)| {
                Some((self.names.plainly(name)?, self.template(text, place.key(name), context)?))
            })
            .collect()
    }

    fn headers(&self, raw: &Map<String>, context: &mut Context<'_>) -> Vec<(http::HeaderName, Template)> {
        raw.into_iter()
            .filter_map(|(name, text)| {
                let at = self.place.key("headers").key(name);
                let field = field_name(name, at, context);
                let template = self.template(text, at, context)?;
                is_single_line(&template, at, context).then_some((field?, template))
            })
            .collect()
    }

    fn body(&self, raw: &LoginStep, context: &mut Context<'_>) -> Option<StepBody> {
        let place = self.place;
        match (&raw.form, &raw.json, &raw.body) {
            (None, None, None) => Some(StepBody::Empty),
            (Some(form), None, None) => {
                Some(StepBody::Form(self.templates(form, place.key("form"), context)))
            }
            (None, Some(json), None) => self.json(json, place.key("json"), context).map(StepBody::Json),
            (None, None, Some(body)) => self.template(body, place.key("body"), context).map(StepBody::Raw),
            _ => {
                context.findings.error(place, "a step has one body: `form`, `json` or `body`");
                None
            }
        }
    }

    fn json(&self, raw: &Json, place: Place<'_>, context: &mut Context<'_>) -> Option<JsonTemplate> {
        Some(match raw {
            Json::Text(text) => match self.names.number(text) {
                Some(number) => JsonTemplate::Plain(number.into()),
                None => JsonTemplate::Text(self.template(text, place, context)?),
            },
            Json::Number(_) | Json::Boolean(_) => JsonTemplate::Plain(raw.to_value()),
            Json::Array(items) => {
                let items = items.iter().enumerate();
                let items: Vec<Option<JsonTemplate>> =
                    items.map(|(index, item)| self.json(item, place.item(index), context)).collect();
                JsonTemplate::Array(items.into_iter().collect::<Option<_>>()?)
            }
            Json::Object(entries) => {
                let entries = entries.iter();
                let entries: Vec<Option<(String, JsonTemplate)>> = entries
                    .map(|(key, value)| Some((key.clone(), self.json(value, place.key(key), context)?)))
                    .collect();
                JsonTemplate::Object(entries.into_iter().collect::<Option<_>>()?)
            }
        })
    }

    /// A body, and a form, is sent by `POST` unless the step says otherwise.
    fn method(&self, raw: &LoginStep, body: Option<&StepBody>, context: &mut Context<'_>) -> Option<Method> {
        let has_body = raw.submit.is_some() || !matches!(body, None | Some(StepBody::Empty));
        match &raw.method {
            None if has_body => Some(Method::POST),
            None => Some(Method::GET),
            Some(name) => method(name, self.place.key("method"), context),
        }
    }
}

/// A method as it is written; tells it if it is none.
pub(crate) fn method(name: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Method> {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let is_method = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if is_method && name != "CONNECT" && name != "TRACE" {
        return name.parse().ok();
    }
    let message = format!("this is not a method such as {}", list(KNOWN));
    context.findings.error(place, message).meant(nearest(name, KNOWN));
    None
}
