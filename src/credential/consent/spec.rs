//! How a person is asked, as configured.

use crate::template::Template;
use crate::upstream::Url;

/// What a grant with a person needs beside its endpoints.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConsentSpec {
    /// Where the browser comes back to, exactly as it is registered; `None` is `/oauth/callback` of the
    /// admin listener.
    pub redirect_uri: Option<String>,
    /// The authorization request is pushed (RFC 9126) also where the issuer does not say that it can.
    pub par: bool,
    /// Further parameters of the authorization request, or of the device authorization request.
    pub params: Vec<(String, Template)>,
    /// Parameters that whoever begins a login may add, such as `login_hint`.
    pub accepts: Vec<String>,
    /// Where a browser may be sent on to after a consent, beside this machine: an origin, and a path
    /// below which everything is allowed.
    pub return_to: Vec<Url>,
    /// The person types a one-time password, in place of consenting on another device.
    pub otp: Option<OtpSpec>,
}

/// A device authorization that ends with a one-time password: the issuer sends it to the person, who
/// types it where the login was begun. Nothing is polled.
#[derive(Debug, Clone, PartialEq)]
pub struct OtpSpec {
    /// How the request for the password is written.
    pub body: OtpBody,
    /// Its fixed fields.
    pub params: Vec<(String, Template)>,
    /// What is asked of whoever logs in, one of them: the name in `authorize`, and the field.
    pub asks: Vec<(String, String)>,
    /// What of the answer the person may see, such as where the password was sent: the name, and a JSON
    /// pointer.
    pub shows: Vec<(String, String)>,
    /// The field of the token request that takes the password.
    pub field: String,
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtpBody {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`.
    Json,
}
