//! Bearers: secrets that callers show (RFC 6750, section 2.1).

use std::fmt;
use std::path::PathBuf;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq};

use crate::certificate::KeySource;
use crate::http1::{Kind, RequestHead};

/// What stands for a token where it is compared or remembered: nobody makes another one for it, and all
/// are of one length.
pub type Digest = [u8; 32];

/// The digest of a token.
pub fn digest_of(token: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

/// The bearers that may call; of the secrets only digests are kept.
pub struct Bearers {
    sources: Vec<KeySource>,
    digests: ArcSwap<Vec<Digest>>,
}

/// The token that a request shows to bearerd itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// None.
    Nothing,
    /// This one.
    Token(&'a [u8]),
    /// More than one, or credentials of another scheme.
    Other,
}

impl<'a> Shown<'a> {
    /// What a request shows, in `Proxy-Authorization` if that is there, else in `Authorization`. Neither
    /// is forwarded.
    pub fn by(head: &'a RequestHead) -> Self {
        let of =
            |kind: Kind| head.fields.iter().filter(move |field| field.kind == kind).map(|field| field.value);
        let mut fields = of(Kind::ProxyAuthorization);
        match (fields.next(), fields.next()) {
            (Some(only), None) => Self::read(only),
            (Some(_), Some(_)) => Self::Other,
            (None, _) => {
                let mut fields = of(Kind::Authorization);
                match (fields.next(), fields.next()) {
                    (Some(only), None) => Self::read(only),
                    (Some(_), Some(_)) => Self::Other,
                    (None, _) => Self::Nothing,
                }
            }
        }
    }

    fn read(value: &'a [u8]) -> Self {
        let Some((scheme, rest)) = value.split_at_checked("Bearer ".len()) else { return Self::Other };
        let token = rest.trim_ascii_start();
        if scheme.eq_ignore_ascii_case(b"Bearer ") && is_token(token) {
            Self::Token(token)
        } else {
            Self::Other
        }
    }
}

/// Whether it can be shown as a bearer: visible characters (RFC 6750 allows fewer, but its readers do not
/// agree on which).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
}

impl Bearers {
    /// Reads the secrets. Blocks on the file system. The error says which of them cannot be used, and why.
    pub fn read(sources: Vec<KeySource>) -> Result<Self, (usize, String)> {
        let digests = ArcSwap::from_pointee(read_all(&sources)?);
        Ok(Self { sources, digests })
    }

    /// Reads the secrets again, and says whether any is another. If one cannot be used, all stay as they
    /// are. Blocks on the file system.
    pub fn renew(&self) -> Result<bool, String> {
        let digests = read_all(&self.sources).map_err(|(_, why)| why)?;
        let differ = **self.digests.load() != digests;
        if differ {
            self.digests.store(digests.into());
        }
        Ok(differ)
    }

    /// The files that they are read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.iter().filter_map(KeySource::file)
    }

    /// Whether a token is one of them. How long that takes does not depend on which, nor on how much of
    /// it is right.
    pub fn have(&self, token: &Digest) -> bool {
        let each = |found: Choice, own: &Digest| found | own.ct_eq(token);
        self.digests.load().iter().fold(Choice::from(0), each).into()
    }
}

fn read_all(sources: &[KeySource]) -> Result<Vec<Digest>, (usize, String)> {
    let read = |(index, source): (usize, &KeySource)| {
        let secret = source.read().map_err(|why| (index, why))?;
        if is_token(secret.expose()) {
            Ok(digest_of(secret.expose()))
        } else {
            let why = "a bearer is shown in a header field: it is not empty, and has no spaces and no control characters";
            Err((index, why.to_owned()))
        }
    };
    sources.iter().enumerate().map(read).collect()
}

impl PartialEq for Bearers {
    fn eq(&self, other: &Self) -> bool {
        self.sources == other.sources
    }
}

impl Eq for Bearers {}

impl fmt::Debug for Bearers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bearers").field("sources", &self.sources).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Bearers, Shown, digest_of};
    use crate::certificate::KeySource;
    use crate::http1::RequestHead;
    use crate::secret::Secret;

    #[test]
    fn a_bearer_stands_in_one_field_of_its_scheme() {
        let shown = |fields: &[(&[u8], &[u8])], wanted: Shown<'_>| {
            let head = RequestHead::new(Method::GET, b"/", fields);
            assert_eq!(Shown::by(&head), wanted, "{fields:?}");
        };
        let (authorization, proxy): (&[u8], &[u8]) = (b"authorization", b"Proxy-Authorization");
        shown(&[], Shown::Nothing);
        shown(&[(authorization, b"Bearer abc")], Shown::Token(b"abc"));
        shown(&[(authorization, b"bEARER   a.b~c+/=")], Shown::Token(b"a.b~c+/="));
        shown(&[(proxy, b"Bearer abc")], Shown::Token(b"abc"));
        shown(&[(authorization, b"Bearer dummy"), (proxy, b"Bearer abc")], Shown::Token(b"abc"));
        shown(&[(authorization, b"Bearer abc"), (proxy, b"Basic eA==")], Shown::Other);
        shown(&[(authorization, b"Bearer abc"), (authorization, b"Bearer abc")], Shown::Other);
        shown(&[(proxy, b"Bearer abc"), (proxy, b"Bearer abc")], Shown::Other);
        for value in ["", "abc", "Bearer", "Bearer ", "Bearerabc", "Bearer a b", "Basic abc", "Bearer \u{e4}"]
        {
            shown(&[(authorization, value.as_bytes())], Shown::Other);
        }
    }

    #[test]
    fn each_of_several_bearers_counts_and_nothing_near_them() {
        let source = |text: &str| KeySource::Value(Secret::from(text));
        let bearers = Bearers::read(vec![source("first-bearer"), source("second\n")]).expect("bearers");
        for (token, may_call) in [
            ("first-bearer", true),
            ("second", true),
            ("first-beare", false),
            ("first-bearers", false),
            ("First-bearer", false),
            ("second\n", false),
            ("", false),
        ] {
            assert_eq!(bearers.have(&digest_of(token.as_bytes())), may_call, "{token}");
        }
        assert!(!format!("{bearers:?}").contains("bearer\""));
        for wrong in ["", "two words", "tab\there"] {
            let (index, why) = Bearers::read(vec![source("right"), source(wrong)]).expect_err(wrong);
            assert_eq!(index, 1);
            assert!(wrong.is_empty() || !why.contains(wrong), "{why}");
        }
    }
}
