//! `[store]`.

use std::path::{Path, PathBuf};

use crate::config::raw;
use crate::config::raw::secret::SecretReference;
use crate::config::raw::server::StoreKind;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::secret;
use crate::credential::Source;
use crate::credential::store::spec::{FileSpec, StoreSpec};

/// `[store]`; `None` if its mistakes hide what is meant.
pub(crate) fn store(raw: &raw::Store, place: Place<'_>, context: &mut Context<'_>) -> Option<StoreSpec> {
    if place.is_spoiled("kind") {
        return None;
    }
    let spec = match raw.kind.unwrap_or(StoreKind::Memory) {
        StoreKind::Memory => {
            let given = [
                ("path", raw.path.is_some()),
                ("key", raw.key.is_some()),
                ("previous_key", raw.previous_key.is_some()),
            ];
            for (key, _) in given.into_iter().filter(|(_, given)| *given) {
                let message = format!("`{key}` belongs to a store of kind `file`, and this is `memory`");
                context.findings.error_at(place.key(key).key_span(), message);
            }
            StoreSpec::Memory
        }
        StoreKind::File => StoreSpec::File(file(raw, place, context)?),
    };
    Some(spec)
}

fn file(raw: &raw::Store, place: Place<'_>, context: &mut Context<'_>) -> Option<FileSpec> {
    if raw.path.is_none() {
        context.findings.missing(place, "path", "a store of kind `file` has a file");
    }
    if raw.key.is_none() {
        let why = "a store of kind `file` is sealed (`bearerd store key` makes a key)";
        context.findings.missing(place, "key", why);
    }
    let path = raw.path.as_ref().and_then(|text| path(text, place.key("path"), context));
    let key = raw
        .key
        .as_ref()
        .and_then(|reference| sealing_key(reference, "the store's key", place.key("key"), context));
    let previous = raw.previous_key.as_ref().map(|references| {
        let place = place.key("previous_key");
        let keys = references.0.iter().enumerate();
        keys.map(|(index, raw)| sealing_key(raw, "a previous key of the store", place.item(index), context))
            .collect()
    });
    let previous_keys: Option<Vec<Source>> = previous.unwrap_or_else(|| Some(Vec::new()));
    Some(FileSpec { path: path?, key: key?, previous_keys: previous_keys? })
}

/// The path of a file that may not be there yet, in a folder that is.
fn path(text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<PathBuf> {
    let path = context.path(text);
    if text.is_empty() || text.ends_with('/') || path.is_dir() {
        let problem = context.findings.error(place, "this is a folder, not a file");
        problem.help("such as \"/var/lib/bearerd/state\", which is made if it is not there");
        return None;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let message = format!("the folder {} is not there", folder.display());
        let problem = context.findings.error(place, message);
        problem.help("make it with mode 0700, for bearerd's own user (systemd: `StateDirectory=`)");
        return None;
    }
    Some(path)
}

/// A secret that must be at hand before anything is obtained.
fn sealing_key(
    raw: &SecretReference,
    name: &str,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Option<Source> {
    let source = secret::early(raw, place, context);
    context.input(name, place);
    if let Some(Source::Output { .. } | Source::Jwt(_) | Source::Part { .. }) = source {
        let problem = context.findings.error(place, "this key is wanted before anything is obtained");
        problem.help("say one of `file`, `systemd`, `env` and `command`");
        return None;
    }
    source
}
