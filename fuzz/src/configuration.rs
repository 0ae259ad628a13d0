//! Configuration files: any text is a configuration or has problems that can be shown, and neither shows a value.

use bearerd::config::{self, Environment};

/// A secret that stands in the file itself, as the corpus writes it.
const WRITTEN: &str = "s3cret-of-the-file";

/// A secret that comes from the environment.
const FROM_OUTSIDE: &str = "s3cret-from-outside";

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Other files are not what is looked at here, least of all those that never end.
    if ["include", "/dev", "/proc"].iter().any(|word| text.contains(word)) {
        return;
    }
    // Only as a value it is secret: as a name it is told, so that a person can find it.
    let is_value = text
        .split(WRITTEN)
        .collect::<Vec<_>>()
        .split_last()
        .is_none_or(|(_, before)| before.iter().all(|before| before.ends_with("value = \"")));
    let told = match config::load_text("fuzz.toml", text, &Environment::from_iter([("SECRET", FROM_OUTSIDE)]))
    {
        Ok(loaded) => format!("{loaded:?}"),
        Err(problems) => problems.to_string(),
    };
    assert!(!told.is_empty());
    assert!(!told.contains(FROM_OUTSIDE), "no value of the environment is told");
    assert!(!is_value || !told.contains(WRITTEN), "no value of the file is told: {told}");
}
