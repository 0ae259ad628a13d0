//! A preset's file as it is written.

use serde::Deserialize;

use crate::config::raw::scalar::Map;

/// What a preset says about itself, beside the `[credential]` that it lays under the user's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PresetFile {
    /// One line for `bearerd presets`.
    pub(crate) summary: String,
    /// The vendor's documentation; none for presets of no vendor.
    pub(crate) docs: Option<String>,
    /// What the user says.
    pub(crate) parameters: Map<Parameter>,
    /// The vendor's environments and their addresses; the first is the default.
    pub(crate) environments: Map<String>,
}

/// One parameter of a preset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Parameter {
    /// What it is.
    pub(crate) description: String,
    /// It is given by reference and never shown.
    pub(crate) secret: bool,
    /// It must be given.
    pub(crate) required: bool,
    /// Parameters of which one will do in its place.
    pub(crate) unless: Vec<String>,
    /// What `bearerd init` writes, as TOML; the name where there is nothing to say.
    pub(crate) example: Option<String>,
    /// The table of the credential that it goes to, where that is not `secrets` or `values`.
    pub(crate) under: Option<String>,
    /// The whole numbers that it may be, both included; none if it is no number.
    pub(crate) range: Option<[i64; 2]>,
    /// The preset whose credential normally gives it.
    pub(crate) from: Option<String>,
}

impl Parameter {
    /// The table of the credential that it goes to, unless it is a key of the flow itself.
    pub(crate) fn home(&self) -> &str {
        let usual = if self.secret { "secrets" } else { "values" };
        self.under.as_deref().unwrap_or(usual)
    }
}
