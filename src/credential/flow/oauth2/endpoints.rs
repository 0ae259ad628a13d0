//! Where an OAuth 2 client asks: what the configuration says, and what the issuer says of itself.

use serde_json::Value;

use crate::credential::flow::json::Json;
use crate::credential::flow::{Exchange, MintError};
use crate::upstream::address::{is_metadata, is_metadata_name, is_private, literal};
use crate::upstream::{Origin, Scheme, Url};

/// The endpoints of one client, as configured. What is named here wins over what is discovered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// Who tells the others.
    pub issuer: Option<IssuerIdentifier>,
    /// The token endpoint (RFC 6749, section 3.2).
    pub token: Option<Url>,
    /// The authorization endpoint, which a browser is sent to (RFC 6749, section 3.1).
    pub authorization: Option<Url>,
    /// The device authorization endpoint (RFC 8628, section 3.1).
    pub device_authorization: Option<Url>,
    /// The revocation endpoint (RFC 7009, section 2).
    pub revocation: Option<Url>,
    /// The client shows a certificate: where the issuer has other endpoints for those that do, they are
    /// asked (RFC 8705, section 5).
    pub by_certificate: bool,
    /// Where plain HTTP may lead.
    pub plaintext: Plaintext,
}

/// An issuer's identifier (RFC 8414, section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerIdentifier {
    /// Exactly as the issuer writes it: it is compared byte for byte.
    pub text: String,
    /// The same as a URL.
    pub url: Url,
}

/// Where plain HTTP may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plaintext {
    /// Nowhere: a proxy elsewhere would see it.
    Nowhere,
    /// To this machine.
    #[default]
    Loopback,
    /// Anywhere: the credential says `allow_plaintext`.
    Anywhere,
}

/// What is known of an issuer when it is asked: its metadata (RFC 8414, section 2; OpenID Connect
/// Discovery 1.0, section 3) under what is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// How it calls itself, if that was discovered.
    pub issuer: Option<String>,
    /// The token endpoint.
    pub token: Option<Url>,
    /// The authorization endpoint.
    pub authorization: Option<Url>,
    /// The device authorization endpoint.
    pub device_authorization: Option<Url>,
    /// Where authorization requests are pushed to (RFC 9126, section 2).
    pub pushed_authorization: Option<Url>,
    /// Authorization requests must be pushed.
    pub requires_pushed_authorization: bool,
    /// Where tokens are revoked (RFC 7009).
    pub revocation: Option<Url>,
    /// Its keys (RFC 7517).
    pub jwks: Option<Url>,
    /// Endpoints for clients that show a certificate (RFC 8705, section 5).
    pub aliases: Aliases,
    /// Further endpoints at which clients show who they are, and that bearerd never asks: where tokens are
    /// looked into (RFC 7662), and where people are asked by way of another channel (CIBA).
    pub further: Vec<Url>,
    /// It promises `iss` in authorization responses (RFC 9207, section 3).
    pub promises_iss: bool,
}

/// Endpoints that take the place of others for clients that show a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Aliases {
    /// The token endpoint.
    pub token: Option<Url>,
    /// The device authorization endpoint.
    pub device_authorization: Option<Url>,
    /// Where authorization requests are pushed to.
    pub pushed_authorization: Option<Url>,
    /// Where tokens are revoked.
    pub revocation: Option<Url>,
}

impl Endpoints {
    /// The client's only endpoint is a token endpoint.
    pub fn of_token(token: Url) -> Self {
        Self { token: Some(token), ..Self::default() }
    }

    /// The origin that is asked for tokens, as far as it is known without asking.
    pub fn origin(&self) -> Option<&Origin> {
        let issuer = || self.issuer.as_ref().map(|issuer| &issuer.url);
        self.token.as_ref().or_else(issuer).map(|url| &url.origin)
    }

    /// What is known of the issuer, which is asked for the rest if there is one.
    pub(in crate::credential) async fn resolve(
        &self,
        exchange: &Exchange<'_>,
    ) -> Result<Metadata, MintError> {
        let mut metadata = match &self.issuer {
            None => Metadata::default(),
            Some(issuer) => (*exchange.discover(issuer, self.plaintext).await?).clone(),
        };
        let over = |under: &mut Option<Url>, upper: &Option<Url>| {
            if upper.is_some() {
                under.clone_from(upper);
            }
        };
        if self.by_certificate {
            let Aliases { token, device_authorization, pushed_authorization, revocation } =
                metadata.aliases.clone();
            over(&mut metadata.token, &token);
            over(&mut metadata.device_authorization, &device_authorization);
            over(&mut metadata.pushed_authorization, &pushed_authorization);
            over(&mut metadata.revocation, &revocation);
        }
        over(&mut metadata.token, &self.token);
        over(&mut metadata.revocation, &self.revocation);
        over(&mut metadata.authorization, &self.authorization);
        over(&mut metadata.device_authorization, &self.device_authorization);
        Ok(metadata)
    }
}

impl Metadata {
    /// Reads the metadata of `issuer`. The error says what is wrong with it.
    pub(super) fn read(json: &Json, issuer: &IssuerIdentifier, plaintext: Plaintext) -> Result<Self, String> {
        let read = |name: &str, found: Option<&Value>| match found {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                let url: Url = text.parse().map_err(|why| format!("its `{name}` cannot be used: {why}"))?;
                check(&url, &issuer.url.origin, plaintext)
                    .map_err(|why| format!("its `{name}` cannot be used: {why}"))?;
                Ok(Some(url))
            }
            Some(_) => Err(format!("its `{name}` is not a text")),
        };
        let url = |name: &str| read(name, json.member(name));
        let alias = |name: &str| read(name, json.member("mtls_endpoint_aliases").and_then(|it| it.get(name)));
        let is_set = |name: &str| json.member(name) == Some(&Value::Bool(true));
        // One that cannot be used does no harm.
        let further = ["introspection_endpoint", "backchannel_authentication_endpoint"];
        let further =
            further.iter().flat_map(|name| [url(name), alias(name)]).filter_map(Result::ok).flatten();
        Ok(Self {
            issuer: Some(issuer.text.clone()),
            token: url("token_endpoint")?,
            authorization: url("authorization_endpoint")?,
            device_authorization: url("device_authorization_endpoint")?,
            pushed_authorization: url("pushed_authorization_request_endpoint")?,
            requires_pushed_authorization: is_set("require_pushed_authorization_requests"),
            revocation: url("revocation_endpoint")?,
            jwks: url("jwks_uri")?,
            aliases: Aliases {
                token: alias("token_endpoint")?,
                device_authorization: alias("device_authorization_endpoint")?,
                pushed_authorization: alias("pushed_authorization_request_endpoint")?,
                revocation: alias("revocation_endpoint")?,
            },
            further: further.collect(),
            promises_iss: is_set("authorization_response_iss_parameter_supported"),
        })
    }

    /// The endpoints that take secrets and give tokens or what leads to them: no app is to reach them.
    pub(super) fn secret_endpoints(&self) -> impl Iterator<Item = &Url> {
        let Aliases { token, device_authorization, pushed_authorization, revocation } = &self.aliases;
        [&self.token, &self.device_authorization, &self.pushed_authorization, &self.revocation]
            .into_iter()
            .chain([token, device_authorization, pushed_authorization, revocation])
            .flatten()
            .chain(&self.further)
    }

    /// An endpoint that the exchange cannot do without; `name` is its name in the metadata.
    pub(in crate::credential) fn needed<'a>(
        endpoint: Option<&'a Url>,
        name: &str,
    ) -> Result<&'a Url, MintError> {
        endpoint.ok_or_else(|| MintError::Stubborn {
            message: format!("neither the configuration nor the issuer's metadata names a `{name}`"),
        })
    }
}

/// What an issuer names is not what a person has configured: it leads nowhere that only this machine
/// reaches, and over no plain HTTP, unless the issuer itself is there.
fn check(url: &Url, issuer: &Origin, plaintext: Plaintext) -> Result<(), &'static str> {
    let host = &url.origin;
    let is_here = |origin: &Origin| origin.is_loopback() || literal(&origin.host).is_some_and(is_private);
    if host.scheme != Scheme::Https {
        match plaintext {
            Plaintext::Anywhere => {}
            Plaintext::Loopback if host.is_loopback() => {}
            Plaintext::Loopback | Plaintext::Nowhere => return Err("it is plain HTTP"),
        }
    }
    if is_metadata_name(&host.host) || literal(&host.host).is_some_and(is_metadata) {
        return Err("it is the metadata service of a cloud");
    }
    if is_here(host) && !is_here(issuer) {
        return Err("it leads to a private address, and the issuer is elsewhere");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{IssuerIdentifier, Metadata, Plaintext};
    use crate::credential::flow::json::Json;
    use crate::secret::Secret;

    fn read(issuer: &str, token: &str, plaintext: Plaintext) -> Result<Metadata, String> {
        let url = issuer.parse().expect("a URL");
        let issuer = IssuerIdentifier { text: issuer.to_owned(), url };
        let json = Json::parse(&Secret::from(format!(r#"{{"token_endpoint": {token}}}"#))).expect("JSON");
        Metadata::read(&json, &issuer, plaintext)
    }

    #[test]
    fn endpoints_are_https_or_on_this_machine_beside_their_issuer() {
        let far = "https://issuer.example";
        for (issuer, token, plaintext) in [
            (far, "https://login.example/token", Plaintext::Loopback),
            (far, "http://login.example/token", Plaintext::Anywhere),
            ("http://127.0.0.1:1", "http://localhost:2/token", Plaintext::Loopback),
            ("https://10.0.0.1", "https://10.0.0.2/token", Plaintext::Nowhere),
        ] {
            let metadata = read(issuer, &format!("\"{token}\""), plaintext).expect(token);
            assert_eq!(metadata.token.expect("an endpoint").to_string(), token);
        }
        for (issuer, token, plaintext, what) in [
            (far, "\"http://issuer.example/token\"", Plaintext::Loopback, "plain HTTP"),
            ("http://localhost:1", "\"http://localhost:1/token\"", Plaintext::Nowhere, "plain HTTP"),
            (far, "\"https://127.0.0.1/token\"", Plaintext::Anywhere, "private address"),
            (far, "\"https://localhost/token\"", Plaintext::Loopback, "private address"),
            (far, "\"https://0x7f000001/token\"", Plaintext::Loopback, "private address"),
            (far, "\"https://192.168.1.1/token\"", Plaintext::Loopback, "private address"),
            (far, "\"https://169.254.169.254/token\"", Plaintext::Loopback, "metadata service"),
            (
                "https://10.0.0.1",
                "\"https://[fd00:ec2::254]/token\"",
                Plaintext::Loopback,
                "metadata service",
            ),
            (far, "\"https://metadata.google.internal/token\"", Plaintext::Loopback, "metadata service"),
            (far, "\"https://[64:ff9b::a00:1]/token\"", Plaintext::Loopback, "private address"),
            (far, "\"/token\"", Plaintext::Loopback, "absolute"),
            (far, "\"https://a@b/token\"", Plaintext::Loopback, "user information"),
            (far, "7", Plaintext::Loopback, "not a text"),
        ] {
            let error = read(issuer, token, plaintext).expect_err(token);
            assert!(error.contains(what) && error.contains("token_endpoint"), "{token}: {error}");
        }
    }
}
