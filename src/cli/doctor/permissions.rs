//! Who may read and write the files of a configuration.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::app;
use crate::cli::doctor::finding::Finding;
use crate::config::Loaded;
use crate::credential::store::spec::StoreSpec;
use crate::secret::{unreadable, what_else};
use crate::server::listener::{Address, Bind};

/// Anybody may read.
const READ_BY_ALL: u32 = 0o004;
/// The group or anybody may write.
const WRITTEN_BY_OTHERS: u32 = 0o022;
/// Anybody may write.
const WRITTEN_BY_ALL: u32 = 0o002;
/// What lies in a folder is its owner's, and nobody else may remove it.
const STICKY: u32 = 0o1000;
/// The group or anybody may do anything.
const ANYTHING_BY_OTHERS: u32 = 0o077;

/// Looks at the configuration, the secrets that it names, the store, and where sockets are made.
pub(super) fn look(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &loaded.files {
        findings.extend(configuration(file));
    }
    for file in app::secret_files(&loaded.config) {
        findings.extend(secret(&file));
    }
    if let StoreSpec::File(spec) = &loaded.config.store {
        findings.extend(store(&spec.path));
    }
    let bound = loaded.config.listeners.iter().filter_map(|listener| match &listener.bind {
        Bind::To(address) => Some(address),
        Bind::Inherited(_) => None,
    });
    for address in bound.chain([&loaded.config.admin.listen]) {
        if let Address::Unix(path) = address {
            findings.extend(replaceable("socket_folder", path));
        }
    }
    if !loaded.variables.is_empty() {
        let names: Vec<&str> = loaded.variables.iter().map(String::as_str).collect();
        findings.push(Finding::advice(
            "environment",
            format!("secrets come by the environment: {}", names.join(", ")),
            "whoever starts bearerd, and what logs its start, may see them; `{ file = .. }` or `{ systemd = .. }` \
             keep them to themselves",
        ));
    }
    findings
}

fn configuration(path: &Path) -> Option<Finding> {
    if fs::metadata(path).is_ok_and(|about| about.mode() & WRITTEN_BY_OTHERS != 0) {
        let message = format!("others may write {}: they could send tokens anywhere", path.display());
        return Some(Finding::fault("configuration_file", message, format!("chmod go-w {}", path.display())));
    }
    replaceable("configuration_file", path)
}

fn store(path: &Path) -> Option<Finding> {
    if fs::metadata(path).is_ok_and(|about| about.mode() & ANYTHING_BY_OTHERS != 0) {
        let message = format!("others may open the store {}", path.display());
        return Some(Finding::fault("store_file", message, format!("chmod 600 {}", path.display())));
    }
    replaceable("store_file", path)
}

fn secret(path: &Path) -> Option<Finding> {
    let shown = path.display();
    let fault =
        |message: String, advice: &str| Some(Finding::fault("secret_file", message, advice.to_owned()));
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => {
            let message = format!("{shown} {}", unreadable(&error));
            return fault(message, "put it there, or name another in the configuration");
        }
    };
    // One that no secret is read from: to open it could be to wait for ever.
    if let Some(other) = what_else(&about) {
        return fault(format!("{shown} is {other}, not a file"), "put the secret into a file");
    }
    if about.mode() & (READ_BY_ALL | WRITTEN_BY_OTHERS) != 0 {
        let message =
            format!("others may read or write the secret {shown} (mode {:03o})", about.mode() & 0o777);
        return fault(message, &format!("chmod 600 {shown}"));
    }
    if fs::File::open(path).is_err() {
        let message = format!("{shown} may not be read by this user");
        return fault(message, "run the doctor as the user that bearerd runs as; if that was so, chown it");
    }
    replaceable("secret_file", path)
}

/// A file in a folder where everybody may put another in its place.
fn replaceable(check: &'static str, path: &Path) -> Option<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_open = |about: &Metadata| about.mode() & WRITTEN_BY_ALL != 0 && about.mode() & STICKY == 0;
    fs::metadata(folder).is_ok_and(|about| is_open(&about)).then(|| {
        let message = format!("everybody may replace what lies in {}", folder.display());
        Finding::fault(check, message, format!("chmod go-w {}", folder.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::look;
    use crate::config::{Environment, load};

    #[test]
    fn files_that_others_may_use_are_found_and_the_rest_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let configuration = "[store]\nkind = \"file\"\npath = \"state\"\nkey = { file = \"key\" }\n\
                             [credentials.a]\nflow = \"static\"\ntoken = { file = \"token\" }\n\
                             [credentials.b]\nflow = \"static\"\ntoken = { env = \"B\" }\n\
                             [credentials.c]\nflow = \"static\"\ntoken = { file = \"missing\" }\n";
        for (name, content) in [("bearerd.toml", configuration), ("key", ""), ("token", "t"), ("state", "")] {
            fs::write(place(name), content).expect("a file");
            fs::set_permissions(place(name), Permissions::from_mode(0o600)).expect("a mode");
        }
        let environment: Environment = [("B", "secret")].into_iter().collect();
        let look = || {
            let loaded = load(&place("bearerd.toml"), &environment).expect("a configuration");
            let found = look(&loaded);
            found.iter().map(|finding| (finding.check, finding.message.clone())).collect::<Vec<_>>()
        };
        let named = |found: &[(&str, String)], check: &str, name: &str| {
            let file = place(name).display().to_string();
            found.iter().any(|(of, message)| *of == check && message.contains(&file))
        };
        let found = look();
        assert!(named(&found, "secret_file", "missing"), "{found:?}");
        assert!(found.iter().any(|(check, message)| *check == "environment" && message.ends_with(": B")));
        assert_eq!(found.len(), 2, "{found:?}");

        for (name, mode) in [("bearerd.toml", 0o620), ("key", 0o604), ("token", 0o660), ("state", 0o640)] {
            fs::set_permissions(place(name), Permissions::from_mode(mode)).expect("a mode");
        }
        let found = look();
        for (check, name) in [
            ("configuration_file", "bearerd.toml"),
            ("secret_file", "key"),
            ("secret_file", "token"),
            ("store_file", "state"),
        ] {
            assert!(named(&found, check, name), "{name}: {found:?}");
        }
    }

    #[test]
    fn what_everybody_may_replace_is_found_and_a_sticky_folder_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let configuration = "[admin]\nlisten = \"unix:sockets/admin.sock\"\n\
                             [store]\nkind = \"file\"\npath = \"store/state\"\nkey = { file = \"keys/key\" }\n";
        let configuration = configuration.replace("sockets", &place("sockets").display().to_string());
        for name in ["configuration", "sockets"] {
            fs::create_dir(place(name)).expect("a folder");
        }
        let files = ["configuration/bearerd.toml", "configuration/keys/key"];
        fs::create_dir_all(place("configuration/keys")).expect("folders");
        fs::create_dir_all(place("configuration/store")).expect("folders");
        for (name, content) in files.iter().zip([configuration.as_str(), "k"]) {
            fs::write(place(name), content).expect("a file");
            fs::set_permissions(place(name), Permissions::from_mode(0o600)).expect("a mode");
        }
        let found = || {
            let loaded = load(&place(files[0]), &Environment::default()).expect("a configuration");
            look(&loaded).iter().map(|finding| finding.check).collect::<Vec<_>>()
        };
        assert_eq!(found(), [""; 0]);
        for (name, check) in [
            ("configuration", "configuration_file"),
            ("configuration/keys", "secret_file"),
            ("configuration/store", "store_file"),
            ("sockets", "socket_folder"),
        ] {
            let allow =
                |mode| fs::set_permissions(place(name), Permissions::from_mode(mode)).expect("a mode");
            allow(0o777);
            assert_eq!(found(), [check], "{name}");
            allow(0o1777);
            assert_eq!(found(), [""; 0], "{name}");
            allow(0o755);
        }
    }
}
