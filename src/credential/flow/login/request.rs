//! The request of a step, put together from its templates.

use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::credential::Outputs;
use crate::credential::flow::form::{FORM, Form};
use crate::credential::flow::login::cookies::Cookies;
use crate::credential::flow::login::{JsonTemplate, Step, StepBody};
use crate::credential::flow::{Exchange, MintError, secret_header};
use crate::secret::{Secret, SecretBuffer};
use crate::template::Template;
use crate::upstream::Url;
use crate::upstream::exchange::Request;

/// Everything but the unreserved characters of RFC 3986, section 2.3: a value never breaks out of
/// the part of a URL that its template puts it in.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Builds the request of `step` from the inputs and the outputs of the steps before.
pub(super) fn build(
    step: &Step,
    exchange: &Exchange<'_>,
    outputs: &Outputs,
    cookies: &Cookies,
) -> Result<(Url, Request), MintError> {
    let value = |name: &str| outputs.get(name).or_else(|| exchange.inputs.values.get(name)).cloned();
    let values = Values { value: &value, clock: &exchange.clock };
    let url = values.url(step)?;
    let mut headers = HeaderMap::new();
    let body = match &step.body {
        StepBody::Empty => None,
        StepBody::Form(fields) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
            let mut form = Form::new();
            for (name, template) in fields {
                form.field(name, &values.render(template)?);
            }
            Some(form.finish())
        }
        StepBody::Json(template) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let mut json = SecretBuffer::with_capacity(4096);
            values.json(template, &mut json)?;
            Some(json.into())
        }
        StepBody::Raw(template) => Some(Secret::from(values.render(template)?)),
    };
    for (name, template) in &step.headers {
        headers.insert(name.clone(), header(name.as_str(), &values.render(template)?)?);
    }
    if let Some(sent) = cookies.for_request(&url) {
        headers.insert(COOKIE, header("cookie", sent.expose())?);
    }
    Ok((url, Request { method: step.method.clone(), headers, body }))
}

fn header(name: &str, value: &[u8]) -> Result<HeaderValue, MintError> {
    let mut buffer = SecretBuffer::with_capacity(value.len());
    buffer.push(value);
    secret_header(buffer).map_err(|_| MintError::Stubborn {
        message: format!("the header `{name}` would hold a line break or another control character"),
    })
}

/// The values that the templates of a step are filled in with.
struct Values<'a> {
    value: &'a dyn Fn(&str) -> Option<Secret>,
    clock: &'a Clock,
}

impl Values<'_> {
    fn render(&self, template: &Template) -> Result<Zeroizing<Vec<u8>>, MintError> {
        Ok(template.render(self.value, self.clock)?)
    }

    /// The URL with its query. Its origin is that of the configuration, whatever the values are.
    fn url(&self, step: &Step) -> Result<Url, MintError> {
        let wrong = |what: &str| MintError::Stubborn { message: format!("the URL of a step {what}") };
        let encode = |bytes: Zeroizing<Vec<u8>>| Zeroizing::new(encoded(&bytes).into_bytes());
        let mut text = SecretBuffer::with_capacity(1024);
        text.push(&step.url.render_encoded(self.value, self.clock, &encode)?);
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
