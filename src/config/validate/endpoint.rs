//! The URLs that credentials are obtained at.

use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::template::Template;
use crate::upstream::{Origin, Url};

/// A URL that no route may reach: an origin and a path as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) origin: Origin,
    pub(crate) path: String,
}

/// The endpoint that a URL template means: its origin is plain text, its path is so up to the first
/// placeholder.
pub(crate) fn endpoint(url: &Template, place: Place<'_>, context: &mut Context<'_>) -> Option<Endpoint> {
    let text = url.literal_prefix();
    let is_whole = url.as_text().is_some();
    let authority = text.find("://").map(|at| at + 3);
    let end = authority.and_then(|at| text[at..].find(['/', '?']).map(|length| at + length));
    if !is_whole && end.is_none() {
        let problem =
            context.findings.error(place, "scheme and host of a URL are plain text or plain parameters");
        problem.help("a URL that a secret or an answer could move would take the secrets along");
        return None;
    }
    match text.parse::<Url>() {
        Ok(url) => {
            let path = url.path();
            let is_path_whole = is_whole || text.contains('?');
            let path = if is_path_whole { path } else { &path[..path.rfind('/').unwrap_or(0)] };
            Some(Endpoint { path: path.to_owned(), origin: url.origin })
        }
        Err(error) => {
            context.findings.error(place, error);
            None
        }
    }
}
