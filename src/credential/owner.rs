//! Whose token: a credential, and of its subjects which.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::credential::CredentialName;

/// Whose token of a credential: what the app calls the person (or tenant) for whom it asks.
///
/// A text of 1 to 256 bytes without control characters, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

/// A text that can be no subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotASubject;

impl Subject {
    /// The longest subject, in bytes.
    pub const LONGEST: usize = 256;

    /// A subject by its text.
    pub fn new(text: &str) -> Result<Self, NotASubject> {
        Self::check(text).map(|()| Self(text.into()))
    }

    /// Whether a text can be a subject.
    pub fn check(text: &str) -> Result<(), NotASubject> {
        let fits = (1..=Self::LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(()) } else { Err(NotASubject) }
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A map by subjects can be asked with a borrowed text.
impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for NotASubject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a subject has 1 to {} bytes and no control characters", Subject::LONGEST)
    }
}

impl std::error::Error for NotASubject {}

/// Who has a token, a life cycle and a record of its own: a credential, or one of its subjects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The credential.
    pub credential: CredentialName,
    /// Which of its subjects; `None` for the token that the credential has by itself.
    pub subject: Option<Subject>,
}

impl Owner {
    /// A subject of a credential.
    pub fn subject(credential: CredentialName, subject: Subject) -> Self {
        Self { credential, subject: Some(subject) }
    }

    /// How the log calls it: without the name of its subject.
    pub fn in_log(&self) -> InLog<'_> {
        InLog(self)
    }
}

/// The owner of the token that a credential has by itself.
impl From<CredentialName> for Owner {
    fn from(credential: CredentialName) -> Self {
        Self { credential, subject: None }
    }
}

impl From<&str> for Owner {
    fn from(credential: &str) -> Self {
        CredentialName::from(credential).into()
    }
}

impl From<&CredentialName> for Owner {
    fn from(credential: &CredentialName) -> Self {
        credential.clone().into()
    }
}

/// `name`, or `name (subject)`.
impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credential.fmt(formatter)?;
        match &self.subject {
            Some(subject) => write!(formatter, " ({subject})"),
            None => Ok(()),
        }
    }
}

/// How the log calls a subject: by the first eight digits of the SHA-256 of its name, which may be a telephone
/// number. Whoever knows the name finds its lines; whoever reads the log learns no name from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pseudonym([u8; 4]);

impl Pseudonym {
    /// The pseudonym of a subject of this name.
    pub fn of(subject: &str) -> Self {
        let mut first = [0; 4];
        first.copy_from_slice(&digest(&SHA256, subject.as_bytes()).as_ref()[..4]);
        Self(first)
    }
}

/// No name of a subject that is part of a path can look so.
impl fmt::Display for Pseudonym {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{:08x}", u32::from_be_bytes(self.0))
    }
}

/// An owner as the log calls it: `name`, or `name (#5e884898)`.
#[derive(Debug, Clone, Copy)]
pub struct InLog<'a>(&'a Owner);

impl fmt::Display for InLog<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.credential.fmt(formatter)?;
        match &self.0.subject {
            Some(subject) => write!(formatter, " ({})", Pseudonym::of(subject.as_str())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NotASubject, Owner, Subject};

    #[test]
    fn a_subject_has_1_to_256_bytes_and_no_control_characters() {
        for good in ["a", "91-98765", "Ä user@example.org", &"x".repeat(256)] {
            assert_eq!(Subject::new(good).as_ref().map(Subject::as_str), Ok(good));
        }
        for bad in ["", "a\nb", "a\0", "\u{85}", &"x".repeat(257)] {
            assert_eq!(Subject::new(bad), Err(NotASubject));
        }
    }

    #[test]
    fn an_owner_is_shown_by_its_credential_and_its_subject() {
        let owner = Owner::from("digital");
        assert_eq!(owner.to_string(), "digital");
        let alice = Subject::new("alice").expect("a subject");
        assert_eq!(Owner::subject("digital".into(), alice).to_string(), "digital (alice)");
    }

    #[test]
    fn the_log_calls_a_subject_by_the_beginning_of_its_digest() {
        assert_eq!(Owner::from("digital").in_log().to_string(), "digital");
        // printf password | sha256sum | cut -c1-8
        let owner = Owner::subject("digital".into(), Subject::new("password").expect("a subject"));
        assert_eq!(owner.in_log().to_string(), "digital (#5e884898)");
    }
}
