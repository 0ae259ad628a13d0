//! What is put on one request.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::inject::content::{Content, Put};
use crate::inject::{BodyValue, Injection, names};
use crate::jose::detached::DetachedSigner;
use crate::named::Named;
use crate::secret::Secret;
use crate::template::{Body, Scene, Template};

/// What is put on one request.
#[derive(Default)]
pub struct Rendered {
    /// Fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `name=value` pairs for the query, percent-encoded.
    pub query: Vec<Secret>,
    /// `name=value` pairs for the `Cookie` field.
    pub cookies: Vec<Secret>,
    /// What is sent as content, where it was held.
    pub content: Option<Bytes>,
}

/// Renders an injection, the content first: of what is sent the fields are made. An error says which of
/// them cannot be made and why, never with a value.
pub(super) fn render(
    injection: &Injection,
    signers: &[(HeaderName, DetachedSigner)],
    outputs: &Named<Secret>,
    clock: &Clock,
    content: Option<&Content>,
) -> Result<Rendered, String> {
    let value = |name: &str| outputs.get(name).cloned();
    let member = |name: &str| content?.member(name);
    let scene = Scene::new(&value, clock);
    let bytes: &[u8] = content.map_or(&[], |content| content.bytes());
    let sent = put(injection, &scene.with(Body::Whole { bytes, member: &member }), content)?;
    let bytes = sent.as_deref().unwrap_or_default();
    let scene = scene.with(Body::Whole { bytes, member: &member });

    let mut rendered = Rendered {
        headers: Vec::with_capacity(injection.headers.len()),
        query: Vec::with_capacity(injection.query.len()),
        cookies: Vec::with_capacity(injection.cookies.len()),
        content: None,
    };
    for (name, template) in &injection.headers {
        let bytes = text("header", name.as_str(), template, &scene)?;
        let mut field = HeaderValue::from_bytes(&bytes).map_err(|_| {
            format!("header `{name}`: the value has a control character, such as a line break")
        })?;
        if field.is_empty() || bytes.trim_ascii().len() != bytes.len() {
            return Err(format!("header `{name}`: the value is empty, or begins or ends with a space"));
        }
        field.set_sensitive(true);
        rendered.headers.push((name.clone(), field));
    }
    for (name, signer) in signers {
        let signature = signer.sign(bytes).map_err(|error| format!("header `{name}`: {error}"))?;
        rendered.headers.push((name.clone(), signature));
    }
    let made_type = content.and_then(Content::made_type);
    rendered.headers.extend(made_type.map(|made| (CONTENT_TYPE, made)));
    for (name, template) in &injection.query {
        let bytes = text("query parameter", name, template, &scene)?;
        let pair = format!("{}={}", names::percent_encode(name.as_bytes()), names::percent_encode(&bytes));
        rendered.query.push(Secret::from(pair));
    }
    for (name, template) in &injection.cookies {
        let bytes = text("cookie", name, template, &scene)?;
        // The bytes that RFC 6265, section 4.1.1, allows in a cookie's value.
        let is_allowed =
            |byte: &u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
        if !bytes.iter().all(is_allowed) {
            return Err(format!("cookie `{name}`: the value has a byte that a cookie cannot hold"));
        }
        rendered.cookies.push(Secret::new([name.as_bytes(), b"=", &bytes].concat()));
    }
    rendered.content = sent;
    Ok(rendered)
}

/// The content with what is put into it.
fn put(injection: &Injection, scene: &Scene<'_>, content: Option<&Content>) -> Result<Option<Bytes>, String> {
    let Some(content) = content else { return Ok(None) };
    if !content.takes_fields() {
        return Ok(Some(content.bytes().clone()));
    }
    let mut values = Vec::with_capacity(injection.body.len());
    for (name, value) in &injection.body {
        let (json, text) = match value {
            BodyValue::Text(template) => {
                let bytes = text("body member", name, template, scene)?;
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| format!("body member `{name}`: the value is not text"))?;
                (serde_json::Value::from(text).to_string(), text.to_owned())
            }
            BodyValue::Literal(value) => (value.to_string(), value.to_string()),
        };
        values.push(Put { name, json, text });
    }
    Ok(Some(content.put(&values)))
}

fn text(
    what: &str,
    name: &str,
    template: &Template,
    scene: &Scene<'_>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    template.render_over(scene).map_err(|missing| format!("{what} `{name}`: {missing}"))
}
