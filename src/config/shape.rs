//! Reads a tree into its raw type and tells every mistake on the way: each wrong key is noted, cut
//! out of the tree, and the rest read again until it fits.

use serde::de::DeserializeOwned;

use crate::config::deserialize::{Deserializer, Kind, Mistake, Step};
use crate::config::findings::Findings;
use crate::config::later;
use crate::config::raw::{Credential, Egress, File, Listener, Notify, Route};
use crate::config::suggest::{list, nearest};
use crate::config::tree::{Node, Place, Value};

/// Reads the file: its named tables one by one first, so that a mistake in one does not have the
/// others read again.
pub(crate) fn file(tree: &mut Node, findings: &mut Findings) -> File {
    each::<Listener>(tree, "listeners", findings);
    each::<Egress>(tree, "egress", findings);
    each::<Credential>(tree, "credentials", findings);
    each::<Route>(tree, "routes", findings);
    each::<Notify>(tree, "notify", findings);
    read(tree, findings)
}

fn each<T: DeserializeOwned + Default>(tree: &mut Node, key: &str, findings: &mut Findings) {
    let named = tree.as_table_mut().and_then(|table| table.get_mut(key)?.as_table_mut());
    for node in named.into_iter().flat_map(|table| table.entries.values_mut()) {
        read::<T>(node, findings);
    }
}

/// Reads the tree. What is left of it afterwards is what the raw value was made of.
pub(crate) fn read<T: DeserializeOwned + Default>(tree: &mut Node, findings: &mut Findings) -> T {
    loop {
        let mistake = match T::deserialize(Deserializer(tree)) {
            Ok(value) => return value,
            Err(mistake) => mistake,
        };
        tell(&mistake, tree, findings);
        if !cut(tree, &mistake) {
            return T::default();
        }
    }
}

fn tell(mistake: &Mistake, tree: &Node, findings: &mut Findings) {
    let place = mistake.path.iter().rev().fold(Place::new(tree), |place, step| match step {
        Step::Key(key) => place.key(key),
        Step::Item(index) => place.item(*index),
    });
    match &mistake.kind {
        Kind::UnknownKey { key, keys } if later::is_key(key, keys) => {
            findings.error_at(place.key_span(), format!("`{key}` is not available in this version"));
        }
        Kind::UnknownKey { key, keys } => {
            let problem = findings.error_at(place.key_span(), format!("there is no key `{key}` here"));
            let near = nearest(key, keys.iter().copied());
            problem.meant_or(near, || format!("possible are {}", list(keys.iter().copied())));
        }
        Kind::UnknownWord { word, words } if later::is_word(word, words) => {
            findings.error(place, format!("`{word}` is not available in this version"));
        }
        Kind::UnknownWord { word, words } => {
            let possible = format!("this is not one of {}", list(words.iter().copied()));
            findings.error(place, possible).meant(nearest(word, words.iter().copied()));
        }
        Kind::WrongType { found, name: "SecretReference", .. } => {
            findings
                .error(place, format!("a secret is given by reference, not as {found}"))
                .help("such as { file = \"/run/secrets/name\" } or { env = \"NAME\" }");
        }
        Kind::WrongType { found, wanted, name } => {
            let wanted = if wanted.starts_with("struct ") { "a table" } else { plain(wanted) };
            let problem = findings.error(place, format!("{wanted} is wanted here, not {found}"));
            if *name == "Time" {
                problem.help("such as \"30s\", \"15m\" or \"180d\"");
            }
        }
        Kind::Other(message) => {
            findings.error(place, message.as_str());
        }
    }
}

/// What serde wants, as people call it.
fn plain(wanted: &str) -> &str {
    match wanted {
        "a string" => "a text in quotes",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "a table",
        "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number",
        other => other,
    }
}

/// Cuts a mistake out of the tree; `false` if it is the whole tree.
fn cut(tree: &mut Node, mistake: &Mistake) -> bool {
    let Some((last, way)) = mistake.path.split_first() else { return false };
    let parent = way.iter().rev().try_fold(tree, |node, step| match (&mut node.value, step) {
        (Value::Table(table), Step::Key(key)) => table.get_mut(key),
        (Value::Array(items), Step::Item(index)) => items.get_mut(*index),
        _ => None,
    });
    match (parent.map(|parent| &mut parent.value), last) {
        (Some(Value::Table(table)), Step::Key(key)) => {
            table.spoil(key);
            // Who wrote `pasword` meant `password`, which is then not missing.
            if let Kind::UnknownKey { key, keys } = &mistake.kind
                && let Some(near) = nearest(key, keys.iter().copied())
            {
                table.spoiled.push(near.to_owned());
            }
            true
        }
        (Some(Value::Array(items)), Step::Item(index)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}
