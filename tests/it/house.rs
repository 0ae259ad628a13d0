//! The house rules that a compiler does not know: floors, sizes, names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest a source file may be, in lines.
const LONGEST_FILE: usize = 600;

/// What vendors are called, in lower case; only presets and simulators may say it.
const VENDORS: [&str; 16] = [
    "sahamati",
    "payhub",
    "digilocker",
    "meripehchaan",
    "antyodaya",
    "nic-ma",
    "nic_ma",
    "napix",
    "apisetu",
    "abdm",
    "cashfree",
    "zoho",
    "salesforce",
    "cognito",
    "keycloak",
    "github",
];

#[test]
fn imports_point_down_only() {
    let floors = Floors::of_the_map();
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let text = read(&file);
        let here = module_of(&file);
        for (line, there) in modules_named(&text) {
            if !floors.may_use(&here, &there) {
                wrong.push(format!("{}:{line}: {here} uses {there}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point down (see src/lib.rs):\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_floor_on_the_map() {
    let floors = Floors::of_the_map();
    for line in read(Path::new("src/lib.rs")).lines() {
        if let Some(module) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            assert!(floors.0.contains_key(module), "{module} is not on the map in src/lib.rs");
        }
    }
}

#[test]
fn the_floors_test_sees_an_import_that_points_up() {
    let floors = Floors::of_the_map();
    assert!(floors.may_use("proxy", "route") && floors.may_use("config", "server"));
    assert!(!floors.may_use("route", "proxy") && !floors.may_use("server", "config"));
    assert!(!floors.may_use("credential", "inject") && !floors.may_use("inject", "credential"));
    let text =
        "use crate::{clock, proxy::forward};\n    crate::body::x();\npub(crate) use crate::route::{A, B};\n";
    let named: Vec<_> = modules_named(text).into_iter().map(|(_, module)| module).collect();
    assert_eq!(named, ["clock", "proxy", "body", "route"]);
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let model = read(Path::new("SECURITY.md"));
    let promises = model
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let named: Vec<&str> = promises.filter(|name| name.matches('_').count() > 3).collect();
    let files = [rust_files("tests"), rust_files("src")].concat();
    let tests: String = files.iter().map(|file| read(file)).collect();
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there: {missing:?}");
    assert!(named.len() > 40, "only {} were found", named.len());
}

#[test]
fn a_module_is_a_file_beside_its_folder() {
    for file in rust_files("src") {
        assert!(!file.ends_with("mod.rs"), "{} should stand beside its folder", file.display());
    }
}

#[test]
fn no_file_is_too_long() {
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        let lines = read(&file).lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines, over {LONGEST_FILE}", file.display());
    }
}

#[test]
fn no_vendor_is_named_in_the_source_but_in_the_sandbox() {
    let mut named = Vec::new();
    for file in rust_files("src") {
        if module_of(&file) == "sandbox" {
            continue;
        }
        for (number, line) in read(&file).lines().enumerate() {
            let line = line.to_lowercase();
            if VENDORS.iter().any(|vendor| line.contains(vendor)) {
                named.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(named.is_empty(), "vendors are data (presets/*.toml):\n{}", named.join("\n"));
}

/// Which modules stand on which floor, and which are strangers on it, as drawn in `src/lib.rs`.
struct Floors(BTreeMap<String, Floor>);

struct Floor {
    number: u32,
    /// Modules that a bar divides do not know each other.
    room: usize,
}

impl Floors {
    /// Reads the map: `7  app, sandbox    what they do`.
    fn of_the_map() -> Self {
        let mut floors = BTreeMap::new();
        for line in read(Path::new("src/lib.rs")).lines() {
            let Some((number, rest)) = line.strip_prefix("//! ").and_then(|row| row.split_once("  ")) else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            let names = rest.split("  ").next().unwrap_or_default();
            for (room, neighbours) in names.split('|').enumerate() {
                for name in neighbours.split([',', ' ']).filter(|name| !name.is_empty()) {
                    floors.insert(name.to_owned(), Floor { number, room });
                }
            }
        }
        assert!(floors.len() > 10, "src/lib.rs holds the map of the floors");
        Self(floors)
    }

    fn may_use(&self, here: &str, there: &str) -> bool {
        if here == there || here == "lib" {
            return true;
        }
        let (Some(here), Some(there)) = (self.0.get(here), self.0.get(there)) else { return false };
        here.number > there.number || (here.number == there.number && here.room == there.room)
    }
}

/// The top-level module that a file of `src` belongs to.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix("src").unwrap_or(file);
    let first = inside.iter().next().unwrap_or_default();
    Path::new(first).with_extension("").display().to_string()
}

/// The top-level modules that a text names after `crate::`, each with its line.
fn modules_named(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut named = Vec::new();
    for (number, line) in code.iter().enumerate() {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            if let Some(first) = rest.strip_prefix('{') {
                // A group may go on over several lines, up to the brace that closes it.
                let group = format!("{first}\n{}", code[number + 1..].join("\n"));
                named.extend(heads_of_group(&group).into_iter().map(|name| (number + 1, name)));
            } else {
                named.push((number + 1, identifier(rest)));
            }
        }
    }
    named.retain(|(_, name)| name.chars().next().is_some_and(char::is_lowercase));
    named
}

/// The first names of the entries of `{a::b, c::{d, e}}`, read from behind the opening brace.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut fresh = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            _ if fresh && !character.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    files(Path::new(folder), "rs")
}

/// All files below a folder with this extension, but those that are built.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

/// A file as text.
pub fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
