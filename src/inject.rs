//! Putting a credential on a request: what is injected replaces whatever the app sent under that
//! name, in any case or spelling.
//!
//! An [`Injection`] is what the configuration says; [`Injection::prepare`] renders it once per
//! generation into a [`Prepared`], whose field values are marked sensitive (hyper's `Debug` and the
//! HPACK encoder obey that).

use http::HeaderName;

use crate::template::Template;

/// What is put on a request: templates over a credential's outputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injection {
    /// Header fields, in the order of the configuration.
    pub headers: Vec<(HeaderName, Template)>,
    /// Query parameters, by their decoded names.
    pub query: Vec<(String, Template)>,
    /// Cookies.
    pub cookies: Vec<(String, Template)>,
}
