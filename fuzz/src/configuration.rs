//! Configuration files: any text is a configuration or has problems that can be shown.

use bearerd::config::{self, Environment};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // What is read from files and devices is not what is looked at here.
    if text.contains("file") || text.contains("include") || text.contains("command") {
        return;
    }
    if let Err(problems) =
        config::load_text("fuzz.toml", text, &Environment::from_iter([("SECRET", "from-outside")]))
    {
        let told = problems.to_string();
        assert!(!told.is_empty());
        assert!(!told.contains("from-outside"), "no value of a secret is told");
    }
}
