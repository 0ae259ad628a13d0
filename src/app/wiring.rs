//! Routes connected to credentials and to the ways out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::credential::flow::oauth2::discovery::Disclosed;
use crate::credential::keeper::Keeper;
use crate::credential::slot::Prepare;
use crate::credential::{CredentialSpec, Flow, Owner};
use crate::inject::Prepared;
use crate::route::path::canonical;
use crate::route::{RouteSpec, RouteTable, Terms, Tokens, Wiring};
use crate::upstream::connect::{Connector, Connectors};
use crate::upstream::{EgressSpec, Origin};

/// A connector for each egress. One that `previous` has with the same spec is kept, with all its
/// sessions and connections, and renewed. Blocks on the file system. An error says which cannot be used.
pub(super) fn connectors(specs: &[EgressSpec], previous: &Connectors) -> Result<Connectors, String> {
    let connector = |spec: &EgressSpec| match previous.get(&spec.name) {
        Some(kept) if kept.spec() == spec => kept.renew().map(|_| kept.clone()),
        _ => Connector::new(spec),
    };
    let default = EgressSpec::default();
    specs
        .iter()
        .chain([&default])
        .map(|spec| match connector(spec) {
            Ok(connector) => Ok((spec.name.clone(), connector)),
            Err(error) if spec.name.is_empty() => Err(format!("the default egress: {}", error.0)),
            Err(error) => Err(format!("the egress `{}`: {}", spec.name, error.0)),
        })
        .collect()
}

/// The routes, each with the endpoints on its server that issuers have told among those that it denies.
fn guarded(routes: &[Arc<RouteSpec>], disclosed: &Disclosed) -> Vec<Arc<RouteSpec>> {
    // By the address of the terms without: routes that had the same have the same then.
    let mut stricter: HashMap<(usize, Vec<String>), Arc<Terms>> = HashMap::new();
    let guard = |spec: &Arc<RouteSpec>| {
        let endpoints = disclosed.endpoints.iter();
        let there = endpoints.filter(|(origin, _)| origin.is_same_server(&spec.upstream.origin));
        let paths = there.map(|(_, path)| canonical(path)).filter(|path| !spec.denied.contains(path));
        let further: Vec<String> = paths.collect();
        if further.is_empty() {
            return Arc::clone(spec);
        }
        let denied = || spec.denied.iter().chain(&further).cloned().collect();
        let same = (Arc::as_ptr(&spec.terms).addr(), further.clone());
        let terms = stricter.entry(same);
        let terms = terms.or_insert_with(|| Arc::new(Terms { denied: denied(), ..(*spec.terms).clone() }));
        Arc::new(RouteSpec { terms: Arc::clone(terms), ..(**spec).clone() })
    };
    routes.iter().map(guard).collect()
}

/// The servers of issuers that have not told their endpoints yet.
fn reticent<'a>(credentials: &'a [Arc<CredentialSpec>], disclosed: &Disclosed) -> BTreeSet<&'a Origin> {
    let issuers = credentials.iter().filter_map(|spec| match &spec.flow {
        Flow::OAuth2(flow) => flow.endpoints.issuer.as_ref(),
        Flow::Static(_) | Flow::Login(_) => None,
    });
    issuers
        .filter(|issuer| !disclosed.issuers.contains(&issuer.text))
        .map(|issuer| &issuer.url.origin)
        .collect()
}

/// What is made of each generation for the requests of a route.
fn preparing(route: &Arc<RouteSpec>, clock: &Clock) -> Prepare<Prepared> {
    let (spec, clock) = (Arc::clone(route), clock.clone());
    Arc::new(move |outputs| {
        let prepared = spec.injection.prepare(outputs, &clock)?;
        match &spec.verification {
            None => Ok(prepared),
            Some(verification) => prepared.verifying(verification, outputs, &clock),
        }
    })
}

/// Builds the route table. Routes that `previous` had keep their numbers.
pub(super) fn wire(
    config: &Config,
    disclosed: &Disclosed,
    keeper: &Keeper,
    connectors: &Connectors,
    clock: &Clock,
    previous: Option<&RouteTable>,
) -> RouteTable {
    let reticent = reticent(&config.credentials, disclosed);
    // One for each way of injecting, by the address of its rule: of thousands of routes most inject alike.
    let mut prepares: HashMap<usize, Prepare<Prepared>> = HashMap::new();
    let mut wiring = |route: &Arc<RouteSpec>| {
        let prepare = if route.verification.is_some() {
            preparing(route, clock)
        } else {
            let address = Arc::as_ptr(&route.injection).addr();
            Arc::clone(prepares.entry(address).or_insert_with(|| preparing(route, clock)))
        };
        let tokens = match &route.subject {
            None => keeper.slot(&Owner::from(&route.credential), prepare).map(Tokens::Own),
            Some(_) => keeper.roster(&route.credential, prepare).map(Tokens::Subjects),
        };
        Wiring {
            tokens: tokens.expect("a valid route names a kept credential"),
            connector: connectors.get(&route.egress).cloned().expect("a valid route names an egress"),
            awaits_issuer: reticent.iter().any(|origin| origin.is_same_server(&route.upstream.origin)),
        }
    };
    RouteTable::build(&guarded(&config.routes, disclosed), &mut wiring, previous)
}
