//! Whether the caller of a request may make it: by what was learned of it when it connected, and by what the
//! request shows.

use std::time::Duration;

use crate::caller::bearer::{Digest, Shown, digest_of};
use crate::caller::{Denied, Peer, Remembered, Rule};
use crate::clock::Clock;
use crate::proxy::Asking;
use crate::proxy::admit::Door;
use crate::proxy::error::{Code, ProxyError};
use crate::route::Guesser;
use crate::route::metrics::Limit;

/// How long it is believed whose a service account's token is, before its signature is looked at again.
const BELIEVED: Duration = Duration::from_secs(60);

/// Why one rule does not let a request pass.
enum Refused {
    /// The caller is not one that may, or not with this subject.
    Denied(Denied),
    /// It shows nothing that is a token.
    NoToken,
    /// It shows a token that may not.
    WrongToken(Denied),
    /// There were too many wrong ones: this one is not looked at.
    Limited(Duration),
}

/// Finds out whose token a request shows, where service accounts may call. It may wait for keys.
pub(super) async fn recognise(door: &Door, asking: Asking<'_>, clock: &Clock) {
    let (Some(peer), Shown::Token(token)) = (asking.peer, Shown::by(asking.head)) else { return };
    let (digest, now) = (digest_of(token), clock.wall());
    {
        let before = peer.remembered.borrow();
        let is_known = before.token == digest && !before.accounts.is_empty() && now < before.until;
        if is_known || limited(door, &before, &digest, asking, clock).is_some() {
            return;
        }
    }
    let mut until = now + BELIEVED;
    let mut accounts = Vec::with_capacity(door.accounts.len());
    for one in &door.accounts {
        let verdict = one.recognise(token, now).await;
        if let Ok(known) = &verdict {
            until = until.min(known.until);
        }
        accounts.push((one.clone(), verdict.map(drop)));
    }
    let mut remembered = peer.remembered.borrow_mut();
    let is_right = remembered.token == digest && remembered.is_right;
    *remembered = Remembered { token: digest, is_right, accounts, until };
}

/// What the listener wants to be shown.
pub(super) fn check_listener(door: &Door, asking: Asking<'_>, clock: &Clock) -> Result<(), ProxyError> {
    match &door.allow {
        Some(rule) if rule.needs().tokens => {
            check_token(rule, door, asking, clock).map_err(|why| refuse(why, door, asking, clock))
        }
        _ => Ok(()),
    }
}

/// Whether one of a route's rules lets a request of this subject pass.
pub(super) fn check_route(
    rules: &[Rule],
    subject: Option<&str>,
    door: &Door,
    asking: Asking<'_>,
    clock: &Clock,
) -> Result<(), ProxyError> {
    let mut refused = None;
    for rule in rules {
        match judge(rule, subject, door, asking, clock) {
            Ok(()) => return Ok(()),
            // A token that is wrong by any of the rules is a wrong one, and counts once.
            Err(why @ Refused::WrongToken(_)) => refused = Some(why),
            Err(why) => refused = Some(refused.unwrap_or(why)),
        }
    }
    refused.map_or(Ok(()), |why| Err(refuse(why, door, asking, clock)))
}

fn judge(
    rule: &Rule,
    subject: Option<&str>,
    door: &Door,
    asking: Asking<'_>,
    clock: &Clock,
) -> Result<(), Refused> {
    match asking.peer {
        Some(peer) => rule.check(peer),
        None => rule.check(&Peer::default()),
    }
    .map_err(Refused::Denied)?;
    rule.check_subject(subject).map_err(Refused::Denied)?;
    if rule.needs().tokens { check_token(rule, door, asking, clock) } else { Ok(()) }
}

fn check_token(rule: &Rule, door: &Door, asking: Asking<'_>, clock: &Clock) -> Result<(), Refused> {
    let Shown::Token(token) = Shown::by(asking.head) else { return Err(Refused::NoToken) };
    let digest = digest_of(token);
    let before = asking.peer.map(|peer| peer.remembered.borrow());
    let nothing = Remembered::default();
    if let Some(pause) = limited(door, before.as_deref().unwrap_or(&nothing), &digest, asking, clock) {
        return Err(Refused::Limited(pause));
    }
    drop(before);
    rule.check_token(&digest, asking.peer).map_err(Refused::WrongToken)?;
    if let Some(peer) = asking.peer {
        let mut remembered = peer.remembered.borrow_mut();
        if remembered.token != digest {
            *remembered = Remembered { token: digest, ..Remembered::default() };
        }
        remembered.is_right = true;
    }
    Ok(())
}

/// How long tokens are not looked at, since too many were wrong. Whoever has shown a right one on this
/// connection may show it again.
fn limited(
    door: &Door,
    before: &Remembered,
    token: &Digest,
    asking: Asking<'_>,
    clock: &Clock,
) -> Option<Duration> {
    let is_proven = before.is_right && before.token == *token;
    if is_proven {
        return None;
    }
    door.wrong_bearers.pause(guesser(asking), door.max_wrong_bearers, clock.boot())
}

/// Whoever shows a token.
fn guesser(asking: Asking<'_>) -> Guesser {
    let Some(peer) = asking.peer else { return Guesser::Somebody };
    Guesser::of(peer.uid.as_ref().ok().copied(), peer.address)
}

fn refuse(why: Refused, door: &Door, asking: Asking<'_>, clock: &Clock) -> ProxyError {
    let denied = |why: Denied| ProxyError::new(Code::CallerDenied, why.detail).because(why.cause);
    match why {
        Refused::Denied(why) => denied(why),
        Refused::NoToken => {
            let detail = "this caller shows no token of its own: `Authorization: Bearer ..`, once";
            ProxyError::new(Code::CallerDenied, detail)
        }
        Refused::WrongToken(why) => {
            door.wrong_bearers.note(guesser(asking), door.max_wrong_bearers, clock.boot());
            denied(why)
        }
        Refused::Limited(pause) => {
            door.metrics.unrouted.limited(Limit::MaxWrongBearers);
            let detail = "this caller has shown too many wrong tokens";
            ProxyError::new(Code::RateLimited, detail).retry_after(pause)
        }
    }
    .and_close()
}
