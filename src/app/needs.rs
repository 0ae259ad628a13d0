//! What a configuration needs of the machine: what confinement leaves, and what a reload is held to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::app::callers;
use crate::caller::account::KeysAt;
use crate::config::{Config, Environment, Loaded};
use crate::confinement::Needs;
use crate::credential::flow::login::Step;
use crate::credential::flow::mail::{MailStep, Mailbox};
use crate::credential::flow::oauth2::endpoints::Endpoints;
use crate::credential::store::spec::StoreSpec;
use crate::credential::{Flow, Source};
use crate::notification::Way;
use crate::server::listener::{Address, Bind};
use crate::server::tls::TlsSpec;
use crate::upstream::{Origin, Scheme};

/// Everything that `loaded` names.
pub(crate) fn of(loaded: &Loaded, environment: &Environment) -> Needs {
    let mut needs = Needs::default();
    for file in &loaded.files {
        needs.read_file(file);
    }
    // Systemd's credentials are all of one folder.
    needs.read.extend(environment.credentials_directory.clone());
    let Config { server: _, store, admin, listeners, egress, credentials, routes, notify } = &loaded.config;
    if let StoreSpec::File(file) = store {
        needs.write_file(&file.path);
        std::iter::once(&file.key).chain(&file.previous_keys).for_each(|key| source(key, &mut needs));
    }
    listen(&admin.listen, &mut needs);
    admin.token.iter().for_each(|token| source(token, &mut needs));
    for listener in listeners {
        if let Bind::To(address) = &listener.bind {
            listen(address, &mut needs);
        }
        for file in listener.tls.iter().flat_map(TlsSpec::files) {
            needs.read_file(file);
        }
    }
    for egress in egress {
        for file in egress.files() {
            needs.read_file(file);
        }
        egress.proxy.iter().for_each(|proxy| connect(&proxy.origin, &mut needs));
        egress.expect.iter().for_each(|expect| connect(&expect.url.origin, &mut needs));
    }
    for receiver in notify {
        receiver.way.origin().into_iter().for_each(|origin| connect(origin, &mut needs));
        receiver.way.secret().into_iter().for_each(|secret| source(secret, &mut needs));
        if let Way::Command(argv) = &receiver.way {
            needs.commands.insert(argv.clone());
        }
    }
    for credential in credentials {
        credential.inputs.iter().for_each(|(_, input)| source(input, &mut needs));
        match &credential.flow {
            Flow::Static(_) => {}
            Flow::OAuth2(flow) => {
                endpoints(&flow.endpoints, &mut needs);
                flow.id_token.jwks.iter().for_each(|url| connect(&url.origin, &mut needs));
            }
            Flow::Login(flow) => steps(&flow.steps, &mut needs),
        }
        if let Some(rotation) = &credential.rotation {
            steps(&rotation.steps, &mut needs);
            steps(&rotation.verify, &mut needs);
        }
    }
    for file in callers::files(&loaded.config) {
        needs.read_file(&file);
    }
    for accounts in callers::asked(&loaded.config) {
        if let KeysAt::Url(url) = &accounts.spec().keys {
            connect(&url.origin, &mut needs);
        }
    }
    for route in routes {
        connect(&route.upstream.origin, &mut needs);
    }
    needs
}

/// The files that hold secrets, or should.
pub(super) fn secret_files(config: &Config) -> BTreeSet<PathBuf> {
    let Config { server: _, store, admin, listeners, egress, credentials, routes: _, notify } = config;
    let mut files = BTreeSet::new();
    let mut of = |source: &Source| {
        if let Source::File(path) = source.leaf() {
            files.insert(path.to_path_buf());
        }
    };
    if let StoreSpec::File(file) = store {
        std::iter::once(&file.key).chain(&file.previous_keys).for_each(&mut of);
    }
    admin.token.iter().for_each(&mut of);
    notify.iter().filter_map(|receiver| receiver.way.secret()).for_each(&mut of);
    credentials.iter().flat_map(|credential| credential.inputs.iter()).for_each(|(_, input)| of(input));
    let listening = listeners.iter().filter_map(|listener| listener.tls.as_ref()?.key.file());
    let leaving = egress.iter().filter_map(|egress| egress.certificate.as_ref()?.key.file());
    let proxies = egress.iter().filter_map(|egress| egress.proxy.as_ref()?.login.as_ref()?.password.file());
    files.extend(listening.chain(leaving).chain(proxies).cloned());
    files.extend(callers::files(config).iter().map(|file| file.to_path_buf()));
    files
}

fn source(source: &Source, needs: &mut Needs) {
    match source {
        Source::File(path) => needs.read_file(path),
        Source::Command { argv, .. } => {
            needs.commands.insert(argv.clone());
        }
        Source::Jwt(assertion) => self::source(&assertion.key, needs),
        Source::Part { document, .. } => self::source(document, needs),
        Source::Value(_) | Source::Output { .. } => {}
    }
}

fn listen(address: &Address, needs: &mut Needs) {
    match address {
        Address::Tcp(address) => {
            needs.listen.insert(address.port());
        }
        Address::Unix(path) => needs.write_file(path),
    }
}

fn connect(origin: &Origin, needs: &mut Needs) {
    // Landlock does not look at who connects to a Unix socket.
    if origin.scheme != Scheme::Unix {
        needs.connect.insert(origin.port);
        if origin.is_loopback() {
            needs.local.insert(origin.port);
        }
    }
}

/// The servers that are asked, and the mailboxes.
fn steps(steps: &[Step], needs: &mut Needs) {
    for step in steps {
        step.origin().iter().for_each(|origin| connect(origin, needs));
        if let Step::Mail(MailStep { mailbox: Mailbox::Maildir(folder), .. }) = step {
            needs.rearrange(folder);
        }
    }
}

fn endpoints(endpoints: &Endpoints, needs: &mut Needs) {
    let Endpoints { issuer, token, authorization: _, device_authorization, revocation, .. } = endpoints;
    for url in [token, device_authorization, revocation].into_iter().flatten() {
        connect(&url.origin, needs);
    }
    if let Some(issuer) = issuer {
        connect(&issuer.url.origin, needs);
        // Where it sends for the rest is not known yet: nearly always to the usual port.
        needs.connect.insert(Scheme::Https.default_port());
    }
}
