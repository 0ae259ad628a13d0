//! What stands at a path below `/v1/credentials/`.

use http::Method;

use crate::credential::{CredentialName, Subject};

/// What stands at a path below `/v1/credentials/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `NAME`.
    Own(CredentialName),
    /// `NAME/authorize`.
    Authorize(CredentialName),
    /// `NAME/callback`.
    Callback(CredentialName),
    /// `NAME/logout`.
    Logout(CredentialName),
    /// `NAME/subjects`.
    Subjects(CredentialName),
    /// `NAME/subjects/SUBJECT`.
    Subject(CredentialName, Subject),
}

impl Place {
    /// The place of a path's segments behind `credentials`; percent escapes are decoded.
    pub fn at(segments: &[&str]) -> Option<Self> {
        Some(match segments {
            [name] => Self::Own(credential(name)?),
            [name, "authorize"] => Self::Authorize(credential(name)?),
            [name, "callback"] => Self::Callback(credential(name)?),
            [name, "logout"] => Self::Logout(credential(name)?),
            [name, "subjects"] => Self::Subjects(credential(name)?),
            [name, "subjects", subject] => {
                Self::Subject(credential(name)?, Subject::new(&decoded(subject)?).ok()?)
            }
            _ => return None,
        })
    }

    /// The methods that it takes, as `Allow` lists them.
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Authorize(_) => "GET, HEAD, POST",
            Self::Callback(_) | Self::Logout(_) => "POST",
            Self::Own(_) | Self::Subjects(_) => "GET, HEAD",
            Self::Subject(..) => "GET, HEAD, DELETE",
        }
    }

    /// Whether it takes a method.
    pub fn takes(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|taken| taken == method.as_str())
    }

    /// The credential that is meant.
    pub fn credential(&self) -> &CredentialName {
        match self {
            Self::Own(name)
            | Self::Authorize(name)
            | Self::Callback(name)
            | Self::Logout(name)
            | Self::Subjects(name)
            | Self::Subject(name, _) => name,
        }
    }

    /// Whether an app may ask for it: for the logins of its own users, and not for a list of them.
    pub fn is_for_apps(&self) -> bool {
        !matches!(self, Self::Subjects(_))
    }
}

/// A credential's name in a path, percent escapes decoded.
pub fn credential(segment: &str) -> Option<CredentialName> {
    let name = decoded(segment)?;
    (!name.is_empty()).then(|| CredentialName::from(name.as_str()))
}

fn decoded(segment: &str) -> Option<String> {
    Some(percent_encoding::percent_decode_str(segment).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::Place;
    use crate::credential::Subject;

    #[test]
    fn paths_are_found_exactly_and_subjects_may_have_any_character() {
        let at = |path: &str| Place::at(&path.split('/').collect::<Vec<_>>());
        assert_eq!(at("a/authorize"), Some(Place::Authorize("a".into())));
        let subject = Subject::new("ann/\u{e9} @x").expect("a subject");
        assert_eq!(at("a/subjects/ann%2F%C3%A9%20@x"), Some(Place::Subject("a".into(), subject)));
        for nowhere in [
            "",
            "a/authorize/",
            "/authorize",
            "a/subjects/",
            "a/subjects/x/y",
            "a/subjects/%00",
            "a/subjects/%ff",
        ] {
            assert_eq!(at(nowhere), None, "{nowhere}");
        }
    }
}
