//! The request of a step, put together from its templates.

use http::header::{ACCEPT, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::credential::Outputs;
use crate::credential::flow::form::{FORM, Form};
use crate::credential::flow::login::cookies::Cookies;
use crate::credential::flow::login::form::{self, FormOnPage};
use crate::credential::flow::login::page::Page;
use crate::credential::flow::login::{HttpStep, JsonTemplate, StepBody, link};
use crate::credential::flow::{Exchange, MintError, secret_header};
use crate::secret::{Secret, SecretBuffer};
use crate::template::Template;
use crate::upstream::Url;
use crate::upstream::exchange::Request;

/// Everything but the unreserved characters of RFC 3986, section 2.3: a value never breaks out of
/// the part of a URL that its template puts it in.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What browsers want to see of a page.
const PAGES: HeaderValue = HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8");

/// Builds the request of `step` from the inputs, the outputs of the steps before and the page that the last of
/// them answered.
pub(super) fn build(
    step: &HttpStep,
    values: &Values<'_>,
    page: Option<&Page>,
    cookies: &Cookies,
) -> Result<(Url, Request), MintError> {
    let form = step.submit.as_ref().map(|selector| submitted(selector, page)).transpose()?;
    let url = match (&step.url, &form) {
        (Some(template), _) => values.url(step, template)?,
        (None, Some((at, form))) => action(at, form)?,
        (None, None) => return Err(stubborn("has no URL: this is a fault of bearerd")),
    };
    let mut headers = HeaderMap::new();
    let body = match &step.body {
        StepBody::Empty if form.is_none() => None,
        StepBody::Empty | StepBody::Form(_) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
            let own: &[(String, Template)] = if let StepBody::Form(own) = &step.body { own } else { &[] };
            if let Some((_, form)) = &form {
                check_names(own, form)?;
            }
            let filled = form.iter().flat_map(|(_, form)| &form.filled);
            let mut body = Form::new();
            let mut field = |name: &str, value: &[u8]| match &form {
                Some((page, _)) => body.encoded_field(&page.encoded(name.as_bytes()), &page.encoded(value)),
                None => body.field(name, value),
            };
            for (name, value) in filled.filter(|(name, _)| own.iter().all(|(known, _)| known != name)) {
                field(name, value.expose());
            }
            for (name, template) in own {
                field(name, &values.render(template)?);
            }
            Some(body.finish())
        }
        StepBody::Json(template) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let mut json = SecretBuffer::with_capacity(4096);
            values.json(template, &mut json)?;
            Some(json.into())
        }
        StepBody::Raw(template) => Some(Secret::from(values.render(template)?)),
    };
    if step.submit.is_some() || step.follows {
        headers.insert(ACCEPT, PAGES);
    }
    for (name, template) in &step.headers {
        headers.insert(name.clone(), header(name.as_str(), &values.render(template)?)?);
    }
    send(&url, cookies, &mut headers)?;
    Ok((url, Request { method: step.method.clone(), headers, body }))
}

/// The request that a redirect asks for.
pub(super) fn get(url: &Url, cookies: &Cookies) -> Result<Request, MintError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, PAGES);
    send(url, cookies, &mut headers)?;
    Ok(Request { method: Method::GET, headers, body: None })
}

/// The same request at another place: what a redirect asks for that keeps the method (RFC 9110, section 15.4.8).
pub(super) fn again(request: Request, url: &Url, cookies: &Cookies) -> Result<Request, MintError> {
    let mut request = request;
    request.headers.remove(COOKIE);
    send(url, cookies, &mut request.headers)?;
    Ok(request)
}

/// Puts the cookies into the head.
fn send(url: &Url, cookies: &Cookies, headers: &mut HeaderMap) -> Result<(), MintError> {
    if let Some(sent) = cookies.for_request(url) {
        headers.insert(COOKIE, header("cookie", sent.expose())?);
    }
    Ok(())
}

/// The form that is sent back, and the page that it stands on.
fn submitted<'a>(selector: &str, page: Option<&'a Page>) -> Result<(&'a Page, FormOnPage), MintError> {
    let page = page.ok_or_else(|| stubborn("submits a form, and there is no page before it"))?;
    let text = page.text.expose_str().ok_or_else(|| stubborn("submits a form of a page that is not text"))?;
    Ok((page, form::form(text, selector).map_err(|what| stubborn(&format!("submits a form, but {what}")))?))
}

/// Tells a field that the form does not have: the portal would not find what is sent.
fn check_names(own: &[(String, Template)], form: &FormOnPage) -> Result<(), MintError> {
    let missing = own.iter().find(|(name, _)| !form.names.contains(name));
    let Some((name, _)) = missing else { return Ok(()) };
    let clean = |name: &String| name.chars().filter(char::is_ascii_graphic).take(40).collect::<String>();
    let has: Vec<String> = form.names.iter().take(20).map(clean).collect();
    Err(stubborn(&format!(
        "submits a form that has no field `{name}`: it has `{}`; has the page changed?",
        has.join("`, `")
    )))
}

/// Where a form goes. It never takes the secrets to another server than its page came from.
fn action(page: &Page, form: &FormOnPage) -> Result<Url, MintError> {
    let url = match &form.action {
        None => Some(page.url.clone()),
        Some(action) => link::resolve(&page.base(), action),
    };
    let url = url.ok_or_else(|| stubborn("submits a form that leads nowhere"))?;
    if url.origin == page.url.origin {
        Ok(url)
    } else {
        Err(stubborn(&format!("submits a form that leads to another server ({})", url.origin)))
    }
}

fn stubborn(what: &str) -> MintError {
    MintError::Stubborn { message: format!("the step {what}") }
}

fn header(name: &str, value: &[u8]) -> Result<HeaderValue, MintError> {
    let mut buffer = SecretBuffer::with_capacity(value.len());
    buffer.push(value);
    secret_header(buffer).map_err(|_| MintError::Stubborn {
        message: format!("the header `{name}` would hold a line break or another control character"),
    })
}

/// The values that the templates of a step are filled in with.
pub(super) struct Values<'a> {
    pub(super) exchange: &'a Exchange<'a>,
    /// Of the steps before.
    pub(super) outputs: &'a Outputs,
}

impl Values<'_> {
    fn value(&self, name: &str) -> Option<Secret> {
        self.outputs.get(name).or_else(|| self.exchange.inputs.values.get(name)).cloned()
    }

    fn render(&self, template: &Template) -> Result<Zeroizing<Vec<u8>>, MintError> {
        Ok(template.render(&|name| self.value(name), &self.exchange.clock)?)
    }

    /// The URL with its query. Its origin is that of the configuration, whatever the values are.
    fn url(&self, step: &HttpStep, template: &Template) -> Result<Url, MintError> {
        let wrong = |what: &str| MintError::Stubborn { message: format!("the URL of a step {what}") };
        let encode = |bytes: Zeroizing<Vec<u8>>| Zeroizing::new(encoded(&bytes).into_bytes());
        let mut text = SecretBuffer::with_capacity(1024);
        text.push(&template.render_encoded(&|name| self.value(name), &self.exchange.clock, &encode)?);
        for (name, template) in &step.query {
            text.push(if text.expose().contains(&b'?') { b"&" } else { b"?" });
            text.push(encoded(name.as_bytes()).as_bytes());
            text.push(b"=");
            text.push(Zeroizing::new(encoded(&self.render(template)?)).as_bytes());
        }
        let text = std::str::from_utf8(text.expose()).map_err(|_| wrong("is not text"))?;
        let url: Url = text.parse().map_err(|_| wrong("is not valid once its template is filled in"))?;
        if step.origin().as_ref() == Some(&url.origin) {
            Ok(url)
        } else {
            Err(wrong("leads to another origin once its template is filled in"))
        }
    }

    /// Writes a JSON value whose texts are rendered and escaped.
    fn json(&self, template: &JsonTemplate, into: &mut SecretBuffer) -> Result<(), MintError> {
        match template {
            JsonTemplate::Plain(value) => into.push(value.to_string().as_bytes()),
            JsonTemplate::Text(template) => {
                let text = self.render(template)?;
                let text = std::str::from_utf8(&text).map_err(|_| MintError::Stubborn {
                    message: "a value that is to stand in JSON is not UTF-8".to_owned(),
                })?;
                quoted(text, into);
            }
            JsonTemplate::Array(items) => {
                into.push(b"[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        into.push(b",");
                    }
                    self.json(item, into)?;
                }
                into.push(b"]");
            }
            JsonTemplate::Object(members) => {
                into.push(b"{");
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        into.push(b",");
                    }
                    quoted(name, into);
                    into.push(b":");
                    self.json(value, into)?;
                }
                into.push(b"}");
            }
        }
        Ok(())
    }
}

/// A JSON text with its quotes and escapes.
fn quoted(text: &str, into: &mut SecretBuffer) {
    serde_json::to_writer(into, text).expect("a text is always JSON, and this buffer takes everything");
}

fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}
