//! What templates of one credential may name: plain parameters, which are put in at once, the
//! credential's own secrets, and outputs of other credentials.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::context::{Context, unknown};
use crate::credential::{CredentialName, Source};
use crate::template::Template;

/// The names of one credential.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Plain parameters and their values.
    pub(crate) plain: BTreeMap<String, String>,
    /// Those of them that were written as whole numbers.
    pub(crate) numbers: Vec<String>,
    /// The names of the credential's own secrets.
    pub(crate) secrets: Vec<String>,
    /// Those of them that are right, and where they come from.
    pub(crate) sources: BTreeMap<String, Source>,
    /// The credential has mistakes that may hide secrets.
    pub(crate) hides_secrets: bool,
    /// Names that were meant to have a value and whose mistake has been told.
    pub(crate) spoiled: Vec<String>,
    /// Outputs of other credentials that templates name, as inputs.
    pub(crate) links: RefCell<BTreeMap<String, Source>>,
}

impl Names {
    /// Parses a template and checks each name in it. `further` names have values only where this
    /// template stands: the outputs of earlier steps.
    pub(crate) fn template(
        &self,
        text: &str,
        place: Place<'_>,
        further: &[String],
        context: &mut Context<'_>,
    ) -> Option<Template> {
        let template = self.bound(text, place, context)?;
        let mut known = true;
        for name in template.names() {
            known &= match name.split_once('.') {
                Some((credential, output)) => self.link(name, credential, output, place, context),
                None => self.is_known(name, further, place, context),
            };
        }
        known.then_some(template)
    }

    /// The number that a text stands for which is the placeholder of one alone.
    pub(crate) fn number(&self, text: &str) -> Option<i64> {
        let name = text.strip_prefix('{')?.strip_suffix('}')?;
        self.numbers.iter().find(|number| *number == name)?;
        self.plain.get(name)?.parse().ok()
    }

    /// A text that is no template, but may be the placeholder of a plain parameter alone: a pattern, a selector,
    /// the name of a field. `None` if that parameter is missing, which was told.
    pub(crate) fn plainly(&self, text: &str) -> Option<String> {
        let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        match name {
            Some(name) if self.spoiled.iter().any(|spoiled| spoiled == name) => None,
            Some(name) => Some(self.plain.get(name).map_or_else(|| text.to_owned(), String::clone)),
            None => Some(text.to_owned()),
        }
    }

    /// Parses a template over the outputs and secrets of this credential, and the outputs of others, for an
    /// injection, and over the message that it is put on. Without outputs, which mistakes of the
    /// credential may hide, no name is wrong.
    pub(crate) fn over_outputs(
        &self,
        text: &str,
        place: Place<'_>,
        outputs: Option<&[String]>,
        context: &mut Context<'_>,
    ) -> Option<Template> {
        let is_output_of_own =
            |name: &str| outputs.is_some_and(|outputs| outputs.iter().any(|output| output == name));
        // A credential may be called `body`.
        let is_shadowed = context.outputs.contains_key("body");
        let template = self.bound(text, place, context)?;
        let template =
            template.over_message(&|name| is_output_of_own(name) || (is_shadowed && name.contains('.')));
        let Some(outputs) = outputs else { return Some(template) };
        let mut known = true;
        for name in template.names() {
            if is_output_of_own(name) {
                continue;
            }
            if let Some((credential, output)) = name.split_once('.') {
                known &= is_output(credential, output, place, context);
                continue;
            }
            if self.sources.contains_key(name) {
                continue;
            }
            known = false;
            if self.secrets.iter().chain(&self.spoiled).any(|told| told == name) {
                continue;
            }
            let near = nearest(name, outputs.iter().map(String::as_str));
            if near.is_none() && self.hides_secrets {
                continue;
            }
            let has = list(outputs.iter().map(String::as_str));
            let problem =
                context.findings.error(place, format!("the template names `{name}`, which is no output"));
            problem.meant_or(near, || format!("the credential's outputs are {has}"));
        }
        known.then_some(template)
    }

    fn bound(&self, text: &str, place: Place<'_>, context: &mut Context<'_>) -> Option<Template> {
        match Template::parse(text) {
            Ok(template) => Some(template.bind(&|name| self.plain.get(name).cloned())),
            Err(error) => {
                let problem = context.findings.error(place, format!("this is not a template: {error}"));
                problem.help("placeholders are written {name}, braces themselves {{ and }}");
                None
            }
        }
    }

    fn is_known(&self, name: &str, further: &[String], place: Place<'_>, context: &mut Context<'_>) -> bool {
        let names = || {
            let secrets = self.secrets.iter().chain(further).map(String::as_str);
            secrets.chain(self.plain.keys().map(String::as_str))
        };
        if self.spoiled.iter().any(|spoiled| spoiled == name) {
            return false;
        }
        if names().any(|known| known == name) {
            return true;
        }
        let message = format!("the template names `{name}`, which has no value");
        let problem = context.findings.error(place, message);
        let made = ["uuid", "now", "now_s", "now_ms"];
        problem.meant_or(nearest(name, names()), || format!("names are {}", list(names().chain(made))));
        false
    }

    fn link(
        &self,
        name: &str,
        credential: &str,
        output: &str,
        place: Place<'_>,
        context: &mut Context<'_>,
    ) -> bool {
        if !is_output(credential, output, place, context) {
            return false;
        }
        context.link(credential);
        let source =
            Source::Output { credential: CredentialName::from(credential), output: output.to_owned() };
        self.links.borrow_mut().insert(name.to_owned(), source);
        true
    }
}

/// Whether a credential has this output; tells it if not. One with mistakes of its own may have any.
fn is_output(credential: &str, output: &str, place: Place<'_>, context: &mut Context<'_>) -> bool {
    let Some(outputs) = context.outputs.get(credential) else {
        let known: Vec<&str> = context.outputs.keys().map(String::as_str).collect();
        unknown(&mut context.findings, place, "credential", credential, &known);
        return false;
    };
    let outputs = outputs.clone();
    if let Some(outputs) = &outputs
        && !outputs.iter().any(|known| known == output)
    {
        let has = list(outputs.iter().map(String::as_str));
        let near = nearest(output, outputs.iter().map(String::as_str)).map(str::to_owned);
        let message = format!("the credential `{credential}` has no such output: it has {has}");
        context.findings.error(place, message).meant(near.as_deref());
        return false;
    }
    true
}
