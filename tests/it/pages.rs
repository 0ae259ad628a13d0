//! What the pages say, held against the code: links, error codes, keys, and every example.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use bearerd::credential::State;
use bearerd::proxy::Code;
use serde_json::{Value, json};

use crate::house::{files, read};
use crate::support::bearerd;
use crate::support::sidecar::run;
use crate::support::tls::{Authority, Identity};
use crate::vendors::material::Material;

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for page in files(Path::new("."), "md") {
        for target in links(&read(&page)) {
            let path = page.parent().unwrap_or(Path::new(".")).join(&target);
            assert!(path.exists(), "{} links to {target}, which is not there", page.display());
        }
    }
}

#[test]
fn the_pages_tell_of_every_error_code_and_state() {
    let page = read(Path::new("docs/states-and-errors.md"));
    for code in Code::ALL {
        let row = format!("| `{}` |", code.as_str());
        let told = page.lines().find(|line| line.starts_with(&row));
        assert!(told.is_some_and(|line| line.contains(code.status().as_str())), "no row tells of {code:?}");
    }
    for state in State::ALL {
        assert!(page.contains(&format!("| `{}` |", state.as_str())), "no row tells of {state:?}");
    }
}

#[test]
fn the_pages_tell_of_every_preset() {
    let page = read(Path::new("docs/README.md"));
    for preset in files(Path::new("presets"), "toml") {
        let name = preset.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(page.contains(&format!("`{name}`")), "docs/README.md does not name {name}");
    }
}

#[test]
fn the_reference_tells_of_every_key_of_the_schema() {
    let schema = run(bearerd(&["schema"]), "");
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("a schema");
    // The parameters of presets stand on the vendors' pages.
    let mut pages = files(Path::new("docs/presets"), "md");
    pages.push("docs/configuration.md".into());
    let page: String = pages.iter().map(|page| read(page)).collect();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 100, "the schema has few keys: {keys:?}");
    // As a word of its own within code: a row's name, or a table's key in an example.
    let code: String = page.split('`').skip(1).step_by(2).flat_map(|code| [code, " "]).collect();
    let words: BTreeSet<&str> = code
        .split(|next: char| !next.is_alphanumeric() && next != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let missing: Vec<_> = keys.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "docs/ does not tell of {missing:?}");
}

/// The names of all properties, anywhere in a JSON Schema.
fn collect_keys(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(entries) => {
            for (name, value) in entries {
                if let ("properties", Value::Object(properties)) = (name.as_str(), value) {
                    keys.extend(properties.keys().cloned());
                }
                collect_keys(value, keys);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

#[test]
fn every_configuration_on_the_pages_is_valid() {
    let mut checked = 0;
    for page in files(Path::new("docs"), "md").into_iter().chain(["README.md".into()]) {
        let text = read(&page);
        for example in examples(&text) {
            is_valid(&page, &example, own_preset(&text));
            checked += 1;
        }
    }
    assert!(checked >= 7, "only {checked} examples were found");
}

/// The blocks of TOML that are whole enough to be a configuration.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("[credentials.")).map(str::to_owned).collect()
}

/// The preset of one's own that a page shows.
fn own_preset(page: &str) -> Option<&str> {
    let mut blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.find(|block| block.contains("\n[credential]"))
}

/// Checks an example with what it takes for granted: a listener, its secrets' files, its variables.
#[track_caller]
fn is_valid(page: &Path, example: &str, own_preset: Option<&str>) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    let mut text = example.replace("/run/secrets", &place).replace(CERTIFICATES, &format!("{place}/tls"));
    if !text.contains("[listeners.") {
        text += "\n[listeners.app]\nbind = \"127.0.0.1:8080\"\n";
    }
    for path in quoted_after(&text, "file = ") {
        fs::write(folder.path().join(path), content(path)).expect("a file of a secret");
    }
    if let (Some(preset), Some((_, presets))) = (own_preset, text.split_once("[presets]")) {
        let path = folder.path().join(presets.split('"').nth(1).expect("a file"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, preset).expect("a preset");
    }
    let (authority, identity) = authority_and_identity();
    let tls = folder.path().join("tls");
    fs::create_dir(&tls).expect("a folder");
    for path in text.split('"').filter(|quoted| Path::new(quoted).starts_with(&tls)) {
        let kind = Path::new(path).extension().and_then(|extension| extension.to_str());
        match kind {
            Some("pem") if path.ends_with("/ca.pem") => fs::write(path, &authority),
            Some("pem") => fs::write(path, &identity.cert),
            Some("key") => fs::write(path, &identity.key),
            _ => Ok(()),
        }
        .expect("a file of TLS");
    }
    let file = folder.path().join("bearerd.toml");
    fs::write(&file, &text).expect("a configuration");
    let mut check = bearerd(&["check", "--config"]);
    check.arg(file).envs(quoted_after(&text, "env = ").map(|name| (name, "value")));
    let output = run(check, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "an example of {} is wrong:\n{said}\n{example}", page.display());
}

/// What a file of a secret holds, by its name.
fn content(path: &str) -> String {
    static MATERIAL: LazyLock<Mutex<Material>> = LazyLock::new(|| Mutex::new(Material::new(&[])));
    let mut material = MATERIAL.lock().expect("no panic");
    match Path::new(path).extension().and_then(OsStr::to_str) {
        Some("pem") if path.contains("certificate") => material.text("<certificate>"),
        Some("pem") => material.text("<private key>"),
        Some("json") => {
            let key = material.text("<private key>");
            json!({ "private_key": key, "private_key_id": "1", "client_email": "a@b.example" }).to_string()
        }
        _ => "value".to_owned(),
    }
}

/// Where certificates, their keys and their authorities lie in the examples.
const CERTIFICATES: &str = "/etc/bearerd/tls";

fn authority_and_identity() -> (String, Identity) {
    let authority = Authority::new();
    (authority.pem(), authority.server())
}

/// The quoted texts that follow a key.
fn quoted_after<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(key).skip(1).filter_map(|rest| rest.split('"').nth(1))
}

/// The targets of a page's relative links, without their anchors.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
        .collect()
}
