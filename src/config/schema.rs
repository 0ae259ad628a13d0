//! The JSON Schema of the file, for editors.

use serde_json::{Value, json};

use crate::config::preset::PRESETS;
use crate::config::raw::File;

/// The schema (JSON Schema, draft 2020-12), parameters of presets included. Presets of one's own have parameters that
/// it cannot know: with one of them any key may stand.
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
        let known: Vec<String> =
            credential.as_object().into_iter().flat_map(|keys| keys.keys().cloned()).collect();
        let own = json!({ "required": ["preset"], "properties": { "preset": { "not": { "enum": names } } } });
        if let Some(table) = schema.pointer_mut("/$defs/Credential").and_then(Value::as_object_mut) {
            table.remove("additionalProperties");
            table.insert("if".to_owned(), json!({ "not": own }));
            table.insert("then".to_owned(), json!({ "propertyNames": { "enum": known } }));
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::schema;

    #[test]
    fn only_a_preset_of_ones_own_brings_keys_that_are_not_known() {
        let schema = schema();
        let credential = &schema["$defs"]["Credential"];
        assert!(credential.get("additionalProperties").is_none(), "{credential}");
        let own = &credential["if"]["not"]["properties"]["preset"]["not"]["enum"];
        assert!(own.as_array().is_some_and(|names| names.contains(&json!("bearer"))), "{own}");
        let known = credential["then"]["propertyNames"]["enum"].as_array().expect("a list");
        for key in ["flow", "token", "email", "entity_id"] {
            assert!(known.contains(&json!(key)), "{key}");
        }
        assert_eq!(known.len(), credential["properties"].as_object().expect("keys").len());
    }

    #[test]
    fn an_end_is_one_of_two_words_or_a_table_with_one_of_two_keys() {
        let schema = schema();
        let expires = &schema["$defs"]["Credential"]["properties"]["expires"]["anyOf"];
        assert_eq!(expires[0]["enum"], json!(["jwt", "never"]), "{expires}");
        let table = &schema["$defs"]["Expires"];
        assert_eq!(table["oneOf"], json!([{ "required": ["after"] }, { "required": ["at"] }]), "{table}");
    }
}
