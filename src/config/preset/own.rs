//! Presets of one's own: `[presets]` names files that are written as the embedded ones are. One that has the
//! name of an embedded preset takes its place, so that nobody has to wait for a new version when a vendor
//! changes something.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::content;
use crate::config::findings::Findings;
use crate::config::preset::{Parsed, Preset};
use crate::config::problem::{Problem, Problems};
use crate::config::raw::Credential;
use crate::config::shape;
use crate::config::suggest::{list, nearest};
use crate::config::text::Text;
use crate::config::tree::{Node, Place};

/// The largest file of a preset, in bytes.
const LARGEST: u64 = 1 << 20;

/// The presets of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Those that could be read, by name.
    pub(super) presets: BTreeMap<String, Parsed>,
    /// The names of those that could not.
    pub(super) unread: Vec<String>,
    /// The files.
    pub(crate) files: Vec<PathBuf>,
}

/// A preset's file that was read and is right by itself.
#[derive(Debug)]
pub struct File {
    name: String,
    text: String,
}

impl File {
    /// Reads a file, and tells all mistakes of it that do not depend on who uses it.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let shown = path.display().to_string();
        let text = text(path).map_err(|why| {
            Problems::one(Problem::nowhere(format!("the preset {shown} cannot be read: {why}")))
        })?;
        let mut findings = Findings::new(Text::broken(&shown, Zeroizing::new(String::new())));
        let parsed = parse(&shown, &text, &mut findings);
        if parsed.is_none() && !findings.has_errors() {
            return Err(Problems::one(Problem::nowhere(format!("{shown} has no table [credential]"))));
        }
        findings.finish()?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, text })
    }

    /// The preset, by the name of its file.
    pub fn preset(&self) -> Preset<'_> {
        Preset { name: &self.name, text: &self.text }
    }
}

/// Reads all files that `[presets]` names. Relative paths start at `folder`.
pub(crate) fn read(file: &Node, folder: &Path, findings: &mut Findings) -> Own {
    let mut own = Own::default();
    let table = file.as_table().and_then(|table| table.get("presets")?.as_table());
    for (name, node) in table.into_iter().flat_map(|table| &table.entries) {
        // A value of another type is told when the shape is read.
        let Some(path) = node.as_text().map(|path| folder.join(path)) else {
            own.unread.push(name.clone());
            continue;
        };
        let shown = path.display().to_string();
        let parsed = match text(&path) {
            Ok(text) => parse(&shown, &text, findings),
            Err(why) => {
                let problem = findings.error(Place::new(node), format!("the preset {shown} {why}"));
                problem.help("a path that does not begin with `/` begins at the folder of this file");
                None
            }
        };
        own.files.push(path);
        match parsed {
            Some(parsed) => drop(own.presets.insert(name.clone(), parsed)),
            None => own.unread.push(name.clone()),
        }
    }
    own
}

/// The text of a file; else what is wrong with it.
fn text(path: &Path) -> Result<String, String> {
    let bytes = content(path, LARGEST, "1 MiB")?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// Takes a file apart. Its parts know where in it they stand, so that whatever is found wrong with them
/// later is told there.
fn parse(shown: &str, text: &str, findings: &mut Findings) -> Option<Parsed> {
    let content = Zeroizing::new(text.to_owned());
    let (mut tree, values) = match Node::parse(text) {
        Ok(parsed) => parsed,
        Err(mistakes) => {
            let base = findings.add(Text::broken(shown, content));
            for (span, message) in mistakes {
                findings.error_at(base + span.start..base + span.end, message);
            }
            return None;
        }
    };
    let base = findings.add(Text::parsed(shown, content, values));
    tree.shift(base);
    let whole = Place::new(&tree).span();
    let Some(mut parsed) = Parsed::of(tree, findings) else {
        let problem = findings.error_at(whole, "a preset has a table [credential]");
        problem.help("it is laid under the table of the user");
        return None;
    };
    shape::read::<Credential>(&mut parsed.credential, findings);
    for (name, over) in &mut parsed.with {
        if parsed.about.parameters.get(name).is_none() {
            let at = Place::new(over).key_span();
            let near = nearest(name, parsed.about.parameters.names());
            let problem = findings.error_at(at, "`with` says what changes where a parameter is given");
            problem.meant_or(near, || format!("parameters are {}", list(parsed.about.parameters.names())));
        }
        shape::read::<Credential>(over, findings);
    }
    Some(parsed)
}
