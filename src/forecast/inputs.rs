//! Inputs, read once: in virtual time nobody runs a command ten thousand times.

use std::sync::Arc;

use crate::clock::Clock;
use crate::credential::input::read_source;
use crate::credential::{CredentialName, CredentialSpec, Flow, Source};
use crate::secret::Secret;

/// What stands for an input that could not be read.
const UNREAD: &str = "this input could not be read";

/// The specs with the values of their inputs, and what could not be read. The values are the real ones, so
/// that a record which speaks of them is found to do so.
pub async fn prepare(
    specs: &[Arc<CredentialSpec>],
    clock: &Clock,
) -> (Vec<Arc<CredentialSpec>>, Vec<String>) {
    let mut problems = Vec::new();
    let mut prepared = Vec::new();
    for spec in specs {
        let mut spec = CredentialSpec::clone(spec);
        for (name, source) in &spec.inputs.clone() {
            if let Source::Part { document, .. } = source
                && matches!(document.leaf(), Source::Output { .. })
            {
                // What is assumed of another credential is no document.
                spec.inputs.insert(name, Source::clone(document));
                continue;
            }
            let Some(material) = material(source) else { continue };
            // The end of a static token may count from when its file was written.
            if matches!((&spec.flow, material), (Flow::Static(_), Source::File(_))) {
                continue;
            }
            let no_outputs = |_: &CredentialName, _: &str| None;
            let value = read_source(name, material, &no_outputs, clock).await.unwrap_or_else(|error| {
                problems.push(format!("{}: {error}", spec.name));
                Secret::from(UNREAD)
            });
            spec.inputs.insert(name, Source::Value(value));
        }
        prepared.push(Arc::new(spec));
    }
    (prepared, problems)
}

/// What is read: of an assertion its key, which identifies it; nothing of another credential.
fn material(source: &Source) -> Option<&Source> {
    match source {
        Source::Output { .. } => None,
        Source::Jwt(assertion) => material(&assertion.key),
        other => Some(other),
    }
}
