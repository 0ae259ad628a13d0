//! From the raw file to validated specs.

pub(crate) mod alike;
pub(crate) mod bundle;
pub(crate) mod callers;
mod chain;
pub(crate) mod consent;
pub(crate) mod context;
pub(crate) mod credential;
pub(crate) mod egress;
pub(crate) mod endpoint;
pub(crate) mod expected;
mod expiry;
mod extract;
pub(crate) mod fixed;
pub(crate) mod inject;
mod lend;
pub(crate) mod listener;
pub(crate) mod login;
mod mail;
pub(crate) mod names;
pub(crate) mod notify;
pub(crate) mod oauth2;
mod plaintext;
pub(crate) mod rotation;
pub(crate) mod route;
pub(crate) mod secret;
pub(crate) mod server;
pub(crate) mod signature;
pub(crate) mod store;
pub(crate) mod subject;
pub(crate) mod tls;

use crate::config::Config;
use crate::config::raw;
use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::credential::store::spec::StoreSpec;
use crate::server::listener::Address;

/// Checks everything and builds what can be built. It is whole only if nothing wrong was found.
pub(crate) fn file(raw: &raw::File, root: Place<'_>, context: &mut Context<'_>) -> Option<Config> {
    context.outputs = raw
        .credentials
        .into_iter()
        .map(|(name, credential)| (name.clone(), credential::outputs(credential)))
        .collect();
    context.egress = raw.egress.names().map(str::to_owned).collect();

    let server = server::server(&raw.server, root.key("server"), context);
    let store = store::store(&raw.store, root.key("store"), context);
    context.is_durable = store.as_ref().is_none_or(StoreSpec::is_durable);
    let admin = listener::admin(&raw.admin, root.key("admin"), context);
    context.egresses = egress::all(&raw.egress, root.key("egress"), context);
    let mut listeners = listener::all(&raw.listeners, root.key("listeners"), context);
    context.has_callback = admin.as_ref().is_none_or(|admin| matches!(admin.listen, Address::Tcp(_)));
    if let Some(admin) = &admin {
        listener::apart(&listeners, &admin.listen, root, context);
    }
    let mut credentials = credential::all(&raw.credentials, root.key("credentials"), context);
    let (routes, bundles) = route::all(raw, &credentials, root, context);
    callers::gather(&mut listeners, &routes);
    subject::mark(&mut credentials, &bundles, &routes);
    expected::note_routes(&mut credentials, &routes);
    lend::mark(&mut credentials, &routes);
    oauth2::id_token::note_uses(
        &mut credentials,
        routes.iter().map(|route| &**route),
        root.key("credentials"),
        context,
    );
    let credentials = chain::in_order(credentials, bundles, root.key("credentials"), context);
    chain::check_ways(&credentials, root.key("credentials"), context);
    let notify = notify::all(&raw.notify, root.key("notify"), context);
    let egress = std::mem::take(&mut context.egresses);
    Some(Config { server, store: store?, admin: admin?, listeners, egress, credentials, routes, notify })
}
