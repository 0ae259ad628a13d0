//! Presets: what vendors are like, as embedded TOML in the words of the user's file.
//!
//! A preset's `[credential]` is laid under the user's table key by key. What the user says under a
//! parameter's name goes to where the flow looks for it: `secrets`, `params`, or a key of the flow.

use indexmap::IndexMap;
use zeroize::Zeroizing;

use crate::config::deserialize::keys_of;
use crate::config::findings::Findings;
use crate::config::later;
use crate::config::raw::credential::FLOW_KEYS;
use crate::config::raw::preset::{Parameter as ParameterFile, PresetFile};
use crate::config::raw::{self, Credential};
use crate::config::shape;
use crate::config::suggest::{list, nearest};
use crate::config::text::{Span, Text};
use crate::config::tree::{Node, Place, Table, Value};

/// One preset, as it stands in the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The name, as `preset = "name"` has it.
    pub name: &'static str,
    /// The TOML, with comments.
    pub text: &'static str,
}

/// A parameter of a preset, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The key in the user's table.
    pub name: String,
    /// What it is.
    pub description: String,
    /// It is given by reference.
    pub secret: bool,
    /// It must be given.
    pub required: bool,
    /// What a starter file says, as TOML.
    pub example: Option<String>,
    /// The preset whose credential normally gives it.
    pub from: Option<String>,
}

/// All presets, in the order in which they are listed.
pub const PRESETS: &[Preset] = include!("../../presets/list.rs");

impl Preset {
    /// The preset of a name.
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.iter().copied().find(|preset| preset.name == name)
    }

    /// The preset whose name is nearest, if any is near enough to be meant.
    pub fn nearest(name: &str) -> Option<Self> {
        nearest(name, PRESETS.iter().map(|preset| preset.name)).and_then(Self::named)
    }

    /// One line that says what it is for.
    pub fn summary(self) -> String {
        self.parse().0.summary
    }

    /// The address of the documentation.
    pub fn docs(self) -> Option<String> {
        self.parse().0.docs
    }

    /// What the user says.
    pub fn parameters(self) -> Vec<Parameter> {
        let about = self.parse().0;
        let parameter = |(name, of): (&String, &raw::preset::Parameter)| Parameter {
            name: name.clone(),
            description: of.description.clone(),
            secret: of.secret,
            required: of.required,
            example: of.example.clone(),
            from: of.from.clone(),
        };
        about.parameters.into_iter().map(parameter).collect()
    }

    /// The environments of the vendor; the first is the default.
    pub fn environments(self) -> Vec<String> {
        self.parse().0.environments.names().map(str::to_owned).collect()
    }

    /// The vendor's address, in its first environment.
    pub fn base_url(self) -> Option<String> {
        let (about, credential) = self.parse();
        let own = credential.as_table().and_then(|table| table.get("base_url")?.as_text().map(str::to_owned));
        about.environments.first().map(|(_, address)| address.clone()).or(own)
    }

    /// Whether it injects anything by itself: one that does not is a link of a chain.
    pub fn injects(self) -> bool {
        self.parse().1.as_table().is_some_and(|table| table.get("inject").is_some())
    }

    /// What it says about itself, and the table that it lays under the user's.
    fn parse(self) -> (PresetFile, Node) {
        let document = toml::de::DeTable::parse(self.text).expect("a test parses every preset");
        let mut tree = Node::from_document(document.get_ref(), self.text.len());
        let credential = tree.as_table_mut().and_then(|table| table.take("credential"));
        let text = Text::broken(self.name, Zeroizing::new(String::new()));
        // A test reads every preset without a finding.
        let about = shape::read(&mut tree, &mut Findings::new(text));
        (about, credential.expect("a test looks for the credential of every preset"))
    }
}

/// Lays presets under all credentials of a file that name one.
pub(crate) fn overlay(file: &mut Node, findings: &mut Findings) {
    let Some(credentials) = file.as_table_mut().and_then(|table| table.get_mut("credentials")) else {
        return;
    };
    let Some(credentials) = credentials.as_table_mut() else { return };
    for credential in credentials.entries.values_mut() {
        overlay_one(credential, findings);
    }
}

fn overlay_one(user: &mut Node, findings: &mut Findings) {
    let Some((preset, named_at)) = named_preset(user, findings) else { return };
    let (about, mut merged) = preset.parse();
    merged.move_to(&named_at);
    merged.key.clone_from(&user.key);
    merged.span = user.span.clone();

    let given = std::mem::take(user.as_table_mut().expect("a table has just been looked at"));
    choose_environment(&about, &given, &mut merged, &named_at, findings);
    for (name, parameter) in &about.parameters {
        if parameter.required && !is_given(name, &given, &about) {
            let what = if parameter.secret { "by reference" } else { "as a text" };
            findings
                .error_at(named_at.clone(), format!("the preset `{}` needs `{name}`", preset.name))
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
                Some(table) if is_native(name, &flow) => table.spoiled.push(name.clone()),
                _ => merged.table_at(home).into_iter().for_each(|table| table.spoiled.push(name.clone())),
            }
        }
    }
    for (key, node) in given.entries {
        let home = match about.parameters.get(&key) {
            Some(parameter) if !is_native(&key, &flow) => Some(parameter.home()),
            _ => None,
        };
        match home {
            Some(home) => {
                about.parameters.get(&key).into_iter().for_each(|about| check_range(about, &node, findings));
                if let Some(table) = merged.table_at(home) {
                    table.set(&key, node);
                }
            }
            None if key == "secrets" || key == "params" => lay_over(&mut merged, &key, node),
            None => {
                if is_possible(&key, &about, &node, findings)
                    && let Some(table) = merged.as_table_mut()
                {
                    table.set(&key, node);
                }
            }
        }
    }
    *user = merged;
}

/// Whether the user gave a parameter, or tried to.
fn is_given(name: &str, given: &Table, about: &PresetFile) -> bool {
    let is_under = |place: &&str| {
        given.get(place).and_then(Node::as_table).is_some_and(|table| table.get(name).is_some())
    };
    given.entries.contains_key(name)
        || ["secrets", "params"].iter().any(is_under)
        || given.entries.keys().any(|key| meant(key, about) == Some(name))
}

/// The key that a wrong key beside a preset stands for; none if it is right.
fn meant<'a>(key: &str, about: &'a PresetFile) -> Option<&'a str> {
    let keys = keys_of::<Credential>();
    let is_right = keys.contains(&key) || later::is_key(key, keys) || about.parameters.get(key).is_some();
    if is_right { None } else { nearest(key, about.parameters.names().chain(keys.iter().copied())) }
}

/// The preset that a credential names, and where. A name that is none is told and taken out.
fn named_preset(user: &mut Node, findings: &mut Findings) -> Option<(Preset, Span)> {
    let table = user.as_table_mut()?;
    let node = table.get("preset")?;
    // A value of another type is told when the shape is read.
    let name = node.as_text()?;
    if let Some(preset) = Preset::named(name) {
        return Some((preset, node.span.clone()));
    }
    let near = Preset::nearest(name);
    let problem = findings.error(Place::new(node), "there is no preset of this name");
    problem.meant_or(near.map(|near| near.name), || {
        format!("there are {}", list(PRESETS.iter().map(|preset| preset.name)))
    });
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
fn is_native(key: &str, flow: &str) -> bool {
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

/// Lays a table over the one of the same key, name by name.
fn lay_over(merged: &mut Node, key: &str, node: Node) {
    let empty = merged.as_table().is_some_and(|table| table.get(key).is_none());
    match node.as_table() {
        Some(over) if !empty => {
            if let Some(under) = merged.table_at(key) {
                for (name, value) in over.entries.clone() {
                    under.set(&name, value);
                }
            }
        }
        _ => {
            if let Some(table) = merged.as_table_mut() {
                table.set(key, node);
            }
        }
    }
}
