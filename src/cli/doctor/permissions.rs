//! Who may read and write the files of a configuration.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::app;
use crate::cli::doctor::finding::Finding;
use crate::config::Loaded;
use crate::credential::store::spec::StoreSpec;

/// Anybody may read.
const READ_BY_ALL: u32 = 0o004;
/// The group or anybody may write.
const WRITTEN_BY_OTHERS: u32 = 0o022;
/// The group or anybody may do anything.
const ANYTHING_BY_OTHERS: u32 = 0o077;

/// Looks at the configuration, the secrets that it names, and the store.
pub(super) fn look(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &loaded.files {
        if let Ok(about) = fs::metadata(file)
            && about.mode() & WRITTEN_BY_OTHERS != 0
        {
            let message = format!("others may write {}: they could send tokens anywhere", file.display());
            findings.push(Finding::fault(
                "configuration_file",
                message,
                format!("chmod go-w {}", file.display()),
            ));
        }
    }
    for file in app::secret_files(&loaded.config) {
        findings.extend(secret(&file));
    }
    if let StoreSpec::File(store) = &loaded.config.store
        && let Ok(about) = fs::metadata(&store.path)
        && about.mode() & ANYTHING_BY_OTHERS != 0
    {
        let message = format!("others may open the store {}", store.path.display());
        findings.push(Finding::fault("store_file", message, format!("chmod 600 {}", store.path.display())));
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

fn secret(path: &Path) -> Option<Finding> {
    let shown = path.display();
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => {
            let message = format!("{shown} cannot be seen: {}", error.kind());
            return Some(Finding::fault(
                "secret_file",
                message,
                "put it there, or name another in the configuration",
            ));
        }
    };
    if about.mode() & (READ_BY_ALL | WRITTEN_BY_OTHERS) != 0 {
        let message =
            format!("others may read or write the secret {shown} (mode {:03o})", about.mode() & 0o777);
        return Some(Finding::fault("secret_file", message, format!("chmod 600 {shown}")));
    }
    if fs::File::open(path).is_err() {
        let message = format!("{shown} may not be read by this user");
        let advice = "run the doctor as the user that bearerd runs as; if that was so, chown it";
        return Some(Finding::fault("secret_file", message, advice));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_open =
        |about: &Metadata| about.mode() & WRITTEN_BY_OTHERS & 0o002 != 0 && about.mode() & 0o1000 == 0;
    if fs::metadata(folder).is_ok_and(|about| is_open(&about)) {
        let message = format!("everybody may replace what lies in {}", folder.display());
        return Some(Finding::fault("secret_file", message, format!("chmod go-w {}", folder.display())));
    }
    None
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
}
