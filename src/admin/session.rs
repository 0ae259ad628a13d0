//! Sessions of the console: the admin token is shown once, and exchanged for two halves.
//!
//! One half is a cookie that no script can read, the other a text that only the page's own script
//! holds and sends in a header of its own. Either half alone is worth nothing: not the cookie, which
//! browsers send to every port of a host; not the text, which a stranger's page could not send anyway.
//! A change takes both (a synchroniser token, bound to the session).
//!
//! Sessions live in memory, end after a fixed time, and end at once when the admin token is another.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Clock;
use crate::route::{Guesser, Guesses, Rate};
use crate::secret::Secret;
use crate::telemetry::Counter;

/// The header that carries the page's half.
pub(super) const PROOF: HeaderName = HeaderName::from_static("x-bearerd-session");
/// Sessions at once; the oldest gives way to one more.
const MOST_SESSIONS: usize = 32;
/// Random bytes of either half: 256 bits cannot be guessed.
const LENGTH: usize = 32;

/// The sessions that are open.
#[derive(Debug)]
pub struct Sessions {
    clock: Clock,
    /// The cookie's name, another one for each process: the browser keeps those of two bearerds on
    /// one host apart.
    cookie: String,
    /// In the order of their beginning.
    open: Mutex<Vec<Session>>,
    /// Sessions that were opened.
    pub opened: Counter,
    /// Tokens that were wrong.
    pub rejected: Counter,
    /// Tries that were not compared, for there were too many.
    pub limited: Counter,
    /// Requests whose token was not compared, since too many before were wrong.
    pub uncompared: Counter,
    /// The wrong tokens of requests.
    wrong: Guesses,
    /// The wrong tokens of those who wanted to sign in.
    tries: Guesses,
}

#[derive(Debug)]
struct Session {
    cookie: Secret,
    proof: Secret,
    /// The admin token that it was opened with.
    token: Secret,
    /// In time since boot.
    ends: Duration,
}

/// A token that somebody shows.
pub(super) struct Attempt<'a> {
    /// The token, if it is one.
    pub(super) shown: Option<&'a Secret>,
    /// Whoever shows it.
    pub(super) who: Guesser,
    /// How many wrong ones of his are compared.
    pub(super) most_wrong: Rate,
}

impl Attempt<'_> {
    /// Whether it is the configured one. Secrets compare in constant time; two empty ones must not.
    fn shows(&self, configured: &Secret) -> bool {
        self.shown.is_some_and(|shown| !shown.is_empty() && shown == configured)
    }
}

/// What a new session is told, once.
pub(super) struct Opened {
    /// The value of `Set-Cookie`.
    pub(super) set_cookie: HeaderValue,
    /// The page's half.
    pub(super) proof: Secret,
}

/// Why there is no new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignInError {
    /// The token is missing or wrong.
    Wrong,
    /// There were too many wrong ones: the next is compared after so long.
    TooMany(Duration),
}

/// Why a session does not allow a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionError {
    /// There is no such session, or it has ended.
    None,
    /// The request carries the cookie, but not what the page alone knows.
    NoProof,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(clock: &Clock) -> Self {
        let mut brand = [0; 6];
        clock.fill_random(&mut brand);
        Self {
            clock: clock.clone(),
            cookie: format!("bearerd-{}", BASE64_URL_SAFE_NO_PAD.encode(brand)),
            open: Mutex::default(),
            opened: Counter::default(),
            rejected: Counter::default(),
            limited: Counter::default(),
            uncompared: Counter::default(),
            wrong: Guesses::default(),
            tries: Guesses::default(),
        }
    }

    /// Opens a session for whoever shows the configured token.
    pub(super) fn open(
        &self,
        attempt: &Attempt<'_>,
        configured: &Secret,
        lifetime: Duration,
    ) -> Result<Opened, SignInError> {
        let now = self.clock.boot();
        if let Some(pause) = self.tries.pause(attempt.who, attempt.most_wrong, now) {
            self.limited.increment();
            return Err(SignInError::TooMany(pause));
        }
        if !attempt.shows(configured) {
            self.tries.note(attempt.who, attempt.most_wrong, now);
            self.rejected.increment();
            return Err(SignInError::Wrong);
        }
        let mut open = self.sessions();
        let session = Session {
            cookie: self.random(),
            proof: self.random(),
            token: configured.clone(),
            ends: now.saturating_add(lifetime),
        };
        let value = [
            self.cookie.as_bytes(),
            b"=",
            session.cookie.expose(),
            format!("; Path=/v1; Max-Age={}; HttpOnly; SameSite=Strict", lifetime.as_secs()).as_bytes(),
        ]
        .concat();
        let mut set_cookie = HeaderValue::try_from(value).expect("base64 and fixed text are a field value");
        set_cookie.set_sensitive(true);
        let proof = session.proof.clone();
        open.retain(|session| session.ends > now);
        if open.len() == MOST_SESSIONS {
            open.remove(0);
        }
        open.push(session);
        self.opened.increment();
        Ok(Opened { set_cookie, proof })
    }

    /// Whether a request that shows a token by itself shows the configured one. Many wrong ones are of somebody
    /// who guesses.
    pub(super) fn check_token(&self, attempt: &Attempt<'_>, configured: &Secret) -> Result<(), SignInError> {
        let now = self.clock.boot();
        if let Some(pause) = self.wrong.pause(attempt.who, attempt.most_wrong, now) {
            self.uncompared.increment();
            return Err(SignInError::TooMany(pause));
        }
        if attempt.shows(configured) {
            return Ok(());
        }
        self.wrong.note(attempt.who, attempt.most_wrong, now);
        Err(SignInError::Wrong)
    }

    /// Whether a request belongs to a session that was opened with this token, and has both halves of
    /// it. Answers how long the session still lasts.
    pub(super) fn check(&self, fields: &HeaderMap, configured: &Secret) -> Result<Duration, SessionError> {
        let now = self.clock.boot();
        let cookies = self.cookies(fields);
        let open = self.sessions();
        let session = open
            .iter()
            .find(|session| session.ends > now && cookies.contains(&session.cookie))
            .filter(|session| session.token == *configured)
            .ok_or(SessionError::None)?;
        let mut proofs = fields.get_all(PROOF).iter();
        match (proofs.next(), proofs.next()) {
            (Some(proof), None) if Secret::new(proof.as_bytes()) == session.proof => Ok(session.ends - now),
            _ => Err(SessionError::NoProof),
        }
    }

    /// Ends the session of a request. The value of `Set-Cookie` takes the cookie back.
    pub(super) fn close(&self, fields: &HeaderMap) -> HeaderValue {
        let cookies = self.cookies(fields);
        self.sessions().retain(|session| !cookies.contains(&session.cookie));
        let gone = format!("{}=; Path=/v1; Max-Age=0; HttpOnly; SameSite=Strict", self.cookie);
        HeaderValue::try_from(gone).expect("base64 and fixed text are a field value")
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        let now = self.clock.boot();
        self.sessions().iter().filter(|session| session.ends > now).count()
    }

    /// The values that a request has for our cookie (RFC 6265, section 4.2).
    fn cookies(&self, fields: &HeaderMap) -> Vec<Secret> {
        let pairs =
            fields.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        pairs
            .filter_map(|pair| pair.trim_ascii().strip_prefix(self.cookie.as_bytes())?.strip_prefix(b"="))
            .map(Secret::new)
            .collect()
    }

    fn random(&self) -> Secret {
        let mut bytes = zeroize::Zeroizing::new([0; LENGTH]);
        self.clock.fill_random(&mut *bytes);
        Secret::from(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()))
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Opened(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::COOKIE;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use jiff::Timestamp;

    use super::{Attempt, MOST_SESSIONS, PROOF, SessionError, Sessions, SignInError};
    use crate::admin::AdminSpec;
    use crate::clock::Clock;
    use crate::route::Guesser;
    use crate::secret::Secret;
    use crate::telemetry::Counter;

    const HOUR: Duration = Duration::from_secs(3600);
    const TRIES: u32 = AdminSpec::MAX_WRONG_SIGN_INS.count;

    /// Somebody shows a token.
    fn attempt(shown: Option<&Secret>, user: u32) -> Attempt<'_> {
        Attempt { shown, who: Guesser::User(user), most_wrong: AdminSpec::MAX_WRONG_SIGN_INS }
    }

    struct Console {
        clock: Clock,
        sessions: Sessions,
        token: Secret,
    }

    impl Console {
        fn new() -> Self {
            let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
            Self { sessions: Sessions::new(&clock), clock, token: Secret::from("the admin token") }
        }

        /// Signs in, and gives what the page would send from then on: the cookie, and its proof.
        fn sign_in(&self) -> HeaderMap {
            let opened =
                self.sessions.open(&attempt(Some(&self.token), 0), &self.token, HOUR).expect("a session");
            let cookie =
                opened.set_cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
            HeaderMap::from_iter([
                (COOKIE, HeaderValue::try_from(format!("theme=dark; {cookie}")).expect("a field")),
                (PROOF, HeaderValue::from_bytes(opened.proof.expose()).expect("a field")),
            ])
        }

        fn check(&self, fields: &HeaderMap) -> Result<Duration, SessionError> {
            self.sessions.check(fields, &self.token)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_takes_both_halves_of_the_session() {
        let console = Console::new();
        let both = console.sign_in();
        assert_eq!(console.check(&both), Ok(HOUR));
        let without = |name: &HeaderName| {
            let mut fields = both.clone();
            fields.remove(name);
            fields
        };
        assert_eq!(console.check(&without(&PROOF)), Err(SessionError::NoProof));
        assert_eq!(console.check(&without(&COOKIE)), Err(SessionError::None));
        let mut mixed = both.clone();
        mixed.insert(PROOF, console.sign_in()[PROOF].clone());
        assert_eq!(console.check(&mixed), Err(SessionError::NoProof), "the proof of another session");
        let mut twice = both.clone();
        twice.append(PROOF, both[PROOF].clone());
        assert_eq!(console.check(&twice), Err(SessionError::NoProof));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_time_with_its_token_and_by_signing_out() {
        let console = Console::new();
        let (first, second, third) = (console.sign_in(), console.sign_in(), console.sign_in());
        console.sessions.close(&first);
        assert_eq!(console.check(&first), Err(SessionError::None));
        assert_eq!(console.check(&second), Ok(HOUR));
        let changed = Secret::from("another token");
        assert_eq!(console.sessions.check(&second, &changed), Err(SessionError::None));
        // Also while the machine sleeps.
        console.clock.suspend(HOUR - Duration::from_secs(1));
        assert_eq!(console.check(&third), Ok(Duration::from_secs(1)));
        console.clock.suspend(Duration::from_secs(1));
        assert_eq!(console.check(&third), Err(SessionError::None));
        assert_eq!(console.sessions.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_limited_and_come_back_one_by_one() {
        let console = Console::new();
        let wrong = Secret::from("wrong");
        let sign_in_as = |user, token: &Secret| {
            console.sessions.open(&attempt(Some(token), user), &console.token, HOUR).err()
        };
        let sign_in = |token: &Secret| sign_in_as(1, token);
        let interval = AdminSpec::MAX_WRONG_SIGN_INS.per / TRIES;
        for _ in 0..TRIES {
            assert_eq!(sign_in(&wrong), Some(SignInError::Wrong));
        }
        assert_eq!(sign_in(&console.token), Some(SignInError::TooMany(interval)), "not even compared");
        assert_eq!(sign_in_as(2, &console.token), None, "somebody else is not locked out");
        console.clock.suspend(interval);
        assert_eq!(sign_in(&wrong), Some(SignInError::Wrong));
        assert!(matches!(sign_in(&wrong), Some(SignInError::TooMany(_))));
        console.clock.suspend(interval);
        assert_eq!(sign_in(&console.token), None, "the right one is taken as soon as one is compared");
        let counts = [&console.sessions.opened, &console.sessions.rejected, &console.sessions.limited]
            .map(Counter::get);
        assert_eq!(counts, [2, u64::from(TRIES) + 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_opened_by_an_empty_token() {
        let console = Console::new();
        let empty = Secret::from("");
        assert_eq!(
            console.sessions.open(&attempt(Some(&empty), 0), &empty, HOUR).err(),
            Some(SignInError::Wrong)
        );
        assert_eq!(
            console.sessions.open(&attempt(None, 0), &console.token, HOUR).err(),
            Some(SignInError::Wrong)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_session_gives_way() {
        let console = Console::new();
        let all: Vec<_> = (0..=MOST_SESSIONS).map(|_| console.sign_in()).collect();
        assert_eq!(console.check(&all[0]), Err(SessionError::None));
        assert!(all[1..].iter().all(|fields| console.check(fields).is_ok()));
        assert_eq!(console.sessions.count(), MOST_SESSIONS);
    }
}
