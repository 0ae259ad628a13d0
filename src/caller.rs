//! Who calls, and who may.
//!
//! ```text
//! the other end of a connection ──look──▶ Peer ─┐
//!                                               ├──▶ Rule ──▶ may call | Denied, and why
//! `allow` of a listener, `callers` of a route ──┘
//! ```
//!
//! What a [`Peer`] is was learned once, when its connection came; what is not known of it counts as
//! not allowed.

pub mod account;
pub mod bearer;
pub mod cgroup;
mod pattern;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::caller::account::Accounts;
use crate::caller::bearer::{Bearers, Digest};
use crate::caller::cgroup::Pattern;
use crate::certificate::AlternativeNames;

/// Something about a caller; the error says why it is not known.
pub type Known<T> = Result<T, Cow<'static, str>>;

/// What is known of the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Whose process it is.
    pub uid: Known<u32>,
    /// The groups of that process, its own first.
    pub gids: Known<Vec<u32>>,
    /// The control group in which that process runs, such as `/system.slice/app.service`.
    pub cgroup: Known<String>,
    /// The names for which its certificate was made.
    pub names: Known<AlternativeNames>,
    /// Where it connected from, over TCP.
    pub address: Option<IpAddr>,
    /// What came of the last token that it showed.
    pub remembered: RefCell<Remembered>,
}

/// A token that was shown on a connection, and what came of it.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// Stands for the token.
    pub token: Digest,
    /// It was right for some rule.
    pub is_right: bool,
    /// Whose it is by each of the accounts that were asked, or why nobody's.
    pub accounts: Vec<(Arc<Accounts>, Result<(), String>)>,
    /// Until when that holds.
    pub until: Timestamp,
}

/// Nobody has looked: the rules that counted when the connection came did not ask.
pub const NOT_ASKED: &str = "nobody asked for it when the connection came";

impl Default for Peer {
    fn default() -> Self {
        let unknown = || Cow::Borrowed(NOT_ASKED);
        Self {
            uid: Err(unknown()),
            gids: Err(unknown()),
            cgroup: Err(unknown()),
            names: Err(unknown()),
            address: None,
            remembered: RefCell::default(),
        }
    }
}

/// Which facts about callers a rule needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Of a process: its user.
    pub uid: bool,
    /// Its groups.
    pub gids: bool,
    /// Its control group.
    pub cgroup: bool,
    /// The names of its certificate.
    pub names: bool,
    /// What its requests show.
    pub tokens: bool,
}

impl Needs {
    /// Whether anything is needed.
    pub fn any(self) -> bool {
        self.uid || self.gids || self.cgroup || self.names || self.tokens
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            uid: self.uid || other.uid,
            gids: self.gids || other.gids,
            cgroup: self.cgroup || other.cgroup,
            names: self.names || other.names,
            tokens: self.tokens || other.tokens,
        }
    }
}

/// Who may call: of each list that is not empty the caller must have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Users.
    pub uids: Vec<u32>,
    /// Groups.
    pub gids: Vec<u32>,
    /// Control groups; those below them count too.
    pub cgroups: Vec<Pattern>,
    /// Alternative names of certificates.
    pub names: Vec<String>,
    /// Secrets that requests show. These and `accounts` are one list: a token is one or the other.
    pub bearers: Option<Arc<Bearers>>,
    /// Service accounts by whose tokens requests come.
    pub accounts: Option<Arc<Accounts>>,
    /// On a route with subjects: whose tokens may be used, `*` standing for any bytes; empty for all.
    pub subjects: Vec<String>,
}

/// Why a caller may not call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What the caller may know.
    pub detail: &'static str,
    /// What the log tells.
    pub cause: String,
}

impl Rule {
    /// What has to be known of a caller.
    pub fn needs(&self) -> Needs {
        Needs {
            uid: !self.uids.is_empty(),
            gids: !self.gids.is_empty(),
            cgroup: !self.cgroups.is_empty(),
            names: !self.names.is_empty(),
            tokens: self.bearers.is_some() || self.accounts.is_some(),
        }
    }

    /// Whether the other end of a connection is allowed.
    pub fn check(&self, peer: &Peer) -> Result<(), Denied> {
        self.check_process(peer)?;
        self.check_names(peer)
    }

    /// Whether a token is one of those that may call; the error says why it is not.
    pub fn check_token(&self, token: &Digest, peer: Option<&Peer>) -> Result<(), Denied> {
        if self.bearers.as_ref().is_some_and(|bearers| bearers.have(token)) {
            return Ok(());
        }
        let detail = "the token that this caller shows may not call";
        let Some(accounts) = &self.accounts else {
            return Err(Denied { detail, cause: "it is none of `bearer`".to_owned() });
        };
        let remembered = peer.map(|peer| peer.remembered.borrow());
        let asked = remembered.as_ref().filter(|remembered| remembered.token == *token);
        let asked = asked.and_then(|it| it.accounts.iter().find(|(one, _)| Arc::ptr_eq(one, accounts)));
        match asked {
            Some((_, Ok(()))) => Ok(()),
            Some((_, Err(why))) => Err(Denied { detail, cause: format!("as a service account's: {why}") }),
            None => Err(Denied { detail, cause: NOT_ASKED.to_owned() }),
        }
    }

    /// Whether a subject's token may be used.
    pub fn check_subject(&self, subject: Option<&str>) -> Result<(), Denied> {
        let is_allowed = |subject: &str| self.subjects.iter().any(|pattern| pattern::fits(pattern, subject));
        if self.subjects.is_empty() || subject.is_some_and(is_allowed) {
            return Ok(());
        }
        let detail = "this caller may not use this subject";
        Err(Denied {
            detail,
            cause: format!("the subject {:?} is not in `subjects`", subject.unwrap_or_default()),
        })
    }

    /// The same, of what is known before a handshake.
    pub fn check_process(&self, peer: &Peer) -> Result<(), Denied> {
        let user = "this user may not call";
        one_of(&self.uids, &peer.uid, |uid, own| uid == own)
            .map_err(|why| why.denied(user, "uid", "uids"))?;
        one_of(&self.gids, &peer.gids, |gid, own| own.contains(gid))
            .map_err(|why| why.denied(user, "groups", "gids"))?;
        one_of(&self.cgroups, &peer.cgroup, |pattern, own| pattern.covers(own))
            .map_err(|why| why.denied("this process may not call", "cgroup", "cgroups"))
    }

    /// The same, of what a handshake tells.
    pub fn check_names(&self, peer: &Peer) -> Result<(), Denied> {
        one_of(&self.names, &peer.names, |name, own| own.contain(name)).map_err(|why| {
            why.denied("the certificate that this caller showed has no name that may call", "names", "names")
        })
    }
}

/// In words that follow "callers".
impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |list: &[u32]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let cgroups = self.cgroups.iter().map(ToString::to_string).collect();
        let accounts = self.accounts.as_ref().map(|accounts| accounts.spec().accounts.clone());
        for (what, list) in [
            ("uid", numbers(&self.uids)),
            ("group", numbers(&self.gids)),
            ("cgroup", cgroups),
            ("name", self.names.clone()),
            ("service account", accounts.unwrap_or_default()),
        ] {
            if !list.is_empty() {
                write!(formatter, " of {what} {}", list.join(" or "))?;
            }
        }
        match (&self.bearers, &self.accounts) {
            (None, _) => {}
            (Some(_), None) => formatter.write_str(" with a bearer")?,
            (Some(_), Some(_)) => formatter.write_str(" or with a bearer")?,
        }
        if !self.subjects.is_empty() {
            write!(formatter, " for {}", self.subjects.join(" or "))?;
        }
        Ok(())
    }
}

/// Whether a fact fits one of a list; an empty list does not ask.
fn one_of<T, F: fmt::Debug>(
    list: &[T],
    fact: &Known<F>,
    fits: impl Fn(&T, &F) -> bool,
) -> Result<(), Misfit> {
    match fact {
        _ if list.is_empty() => Ok(()),
        Ok(own) if list.iter().any(|allowed| fits(allowed, own)) => Ok(()),
        Ok(own) => Err(Misfit::NotListed(format!("{own:?}"))),
        Err(why) => Err(Misfit::NotKnown(why.clone())),
    }
}

/// Why a fact does not fit.
enum Misfit {
    NotListed(String),
    NotKnown(Cow<'static, str>),
}

impl Misfit {
    fn denied(self, detail: &'static str, what: &str, list: &str) -> Denied {
        let cause = match self {
            Self::NotListed(own) => format!("the caller's {what}, {own}, is not in `{list}`"),
            Self::NotKnown(why) => format!("the caller's {what} cannot be known: {why}"),
        };
        Denied { detail, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::{Peer, Rule};
    use crate::caller::cgroup::Pattern;
    use crate::certificate::AlternativeNames;

    fn peer() -> Peer {
        Peer {
            uid: Ok(1001),
            gids: Ok(vec![1001, 27]),
            cgroup: Ok("/system.slice/app.service".to_owned()),
            names: Ok(AlternativeNames {
                dns: vec!["App.internal".to_owned()],
                uris: vec!["spiffe://mesh/app".to_owned()],
            }),
            ..Peer::default()
        }
    }

    #[test]
    fn of_each_list_that_is_there_a_caller_has_one() {
        let cgroup = |text: &str| Pattern::parse(text).expect("a pattern");
        let some = || Rule {
            uids: vec![0, 1001],
            gids: vec![27],
            cgroups: vec![cgroup("/system.slice")],
            names: vec!["spiffe://mesh/app".to_owned()],
            ..Rule::default()
        };
        assert_eq!(Rule::default().check(&Peer::default()), Ok(()), "nothing is asked");
        assert_eq!(some().check(&peer()), Ok(()));
        for (other, cause) in [
            (Rule { uids: vec![0], ..some() }, "the caller's uid, 1001, is not in `uids`"),
            (Rule { gids: vec![0], ..some() }, "the caller's groups, [1001, 27], is not in `gids`"),
            (Rule { cgroups: vec![cgroup("/user.slice")], ..some() }, "is not in `cgroups`"),
            (Rule { names: vec!["app".to_owned()], ..some() }, "is not in `names`"),
        ] {
            let denied = other.check(&peer()).expect_err("denied");
            assert!(denied.cause.ends_with(cause), "{denied:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_allowed() {
        for rule in [
            Rule { uids: vec![0], ..Rule::default() },
            Rule { gids: vec![0], ..Rule::default() },
            Rule { cgroups: vec![Pattern::parse("/*").expect("a pattern")], ..Rule::default() },
            Rule { names: vec![String::new()], ..Rule::default() },
        ] {
            let denied = rule.check(&Peer::default()).expect_err("denied");
            assert!(denied.cause.contains("cannot be known"), "{denied:?}");
        }
    }
}
