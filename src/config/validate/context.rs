//! What every check needs: the surroundings, the names of the file, and where to tell mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::findings::Findings;
use crate::config::suggest::{list, nearest};
use crate::config::tree::Place;
use crate::config::validate::alike::Alike;
use crate::config::{Environment, SecretPlace};
use crate::credential::consent::ConsentSpec;
use crate::credential::flow::IdTokenSpec;
use crate::credential::flow::oauth2::endpoints::Endpoints;
use crate::credential::{CredentialName, Times};
use crate::upstream::EgressSpec;

/// The surroundings of a file that is validated.
pub(crate) struct Context<'a> {
    pub(crate) environment: &'a Environment,
    /// The configuration's folder, where relative paths start.
    pub(crate) folder: &'a Path,
    pub(crate) findings: Findings,
    /// The outputs of each credential by its name; `None` where its own mistakes hide them.
    pub(crate) outputs: BTreeMap<String, Option<Vec<String>>>,
    /// The credential that is being validated; empty for none.
    pub(crate) owner: String,
    /// Which credential takes an output of which other.
    pub(crate) links: Vec<(String, String)>,
    /// The names of all egresses.
    pub(crate) egress: Vec<String>,
    /// Those that could be built, and those that credentials make of them.
    pub(crate) egresses: Vec<EgressSpec>,
    /// Those whose proxy is on another machine: what is plain text to loopback is so on the way there.
    pub(crate) remote_proxies: BTreeSet<String>,
    /// Whether what is kept outlives the process.
    pub(crate) is_durable: bool,
    /// Browsers can come back to the admin listener.
    pub(crate) has_callback: bool,
    /// What credentials have in common.
    pub(crate) alike: AlikeCredentials,
    /// Where each secret reference stands.
    pub(crate) secrets: Vec<SecretPlace>,
    /// Further files that were read.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Variables of the environment that secrets were taken from.
    pub(crate) variables: BTreeSet<String>,
}

/// What credentials have in common, above all those of one issuer, kept once.
#[derive(Default)]
pub(crate) struct AlikeCredentials {
    pub(crate) times: Alike<Times>,
    pub(crate) endpoints: Alike<Endpoints>,
    pub(crate) id_tokens: Alike<IdTokenSpec>,
    pub(crate) consents: Alike<ConsentSpec>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(environment: &'a Environment, folder: &'a Path, findings: Findings) -> Self {
        Self {
            environment,
            folder,
            findings,
            outputs: BTreeMap::new(),
            owner: String::new(),
            links: Vec::new(),
            egress: Vec::new(),
            egresses: Vec::new(),
            remote_proxies: BTreeSet::new(),
            is_durable: false,
            has_callback: false,
            alike: AlikeCredentials::default(),
            secrets: Vec::new(),
            files: BTreeSet::new(),
            variables: BTreeSet::new(),
        }
    }

    /// A path of the file; a relative one starts at the configuration's folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The egress of a key `egress`; empty for the default.
    pub(crate) fn egress(&mut self, name: Option<&str>, place: Place<'_>) -> String {
        let Some(name) = name else { return String::new() };
        if !self.egress.iter().any(|known| known == name) {
            let known: Vec<&str> = self.egress.iter().map(String::as_str).collect();
            unknown(&mut self.findings, place, "egress", name, &known);
        }
        name.to_owned()
    }

    /// Warns of what a restart loses, unless a store keeps it.
    pub(crate) fn warn_unless_durable(&mut self, place: Place<'_>, message: &str, loss: &str) {
        if !self.is_durable {
            let problem = self.findings.warning(place, message);
            problem.help(format!("{loss}: `[store] kind = \"file\"` keeps it"));
        }
    }

    /// Notes that the credential in hand takes an output of another.
    pub(crate) fn link(&mut self, parent: &str) {
        self.links.push((self.owner.clone(), parent.to_owned()));
    }

    /// Notes where an input of the credential in hand stands.
    pub(crate) fn input(&mut self, name: &str, place: Place<'_>) {
        let owner = (!self.owner.is_empty()).then(|| CredentialName::from(self.owner.as_str()));
        let location = self.findings.location(place);
        self.secrets.push(SecretPlace { owner, input: name.to_owned(), location });
    }
}

/// Tells a name that nothing has. The name itself is not shown: it could be anything.
pub(crate) fn unknown(findings: &mut Findings, place: Place<'_>, what: &str, name: &str, known: &[&str]) {
    let problem = findings.error(place, format!("there is no {what} of this name"));
    problem.meant_or(nearest(name, known.iter().copied()), || {
        if known.is_empty() {
            return format!("the file has no {what} at all");
        }
        format!("there is {}", list(known.iter().copied()))
    });
}
