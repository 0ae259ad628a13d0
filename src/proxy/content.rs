//! Requests whose content is read to its end before their head goes on: something is put into it, or made
//! of it.
//!
//! It is held until the answer has begun, so that a replay is made of what the app sent and the next
//! token, not of what was sent with the last one.

use std::time::Duration;

use bytes::Bytes;

use crate::http1::field::members;
use crate::http1::{Framing, Kind, RequestHead};
use crate::inject::Content;
use crate::inject::content::{Description, Unfit};
use crate::proxy::request::Request;
use crate::proxy::upload::{self, Caller};
use crate::proxy::watch::Watch;
use crate::proxy::{Code, Proxy, ProxyError};
use crate::route::Route;
use crate::route::metrics::Limit;

/// Where the memory for a content of unknown length begins, in bytes.
const FIRST: usize = 16 * 1024;

impl Proxy {
    /// Reads the content of a request, and what an injection has to know of it. Whoever cannot be served need
    /// not send it: a token is there before.
    pub(super) async fn content<S: Caller>(
        &self,
        request: &Request<'_>,
        head: &RequestHead,
        caller: &mut S,
    ) -> Result<Content, ProxyError> {
        let route = request.route;
        let longest = route.limits.inject_body as u64;
        if matches!(request.framing, Framing::Length(length) if length > longest) {
            return Err(too_long(route));
        }
        self.token(request).await?;
        let sent = match request.framing {
            Framing::NONE => Bytes::new(),
            framing => read(framing, route, caller, (request.watch, request.body_timeout)).await?,
        };
        Content::read(sent, &describe(head), &route.spec.injection).map_err(|unfit| {
            let code = match unfit {
                Unfit::Kind(_) => Code::BodyUnsupported,
                Unfit::Malformed(_) => Code::BadRequest,
            };
            ProxyError::new(code, unfit.to_string())
        })
    }
}

async fn read<S: Caller>(
    framing: Framing,
    route: &Route,
    caller: &mut S,
    watched: (&Watch, Duration),
) -> Result<Bytes, ProxyError> {
    let (longest, most) = (route.limits.inject_body, route.limits.max_body.unwrap_or(u64::MAX));
    let expected = if let Framing::Length(length) = framing { length } else { FIRST as u64 };
    // A length is a promise only: memory is taken as it is kept.
    let mut held = Vec::with_capacity(usize::try_from(expected).unwrap_or(FIRST).min(4 * FIRST));
    let keep = |data: &[u8]| {
        let length = held.len() + data.len();
        if length as u64 > most {
            return Err(upload::too_long(route));
        }
        if length > longest {
            return Err(too_long(route));
        }
        held.extend_from_slice(data);
        Ok(())
    };
    upload::collect(caller, watched, keep).await?;
    Ok(held.into())
}

fn too_long(route: &Route) -> ProxyError {
    route.metrics.limited(Limit::InjectBody);
    let detail = "the request body is longer than the route's `inject_body`, and has to be held whole";
    ProxyError::new(Code::TooLarge, detail).and_close()
}

fn describe(head: &RequestHead) -> Description<'_> {
    let of = |kind: Kind| head.fields.iter().filter(move |field| field.kind == kind).map(|field| field.value);
    let mut codings = of(Kind::ContentEncoding).flat_map(members);
    Description {
        types: of(Kind::ContentType).collect(),
        is_encoded: codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")),
        has_meaning: Description::gives_meaning(&head.method),
    }
}
