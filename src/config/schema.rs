//! The JSON Schema of the file, for editors.

use serde_json::{Value, json};

use crate::config::preset::PRESETS;
use crate::config::raw::File;

/// The schema (JSON Schema, draft 2020-12), parameters of presets included.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    if let Some(credential) = schema.pointer_mut("/$defs/Credential/properties") {
        for preset in PRESETS {
            for parameter in preset.parameters() {
                let description = format!("preset `{}`: {}", preset.name, parameter.description);
                let about = if parameter.secret {
                    json!({ "description": description, "$ref": "#/$defs/SecretReference" })
                } else {
                    json!({ "description": description, "type": ["string", "number", "boolean"] })
                };
                if credential.get(&parameter.name).is_none() {
                    credential[&parameter.name] = about;
                }
            }
        }
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        // Others are the user's own, by `[presets]`.
        credential["preset"]["anyOf"] = json!([{ "enum": names }, { "type": "string" }]);
    }
    schema
}
