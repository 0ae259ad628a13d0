//! `[credentials.NAME]` as it is written: the keys of all flows in one table, since a preset may
//! bring the flow.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::config::raw::choice::{SwitchOr, Texts};
use crate::config::raw::consent::Otp;
use crate::config::raw::inject::{Inject, RefusalRule, Verify};
use crate::config::raw::rotate::{Deadline, Rotate};
use crate::config::raw::scalar::{Map, Plain, TextOr, Time};
use crate::config::raw::secret::SecretReference;
use crate::config::raw::step::LoginStep;
use crate::rate::Rate;

/// What is obtained and kept fresh.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Credential {
    /// A vendor's flow and injection; `bearerd presets` lists them.
    pub(crate) preset: Option<String>,
    /// Which of the vendor's environments.
    pub(crate) environment: Option<String>,
    /// The vendor's address, in place of the preset's; `{base_url}` in templates.
    pub(crate) base_url: Option<String>,
    /// How it is obtained; a preset says it too.
    pub(crate) flow: Option<FlowKind>,

    /// How exchanges leave, by the name of an egress.
    pub(crate) egress: Option<String>,
    /// How long a request waits for a token; default `"5s"`.
    pub(crate) wait: Option<Time>,
    /// How long before its end to renew; default between 70 % and 80 % of the lifetime.
    pub(crate) renew_before: Option<Time>,
    /// The lifetime where the issuer names none; default `"1h"`.
    pub(crate) default_lifetime: Option<Time>,
    /// How long a token usually lives: what `bearerd forecast` goes by where no record tells.
    pub(crate) typical_lifetime: Option<Time>,
    /// At most so many renewals in so long a time, such as `"10/10m"`.
    pub(crate) max_renewals: Option<Rate>,
    /// How long a whole exchange may take; default `"30s"`.
    pub(crate) exchange_timeout: Option<Time>,
    /// Readiness does without it; default `false`.
    pub(crate) optional: Option<bool>,
    /// An exchange whose answer was lost may be repeated: the issuer has a grace window.
    pub(crate) retry_ambiguous: Option<bool>,
    /// Exchanges and requests may go over plain HTTP beyond loopback. Warned about.
    pub(crate) allow_plaintext: Option<bool>,
    /// Further URLs that routes to the same origin deny.
    pub(crate) token_endpoints: Option<Vec<String>>,
    /// A JSON pointer into the token answer, to the address that requests have to go to: a route that leads
    /// elsewhere gets no token.
    pub(crate) expect_upstream: Option<String>,
    /// What ends beside the token, where the token tells it.
    pub(crate) deadline: Option<Deadline>,
    /// What is put on requests: a table, or the name of one of `injections`.
    pub(crate) inject: Option<TextOr<Inject>>,
    /// Further ways to put it on requests, by names that `inject` of a route may say.
    pub(crate) injections: Map<Inject>,
    /// How the upstream says that the token is dead.
    pub(crate) refusal: Option<RefusalRule>,
    /// What the bodies of answers have to fit; none if they are not verified.
    pub(crate) verify: Option<TextOr<Verify>>,

    /// Secrets by the names that templates use.
    pub(crate) secrets: Map<SecretReference>,
    /// Plain values by the names that templates use.
    pub(crate) values: Map<Plain>,
    /// `login`: the same as `values`. `oauth2`: further form fields.
    pub(crate) params: Map<Plain>,

    /// `static`: the token.
    pub(crate) token: Option<SecretReference>,
    /// `static`: `"jwt"`, `"never"`, `{ after = "180d" }` or `{ at = "2026-12-31T00:00:00Z" }`.
    #[schemars(schema_with = "expires")]
    pub(crate) expires: Option<TextOr<Expires>>,

    /// `oauth2`: which grant.
    pub(crate) grant: Option<Grant>,
    /// `oauth2`: the issuer, exactly as it calls itself; its metadata names the endpoints.
    pub(crate) issuer: Option<String>,
    /// `oauth2`: the token endpoint, if not the discovered one.
    pub(crate) token_url: Option<String>,
    /// `oauth2`: the authorization endpoint, if not the discovered one.
    pub(crate) authorization_url: Option<String>,
    /// `oauth2`: the device authorization endpoint, if not the discovered one.
    pub(crate) device_authorization_url: Option<String>,
    /// `oauth2`: the client's identifier.
    pub(crate) client_id: Option<TextOr<SecretReference>>,
    /// `oauth2`: the client's secret; for `private_key_jwt` its private key.
    pub(crate) client_secret: Option<SecretReference>,
    /// `oauth2`: the assertion of `private_key_jwt`.
    pub(crate) client_assertion: Option<SecretReference>,
    /// `oauth2`: how the client proves who it is; default `"basic"`.
    pub(crate) client_auth: Option<ClientAuth>,
    /// `oauth2`: a PEM file with the client's certificate and its chain, in place of the egress's.
    /// Watched for changes.
    pub(crate) client_cert: Option<String>,
    /// `oauth2`: the private key of `client_cert`: a PEM file, or a secret reference. Watched for changes.
    pub(crate) client_key: Option<TextOr<SecretReference>>,
    /// `oauth2`: tokens are bound to the client's certificate, which upstreams then want to see; default
    /// where `client_auth` is `"tls"`.
    pub(crate) certificate_bound: Option<bool>,
    /// `oauth2`: tokens are bound to a key (DPoP, RFC 9449): `true`, or a table with the key.
    pub(crate) dpop: Option<SwitchOr<Dpop>>,
    /// `oauth2`: how ID tokens are checked, over what the issuer's metadata says.
    pub(crate) id_token: Option<IdToken>,
    /// `oauth2`: where tokens are revoked (RFC 7009); an `issuer` tells it too.
    pub(crate) revocation_url: Option<String>,
    /// `oauth2`: the token is revoked when the process ends; default `false`.
    pub(crate) revoke_on_exit: Option<bool>,
    /// `oauth2`: the scopes asked for.
    pub(crate) scopes: Option<Vec<String>>,
    /// `oauth2`: the user of the grant `password`.
    pub(crate) username: Option<TextOr<SecretReference>>,
    /// `oauth2`: the password of the grant `password`.
    pub(crate) password: Option<SecretReference>,
    /// `oauth2`: the token of the grant `refresh_token`.
    pub(crate) refresh_token: Option<SecretReference>,
    /// `oauth2`: `false` where the issuer never gives another refresh token; default `true`.
    pub(crate) rotates: Option<bool>,
    /// `oauth2`: errors of the token endpoint that mean "the input is wrong", beside those of RFC 6749.
    pub(crate) rejected_errors: Option<Vec<String>>,
    /// `oauth2`: the assertion of the grant `jwt_bearer`.
    pub(crate) assertion: Option<SecretReference>,
    /// `oauth2`: the token that the grant `token_exchange` exchanges.
    pub(crate) subject_token: Option<SecretReference>,
    /// `oauth2`: its type, `"jwt"`, `"access_token"`, `"id_token"`, `"refresh_token"`, `"saml1"`, `"saml2"`
    /// or any URI; default `"jwt"`, for an output of another credential that output's.
    pub(crate) subject_token_type: Option<String>,
    /// `oauth2`: the token of whoever acts for the subject of a `token_exchange`.
    pub(crate) actor_token: Option<SecretReference>,
    /// `oauth2`: its type.
    pub(crate) actor_token_type: Option<String>,
    /// `oauth2`: what type of token a `token_exchange` is to bring.
    pub(crate) requested_token_type: Option<String>,
    /// `oauth2`: for whom the token is to be, by the name that the issuer knows; one or several.
    pub(crate) audience: Option<Texts>,
    /// `oauth2`: for which resources the token is to be, by absolute URI (RFC 8707); one or several.
    pub(crate) resource: Option<Texts>,
    /// `oauth2`: where a browser comes back to, exactly as it is registered; default
    /// `/oauth/callback` of the admin listener.
    pub(crate) redirect_uri: Option<String>,
    /// `oauth2`: push the authorization request also if the issuer does not say that it can.
    pub(crate) par: Option<bool>,
    /// `oauth2`: further parameters of the authorization request.
    pub(crate) authorization_params: Map<Plain>,
    /// `oauth2`: parameters of the authorization request that whoever begins a login may add.
    pub(crate) authorize_accepts: Option<Vec<String>>,
    /// `oauth2`: where a browser may be sent on to after a login, beside this machine.
    pub(crate) return_to: Option<Vec<String>>,
    /// `oauth2`: the grant `device_code` ends with a one-time password.
    pub(crate) otp: Option<Otp>,
    /// `oauth2`: further outputs, by JSON pointer into the token answer.
    pub(crate) outputs: Map<String>,

    /// `login`: the exchanges.
    pub(crate) steps: Option<Vec<LoginStep>>,
    /// `login`: how long before its end the value is replaced by `rotate.steps`; `"0"` never.
    pub(crate) rotate_before: Option<Time>,
    /// `login`: how the value that `steps` read is replaced before it ends.
    pub(crate) rotate: Option<Rotate>,
}

/// How a credential is obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FlowKind {
    /// A token that somebody else made.
    Static,
    /// OAuth 2.
    OAuth2,
    /// A vendor's own login.
    Login,
}

impl FlowKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::OAuth2 => "oauth2",
            Self::Login => "login",
        }
    }
}

/// When a static token ends, as an editor knows it.
fn expires(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "enum": ["jwt", "never"] }, generator.subschema_for::<Expires>()] })
}

/// When a static token ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [{ "required": ["after"] }, { "required": ["at"] }]))]
pub(crate) struct Expires {
    /// So long after it was made.
    pub(crate) after: Option<Time>,
    /// At this time (RFC 3339).
    pub(crate) at: Option<String>,
}

/// The key that tokens are bound to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dpop {
    /// A private key: PEM or JWK. Without one, a key is made at each start.
    pub(crate) key: Option<SecretReference>,
    /// What it signs by: `ES256`, `EdDSA`, `RS256`, `PS256` and their longer kin; default by the key.
    pub(crate) alg: Option<String>,
}

/// How ID tokens are checked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IdToken {
    /// Who makes them (`iss`); default the credential's `issuer`.
    pub(crate) issuer: Option<String>,
    /// Where the keys of their signatures lie; an `issuer` tells it too.
    pub(crate) jwks_url: Option<String>,
    /// Whom they are for (`aud`), if that is not the client.
    pub(crate) audience: Option<String>,
}

/// The grants of OAuth 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grant {
    /// RFC 6749, section 4.4.
    ClientCredentials,
    /// RFC 6749, section 6.
    RefreshToken,
    /// RFC 6749, section 4.3.
    Password,
    /// RFC 7523, section 2.1.
    JwtBearer,
    /// RFC 6749, section 4.1.
    AuthorizationCode,
    /// RFC 8628.
    DeviceCode,
    /// RFC 8693.
    TokenExchange,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuth {
    /// In the `Authorization` field.
    Basic,
    /// In the form.
    Post,
    /// By an assertion, signed with a private key.
    PrivateKeyJwt,
    /// By an assertion, signed with the shared secret.
    ClientSecretJwt,
    /// By a client certificate.
    Tls,
    /// Not at all.
    None,
}

/// Keys that belong to some flows only.
pub(crate) const FLOW_KEYS: &[(&str, &[FlowKind])] = &[
    ("params", &[FlowKind::Static, FlowKind::OAuth2, FlowKind::Login]),
    ("token", &[FlowKind::Static]),
    ("expires", &[FlowKind::Static]),
    ("grant", &[FlowKind::OAuth2]),
    ("issuer", &[FlowKind::OAuth2]),
    ("token_url", &[FlowKind::OAuth2]),
    ("authorization_url", &[FlowKind::OAuth2]),
    ("device_authorization_url", &[FlowKind::OAuth2]),
    ("client_id", &[FlowKind::OAuth2]),
    ("client_secret", &[FlowKind::OAuth2]),
    ("client_assertion", &[FlowKind::OAuth2]),
    ("client_auth", &[FlowKind::OAuth2]),
    ("scopes", &[FlowKind::OAuth2]),
    ("username", &[FlowKind::OAuth2]),
    ("password", &[FlowKind::OAuth2]),
    ("refresh_token", &[FlowKind::OAuth2]),
    ("rotates", &[FlowKind::OAuth2]),
    ("rejected_errors", &[FlowKind::OAuth2]),
    ("expect_upstream", &[FlowKind::OAuth2, FlowKind::Login]),
    ("assertion", &[FlowKind::OAuth2]),
    ("client_cert", &[FlowKind::OAuth2]),
    ("client_key", &[FlowKind::OAuth2]),
    ("certificate_bound", &[FlowKind::OAuth2]),
    ("dpop", &[FlowKind::OAuth2]),
    ("id_token", &[FlowKind::OAuth2]),
    ("revocation_url", &[FlowKind::OAuth2]),
    ("revoke_on_exit", &[FlowKind::OAuth2]),
    ("subject_token", &[FlowKind::OAuth2]),
    ("subject_token_type", &[FlowKind::OAuth2]),
    ("actor_token", &[FlowKind::OAuth2]),
    ("actor_token_type", &[FlowKind::OAuth2]),
    ("requested_token_type", &[FlowKind::OAuth2]),
    ("audience", &[FlowKind::OAuth2]),
    ("resource", &[FlowKind::OAuth2]),
    ("redirect_uri", &[FlowKind::OAuth2]),
    ("par", &[FlowKind::OAuth2]),
    ("authorization_params", &[FlowKind::OAuth2]),
    ("authorize_accepts", &[FlowKind::OAuth2]),
    ("return_to", &[FlowKind::OAuth2]),
    ("otp", &[FlowKind::OAuth2]),
    ("outputs", &[FlowKind::OAuth2]),
    ("steps", &[FlowKind::Login]),
    ("rotate_before", &[FlowKind::Login]),
    ("rotate", &[FlowKind::Login]),
];
