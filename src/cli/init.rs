//! `bearerd init [PRESET..]`.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::exit::Failure;
use crate::cli::{output, presets};
use crate::config::preset::own::File;
use crate::config::preset::{Parameter, Preset};

/// The arguments of `bearerd init`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Presets to begin with; see `bearerd presets`. The file of one's own preset is one, too
    #[arg(value_name = "PRESET|FILE")]
    pub presets: Vec<String>,
}

/// The preset of a starter file for which nobody asked for one.
const USUAL: &str = "bearer";

/// What every starter file begins with.
const HEAD: &str = r#"# bearerd: the secrets and tokens of this host's apps. `bearerd check` validates this file.

[server]
# drain = "25s"          # how long SIGTERM waits for requests in flight
# access_log = "errors"  # "off", "errors" or "all"; never a query or a value
# watch = true           # reload when this file changes

[admin]
# Status, metrics and control.
# listen = "127.0.0.1:9180"
# token = { file = "/run/secrets/bearerd-admin-token" }  # for changes over TCP

# Apps take http://127.0.0.1:8080 and a route's path for the base URL of an API.
[listeners.app]
bind = "127.0.0.1:8080"
"#;

/// Prints a commented configuration to start from.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut files: Vec<(&str, File)> = Vec::new();
    for path in arguments.presets.iter().filter(|name| presets::is_file(name)) {
        files.push((path, File::read(Path::new(path))?));
    }
    let mut chosen: Vec<Preset<'_>> = Vec::new();
    for name in &arguments.presets {
        let own = files.iter().find(|(path, _)| path == name).map(|(_, file)| file.preset());
        let Some(preset) = own.or_else(|| Preset::named(name)) else { return Err(presets::unknown(name)) };
        if !chosen.iter().any(|known| known.name == preset.name) {
            chosen.push(preset);
        }
    }
    if chosen.is_empty() {
        chosen.extend(Preset::named(USUAL));
    }
    let own: Vec<_> = files.iter().map(|(path, file)| (file.preset().name, *path)).collect();
    Ok(output::data(starter(&chosen, &own)))
}

/// A configuration of these presets, of which those of one's own lie in these files.
fn starter(presets: &[Preset<'_>], own: &[(&str, &str)]) -> String {
    let mut text = HEAD.to_owned();
    if !own.is_empty() {
        text.push_str("\n# A relative path starts at the folder of this file.\n[presets]\n");
    }
    for (name, path) in own {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{name} = {}", toml::Value::from(*path));
    }
    for preset in presets {
        // Writing to a text cannot fail.
        let _ = credential(&mut text, *preset, presets);
        if preset.injects() {
            let _ = route(&mut text, *preset);
        }
    }
    text
}

fn credential(text: &mut String, preset: Preset<'_>, chosen: &[Preset<'_>]) -> std::fmt::Result {
    let name = preset.name;
    writeln!(text, "\n# {}.", preset.summary())?;
    if let Some(docs) = preset.docs() {
        writeln!(text, "# {docs}")?;
    }
    writeln!(text, "[credentials.{name}]\npreset = \"{name}\"")?;
    if let [usual, others @ ..] = preset.environments().as_slice()
        && !others.is_empty()
    {
        writeln!(text, "# environment = \"{usual}\"  # or {}", others.join(", "))?;
    }
    if let Some(address) = preset.base_url().filter(|address| address.starts_with("http://")) {
        let comment = "the vendor names http://, which everyone on the way can read: `allow_plaintext = true` permits it";
        writeln!(text, "base_url = \"{}\"  # {comment}", address.replacen("http://", "https://", 1))?;
    }
    for parameter in preset.parameters() {
        let comment = if parameter.required { "" } else { "# " };
        let value = value(&parameter, name, chosen);
        writeln!(text, "{comment}{} = {value}  # {}", parameter.name, parameter.description)?;
    }
    Ok(())
}

/// What a starter file says under a parameter's name.
fn value(parameter: &Parameter, preset: &str, chosen: &[Preset<'_>]) -> String {
    let source = parameter.from.as_deref().filter(|from| chosen.iter().any(|preset| preset.name == *from));
    match (source, &parameter.example) {
        (Some(source), _) => format!("{{ credential = \"{source}\" }}"),
        (None, Some(example)) => example.clone(),
        (None, None) if parameter.secret => {
            let file = parameter.name.replace('_', "-");
            format!("{{ file = \"/run/secrets/{preset}-{file}\" }}")
        }
        (None, None) => format!("\"{}\"", parameter.name.replace('_', "-")),
    }
}

fn route(text: &mut String, preset: Preset<'_>) -> std::fmt::Result {
    let name = preset.name;
    // One that depends on a parameter is known to whoever knows that.
    let known = preset.base_url().filter(|address| !address.contains('{'));
    let address = known.unwrap_or_else(|| "https://api.example".to_owned());
    let origin_end =
        address.find("://").and_then(|at| address[at + 3..].find('/').map(|length| at + 3 + length));
    let origin = &address[..origin_end.unwrap_or(address.len())];
    writeln!(text, "\n[routes.{name}]\npath = \"/{name}\"  # stripped before forwarding")?;
    writeln!(text, "upstream = \"{}\"", origin.replacen("http://", "https://", 1))?;
    writeln!(text, "credential = \"{name}\"")?;
    writeln!(text, "# allow = [\"GET /**\"]  # without it everything but token endpoints")
}

#[cfg(test)]
mod tests {
    use super::starter;
    use crate::config::preset::{PRESETS, Preset};
    use crate::config::{Environment, load_text};

    #[test]
    fn the_starter_of_every_preset_is_a_configuration() {
        for preset in PRESETS {
            let text = starter(&[*preset], &[]);
            // A link of a chain has no route of its own.
            let loaded = load_text(preset.name, &text, &Environment::default());
            let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
            assert_eq!(loaded.config.credentials.len(), 1, "{text}");
            assert_eq!(loaded.config.routes.len(), usize::from(preset.injects()), "{text}");
        }
    }

    #[test]
    fn the_starter_of_a_preset_and_of_those_it_takes_secrets_from_is_linked() {
        for preset in PRESETS {
            let mut chain = vec![*preset];
            while let Some(from) = chain[chain.len() - 1].parameters().iter().find_map(|it| it.from.clone()) {
                chain.push(Preset::named(&from).expect("a preset takes secrets from one that is there"));
            }
            let loaded = load_text(preset.name, &starter(&chain, &[]), &Environment::default());
            let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
            let order: Vec<&str> = config.credentials.iter().rev().map(|spec| spec.name.as_str()).collect();
            let chain: Vec<&str> = chain.iter().map(|preset| preset.name).collect();
            assert_eq!(order, chain, "parents come first");
        }
    }

    #[test]
    fn a_starter_is_commented() {
        insta::assert_snapshot!(starter(&[Preset::named("bearer").expect("a preset")], &[]), @r#"
        # bearerd: the secrets and tokens of this host's apps. `bearerd check` validates this file.

        [server]
        # drain = "25s"          # how long SIGTERM waits for requests in flight
        # access_log = "errors"  # "off", "errors" or "all"; never a query or a value
        # watch = true           # reload when this file changes

        [admin]
        # Status, metrics and control.
        # listen = "127.0.0.1:9180"
        # token = { file = "/run/secrets/bearerd-admin-token" }  # for changes over TCP

        # Apps take http://127.0.0.1:8080 and a route's path for the base URL of an API.
        [listeners.app]
        bind = "127.0.0.1:8080"

        # any API that takes a bearer token.
        # https://www.rfc-editor.org/rfc/rfc6750
        [credentials.bearer]
        preset = "bearer"
        token = { file = "/run/secrets/bearer-token" }  # the token
        # expires = { after = "180d" }  # when it ends; without it by the token itself, if that is a JWT

        [routes.bearer]
        path = "/bearer"  # stripped before forwarding
        upstream = "https://api.example"
        credential = "bearer"
        # allow = ["GET /**"]  # without it everything but token endpoints
        "#);
    }
}
