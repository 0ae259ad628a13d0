//! Chains: credentials whose secrets are outputs of others. Parents come before their dependents,
//! and no chain bites its tail.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::tree::Place;
use crate::config::validate::context::Context;
use crate::config::validate::credential::Credential;
use crate::config::validate::egress;
use crate::credential::CredentialSpec;

/// The specs, parents first; else in the order of the file. Tells every circle, also one through a
/// credential that could not be built.
pub(crate) fn in_order(
    credentials: Vec<Credential>,
    bundles: Vec<CredentialSpec>,
    place: Place<'_>,
    context: &mut Context<'_>,
) -> Vec<Arc<CredentialSpec>> {
    let mut links: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (child, parent) in &context.links {
        links.entry(child).or_default().push(parent);
    }
    let mut walk = Walk { links: &links, marks: BTreeMap::new(), order: Vec::new(), circles: Vec::new() };
    let specs = credentials.into_iter().map(|credential| credential.spec).chain(bundles);
    let mut specs: Vec<_> = specs.map(Arc::new).collect();
    // They were collected in the place of what was larger.
    specs.shrink_to_fit();
    for name in specs.iter().map(|spec| spec.name.as_str()).chain(links.keys().copied()) {
        walk.visit(name);
    }
    let Walk { order, circles, .. } = walk;
    let circles: Vec<Vec<String>> =
        circles.into_iter().map(|circle| circle.into_iter().map(str::to_owned).collect()).collect();
    let rank: BTreeMap<String, usize> =
        order.into_iter().enumerate().map(|(rank, name)| (name.to_owned(), rank)).collect();
    for circle in circles {
        let way = format!("{} -> {}", circle.join(" -> "), circle[0]);
        let message = format!("these credentials wait for each other: {way}");
        context.findings.error(place.key(&circle[0]), message);
    }
    specs.sort_by_key(|spec| rank.get(spec.name.as_str()).copied());
    specs
}

/// Tells a link of a chain whose two ends leave in different ways: what a parent obtained from one address is
/// not shown from another.
pub(crate) fn check_ways(specs: &[Arc<CredentialSpec>], place: Place<'_>, context: &mut Context<'_>) {
    // One that is only put together of others' outputs sends nothing itself.
    for spec in specs.iter().filter(|spec| !spec.flow.is_static()) {
        for (name, _) in spec.parents() {
            let Some(parent) = specs.iter().find(|parent| parent.name == *name) else { continue };
            let is_brought = parent.flow.is_static() && parent.egress.is_empty();
            if !is_brought && egress::differ(&spec.egress, &parent.egress, context) {
                let message = format!(
                    "what `{name}` obtains by its egress is sent by another one here, and an address may be \
                     what it is bound to"
                );
                let problem = context.findings.error(place.key(spec.name.as_str()), message);
                problem.help(format!("say the same `egress` here and on `{name}`"));
            }
        }
    }
}

/// A walk over all chains, from dependents to parents. It keeps a stack of its own, since a chain
/// may be longer than the thread's is deep.
struct Walk<'a> {
    links: &'a BTreeMap<&'a str, Vec<&'a str>>,
    marks: BTreeMap<&'a str, Mark>,
    /// Those that are done: each after all its parents.
    order: Vec<&'a str>,
    circles: Vec<Vec<&'a str>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    OnTheWay,
    Done,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, start: &'a str) {
        if self.marks.contains_key(start) {
            return;
        }
        self.marks.insert(start, Mark::OnTheWay);
        // The way down, and which parent of each is next.
        let mut way = vec![(start, 0)];
        while let Some((name, next)) = way.last_mut() {
            let name = *name;
            let Some(parent) = self.links.get(name).and_then(|parents| parents.get(*next).copied()) else {
                self.marks.insert(name, Mark::Done);
                self.order.push(name);
                way.pop();
                continue;
            };
            *next += 1;
            match self.marks.get(parent) {
                None => {
                    self.marks.insert(parent, Mark::OnTheWay);
                    way.push((parent, 0));
                }
                Some(Mark::OnTheWay) => {
                    let start = way.iter().position(|(name, _)| *name == parent).unwrap_or(0);
                    let circle: Vec<&str> = way[start..].iter().map(|(name, _)| *name).collect();
                    if !self.circles.contains(&circle) {
                        self.circles.push(circle);
                    }
                }
                Some(Mark::Done) => {}
            }
        }
    }
}
