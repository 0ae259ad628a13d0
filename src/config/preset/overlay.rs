//! A preset's `[credential]` is laid under the user's table key by key. What the user says under a
//! parameter's name goes to where the flow looks for it: `secrets`, `values`, or a key of the flow.

use indexmap::IndexMap;

use crate::config::deserialize::keys_of;
use crate::config::findings::Findings;
use crate::config::later;
use crate::config::preset::own::Own;
use crate::config::preset::{PRESETS, Parsed, Preset};
use crate::config::raw::Credential;
use crate::config::raw::credential::FLOW_KEYS;
use crate::config::raw::preset::{Parameter as ParameterFile, PresetFile};
use crate::config::suggest::{list, nearest};
use crate::config::text::Span;
use crate::config::tree::{Node, Place, Table, Value};

/// Tables of a credential whose names are added to those of the preset, one by one.
const ADDED: [&str; 3] = ["secrets", "values", "params"];

/// Lays presets under all credentials of a file that name one.
pub(crate) fn overlay(file: &mut Node, own: &Own, findings: &mut Findings) {
    let Some(credentials) = file.as_table_mut().and_then(|table| table.get_mut("credentials")) else {
        return;
    };
    let Some(credentials) = credentials.as_table_mut() else { return };
    for credential in credentials.entries.values_mut() {
        overlay_one(credential, own, findings);
    }
}

fn overlay_one(user: &mut Node, own: &Own, findings: &mut Findings) {
    let Some(Named { name: preset, at: named_at, parsed }) = named_preset(user, own, findings) else {
        return;
    };
    let Parsed { about, credential: mut merged, with } = parsed;
    merged.key.clone_from(&user.key);
    merged.span = user.span.clone();

    let given = std::mem::take(user.as_table_mut().expect("a table has just been looked at"));
    choose_environment(&about, &given, &mut merged, &named_at, findings);
    for (name, mut over) in with {
        if is_given(&name, &given, &about)
            && let Some(over) = over.as_table_mut()
        {
            for (key, node) in std::mem::take(over).entries {
                put(&mut merged, &key, node);
            }
        }
    }
    for (name, parameter) in &about.parameters {
        if is_missing(name, parameter, &given, &about) {
            let what = if parameter.secret { "by reference" } else { "as a text" };
            findings
                .error_at(named_at.clone(), format!("the preset `{preset}` needs `{name}`"))
                .help(format!("{}, {what}", parameter.description));
        }
    }
    let flow = merged.as_table().and_then(|table| table.get("flow")).and_then(Node::as_text);
    let flow = flow.unwrap_or_default().to_owned();
    for (name, parameter) in &about.parameters {
        // What is not there has been told: templates that name it are not wrong too.
        if parameter.required && given.get(name).is_none() {
            let home = parameter.home();
            match merged.as_table_mut() {
                Some(table) if is_key(name, parameter, &flow) => table.spoiled.push(name.clone()),
                _ => merged.table_at(home).into_iter().for_each(|table| table.spoiled.push(name.clone())),
            }
        }
    }
    for (key, node) in given.entries {
        let home = match about.parameters.get(&key) {
            Some(parameter) if !is_key(&key, parameter, &flow) => Some(parameter.home()),
            _ => None,
        };
        match home {
            Some(home) => {
                about.parameters.get(&key).into_iter().for_each(|about| check_range(about, &node, findings));
                if let Some(table) = merged.table_at(home) {
                    table.set(&key, node);
                }
            }
            None => {
                if is_possible(&key, &about, &node, findings) {
                    put(&mut merged, &key, node);
                }
            }
        }
    }
    *user = merged;
}

/// Whether the user should have given a parameter.
fn is_missing(name: &str, parameter: &ParameterFile, given: &Table, about: &PresetFile) -> bool {
    let is_given = |name: &str| is_given(name, given, about);
    parameter.required && !is_given(name) && !parameter.unless.iter().any(|other| is_given(other))
}

/// Whether the user gave a parameter, or tried to.
fn is_given(name: &str, given: &Table, about: &PresetFile) -> bool {
    let is_under = |place: &&str| {
        given.get(place).and_then(Node::as_table).is_some_and(|table| table.get(name).is_some())
    };
    given.entries.contains_key(name)
        || ADDED.iter().any(is_under)
        || given.entries.keys().any(|key| meant(key, about) == Some(name))
}

/// The key that a wrong key beside a preset stands for; none if it is right.
fn meant<'a>(key: &str, about: &'a PresetFile) -> Option<&'a str> {
    let keys = keys_of::<Credential>();
    let is_right = keys.contains(&key) || later::is_key(key, keys) || about.parameters.get(key).is_some();
    if is_right { None } else { nearest(key, about.parameters.names().chain(keys.iter().copied())) }
}

/// The preset that a credential names.
struct Named {
    name: String,
    /// Where it is named.
    at: Span,
    parsed: Parsed,
}

/// The preset that a credential names: one of the user's own, or an embedded one. A name that is none is
/// told and taken out.
fn named_preset(user: &mut Node, own: &Own, findings: &mut Findings) -> Option<Named> {
    let table = user.as_table_mut()?;
    let node = table.get("preset")?;
    // A value of another type is told when the shape is read.
    let name = node.as_text()?;
    let at = node.span.clone();
    if let Some(parsed) = own.presets.get(name) {
        return Some(Named { name: name.to_owned(), at, parsed: parsed.clone() });
    }
    if let Some(preset) = Preset::named(name) {
        let mut parsed = preset.parse();
        // What is in no file of the user's is told at the line that names the preset.
        parsed.credential.move_to(&at);
        parsed.with.iter_mut().for_each(|(_, over)| over.move_to(&at));
        return Some(Named { name: name.to_owned(), at, parsed });
    }
    // The mistakes of a file that could not be read have been told.
    if !own.unread.iter().any(|unread| unread == name) {
        let known = || own.presets.keys().map(String::as_str).chain(PRESETS.iter().map(|preset| preset.name));
        let near = nearest(name, known());
        let problem = findings.error(Place::new(node), "there is no preset of this name");
        problem.meant_or(near, || format!("there are {}", list(known())));
    }
    // Without its preset nothing that the table says can be judged.
    *table = Table { entries: IndexMap::new(), spoiled: vec!["preset".to_owned()] };
    None
}

fn choose_environment(
    about: &PresetFile,
    given: &Table,
    merged: &mut Node,
    named_at: &Span,
    findings: &mut Findings,
) {
    let Some((_, default)) = about.environments.first() else {
        if let Some(node) = given.get("environment") {
            findings.error(Place::new(node), "this preset has no environments");
        }
        return;
    };
    let (mut address, mut span) = (default, named_at.clone());
    if let Some(node) = given.get("environment") {
        if let Some(chosen) = node.as_text().and_then(|name| about.environments.get(name)) {
            (address, span) = (chosen, node.span.clone());
        } else {
            let near = node.as_text().and_then(|name| nearest(name, about.environments.names()));
            let possible = list(about.environments.names());
            let message = format!("this is not one of the environments {possible}");
            findings.error(Place::new(node), message).meant(near);
        }
    }
    if let Some(table) = merged.as_table_mut() {
        table.set("base_url", Node::text(address, span));
    }
}

/// Whether a parameter is a key of the flow itself.
fn is_key(key: &str, parameter: &ParameterFile, flow: &str) -> bool {
    if parameter.under.is_some() {
        return false;
    }
    match FLOW_KEYS.iter().find(|(name, _)| *name == key) {
        Some((_, flows)) => flows.iter().any(|kind| kind.as_str() == flow),
        None => keys_of::<Credential>().contains(&key),
    }
}

/// Tells a number that the vendor does not take.
fn check_range(about: &ParameterFile, node: &Node, findings: &mut Findings) {
    let Some([least, most]) = about.range else { return };
    if !matches!(node.value, Value::Integer(number) if (least..=most).contains(&number)) {
        let message = format!("this is a whole number from {least} to {most}");
        findings.error(Place::new(node), message).help(about.description.clone());
    }
}

/// Whether a key may stand beside a preset; tells it if not.
fn is_possible(key: &str, about: &PresetFile, node: &Node, findings: &mut Findings) -> bool {
    let keys = keys_of::<Credential>();
    if keys.contains(&key) || later::is_key(key, keys) {
        return true;
    }
    let problem = findings.error_at(Place::new(node).key_span(), format!("there is no key `{key}` here"));
    problem.meant_or(meant(key, about), || {
        format!("parameters of this preset are {}", list(about.parameters.names()))
    });
    false
}

/// Puts a value in place of the preset's, or its names among those of the preset.
fn put(merged: &mut Node, key: &str, node: Node) {
    let is_there = merged.as_table().is_some_and(|table| table.get(key).is_some());
    match node.value {
        Value::Table(over) if is_there && ADDED.contains(&key) => {
            if let Some(under) = merged.table_at(key) {
                under.entries.extend(over.entries);
            }
        }
        value => {
            if let Some(table) = merged.as_table_mut() {
                table.set(key, Node { value, ..node });
            }
        }
    }
}
