//! The unit of systemd, if this machine has one for bearerd.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::cli::doctor::finding::Finding;
use crate::config::{Loaded, parse_duration};

/// Where units lie, the first one wins (systemd.unit(5)).
const FOLDERS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"];

/// What systemd waits for a service to stop if nothing is said.
const USUAL_STOP: Duration = Duration::from_secs(90);

/// Looks at `bearerd.service` and its drop-ins under `root`.
pub(super) fn look(root: &Path, loaded: &Loaded) -> Vec<Finding> {
    let text = read(root);
    if text.is_empty() { Vec::new() } else { judge(&text, loaded) }
}

/// The unit with its drop-ins behind it.
fn read(root: &Path) -> String {
    let unit =
        FOLDERS.iter().find_map(|folder| fs::read_to_string(root.join(folder).join("bearerd.service")).ok());
    let Some(mut text) = unit else { return String::new() };
    for folder in FOLDERS {
        let Ok(entries) = fs::read_dir(root.join(folder).join("bearerd.service.d")) else { continue };
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "conf")) {
            text.push('\n');
            text += &fs::read_to_string(file).unwrap_or_default();
        }
    }
    text
}

fn judge(text: &str, loaded: &Loaded) -> Vec<Finding> {
    let settings: Vec<(&str, &str)> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let last = |name: &str| settings.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let mut findings = Vec::new();
    let mut fault = |message: String, advice: &str| findings.push(Finding::fault("unit", message, advice));
    for (name, value) in &settings {
        let names_a_secret = loaded.variables.iter().any(|variable| value.contains(&format!("{variable}=")));
        if *name == "Environment" && names_a_secret {
            fault(
                "`Environment=` holds a secret: everybody on this machine may read a unit".to_owned(),
                "put it into a file, `LoadCredential=` it, and refer to it by `{ systemd = .. }`",
            );
        }
        if *name == "SetCredential" {
            fault(
                "`SetCredential=` holds a secret: everybody on this machine may read a unit".to_owned(),
                "use `LoadCredential=` or, sealed, `LoadCredentialEncrypted=`",
            );
        }
    }
    let is_dynamic = last("DynamicUser").is_some_and(|value| matches!(value, "yes" | "true" | "on" | "1"));
    if !is_dynamic && last("User").is_none_or(|user| matches!(user, "" | "root" | "0")) {
        fault("the service runs as root".to_owned(), "say `DynamicUser=yes`, or `User=`");
    }
    let stop = last("TimeoutStopSec").map_or(Some(USUAL_STOP), time_span);
    let drain = loaded.config.server.drain;
    if stop.is_some_and(|stop| stop <= drain) {
        fault(
            format!("systemd kills the service before requests in flight have had `drain` ({drain:?})"),
            "let `TimeoutStopSec=` be some seconds longer than `drain`",
        );
    }
    findings
}

/// A time span of one number (systemd.time(7)): seconds if it says nothing else; `None` for no limit and for
/// what is not understood.
fn time_span(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    parse_duration(&text.replace("sec", "s").replace("min", "m"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{look, read};
    use crate::config::{Environment, Loaded, load_text};

    fn loaded() -> Loaded {
        let text = "[credentials.a]\nflow = \"static\"\ntoken = { env = \"API_TOKEN\" }\n";
        let environment: Environment = [("API_TOKEN", "secret")].into_iter().collect();
        load_text("a test", text, &environment).expect("a configuration")
    }

    #[test]
    fn the_unit_that_is_shipped_has_nothing_to_find_and_its_drop_ins_count() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(look(root.path(), &loaded()), []);
        let folder = root.path().join("etc/systemd/system");
        fs::create_dir_all(folder.join("bearerd.service.d")).expect("folders");
        fs::write(folder.join("bearerd.service"), include_str!("../../../deploy/systemd/bearerd.service"))
            .expect("a unit");
        assert_eq!(look(root.path(), &loaded()), []);
        let drop_in = "[Service]\n# SetCredential=a:b\nEnvironment=API_TOKEN=x\nSetCredential=a:b\nDynamicUser=no\n\
                       TimeoutStopSec=20\n";
        fs::write(folder.join("bearerd.service.d/local.conf"), drop_in).expect("a drop-in");
        assert!(read(root.path()).ends_with(drop_in));
        let found = look(root.path(), &loaded());
        let found: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(found.len(), 4, "{found:?}");
        for (message, word) in found.iter().zip(["`Environment=`", "`SetCredential=`", "root", "`drain`"]) {
            assert!(message.contains(word), "{message}");
        }
    }
}
