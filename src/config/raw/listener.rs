//! `[listeners.NAME]` and `[egress.NAME]` as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::choice::{Listed, Several, Texts};
use crate::config::raw::scalar::{Size, TextOr, Time};
use crate::config::raw::secret::SecretReference;
use crate::rate::Rate;

/// Where apps connect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listener {
    /// `"127.0.0.1:8080"`, `"unix:/run/bearerd/app.sock"`, or `"fd:NAME"` for a socket of systemd.
    pub(crate) bind: Option<String>,
    /// It may be bound beyond loopback without `tls.client_ca`: everyone who reaches it may call;
    /// default `false`.
    pub(crate) allow_remote: Option<bool>,
    /// Apps call by `https`; default plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Names that `Host` may have beside `localhost`, `127.0.0.1` and `[::1]`.
    pub(crate) hosts: Option<Vec<String>>,
    /// Who may call; default everyone who reaches it over TCP, bearerd's own user over a Unix socket.
    pub(crate) allow: Option<Allow>,
    /// Apps may begin and end logins of their users below `/.bearerd/`; default `false`.
    pub(crate) control: Option<bool>,
    /// Connections at once; beyond, accepting pauses; default 4096.
    pub(crate) max_connections: Option<u32>,
    /// Bytes of a request head; default `"32KiB"`.
    pub(crate) max_head: Option<Size>,
    /// Fields of a request head; default 100.
    pub(crate) max_fields: Option<u32>,
    /// Bytes of a request target; default `"16KiB"`.
    pub(crate) max_target: Option<Size>,
    /// Streams at once on an HTTP/2 connection; default 100.
    pub(crate) max_streams: Option<u32>,
    /// Frames in a time that bring nothing; beyond, an HTTP/2 connection is ended; default `"2000/s"`.
    pub(crate) max_fruitless_frames: Option<Rate>,
    /// Streams that come to nothing, beyond those that are answered; beyond, an HTTP/2 connection is ended;
    /// default 100.
    pub(crate) max_fruitless_streams: Option<u32>,
    /// CONTINUATION frames of one head; beyond, an HTTP/2 connection is ended; default 64.
    pub(crate) max_continuations: Option<u32>,
    /// Wrong tokens of callers in a time; beyond, none is looked at; default `"50/10s"`.
    pub(crate) max_wrong_bearers: Option<Rate>,
    /// For a whole request head; default `"10s"`.
    pub(crate) head_timeout: Option<Time>,
    /// Between requests; default `"75s"`.
    pub(crate) idle_timeout: Option<Time>,
    /// Without progress of a request body; default `"30s"`.
    pub(crate) body_timeout: Option<Time>,
    /// Of a request body that was answered before its end; beyond, the connection or stream ends; default
    /// `"256KiB"`.
    pub(crate) max_skipped: Option<Size>,
    /// For the rest of such a body; default `"2s"`.
    pub(crate) skip_timeout: Option<Time>,
}

/// What a listener shows, and which certificates it asks for. All files are watched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// A PEM file with the certificate, and its chain behind it.
    pub(crate) cert: Option<String>,
    /// The private key of `cert`: a PEM file, or a reference such as `{ systemd = "app-key" }`.
    pub(crate) key: Option<TextOr<SecretReference>>,
    /// A PEM file of certificate authorities: every caller must show a certificate of one of them.
    pub(crate) client_ca: Option<String>,
    /// Names of which a caller's certificate must have one: DNS names and URIs, or the common name
    /// of a certificate that has neither; default any.
    pub(crate) allow_names: Option<Vec<String>>,
}

/// Who may call: of each list that is there a caller must have one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Allow {
    /// User identifiers, over a Unix socket or TCP on loopback.
    pub(crate) uids: Option<Vec<u32>>,
    /// Group identifiers, over a Unix socket.
    pub(crate) gids: Option<Vec<u32>>,
    /// Control groups, such as `"/system.slice/app.service"`, over a Unix socket; those below count too,
    /// and `*` stands for any bytes of one segment.
    pub(crate) cgroups: Option<Vec<String>>,
    /// Names of which a caller's certificate must have one among its alternative names: DNS names and
    /// URIs.
    pub(crate) names: Option<Vec<String>>,
    /// A secret that requests show as `Authorization: Bearer`, or a list of such: each counts.
    pub(crate) bearer: Option<Several<SecretReference>>,
    /// Service accounts of Kubernetes, by whose tokens requests come.
    pub(crate) service_accounts: Option<ServiceAccounts>,
    /// On a route with subjects: the subjects whose tokens may be used; `*` stands for any bytes.
    pub(crate) subjects: Option<Vec<String>>,
}

impl Listed for Allow {
    const WANTED: &'static str = "a table such as { uids = [1001] }, or a list of them";
}

/// Service accounts of Kubernetes that may call.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServiceAccounts {
    /// Who signs their tokens: the `iss`, such as `"https://kubernetes.default.svc.cluster.local"`.
    pub(crate) issuer: Option<String>,
    /// Whom the tokens are for: one of their `aud`.
    pub(crate) audience: Option<String>,
    /// Which may call, as `"NAMESPACE/NAME"`; either may be `*`.
    pub(crate) accounts: Option<Vec<String>>,
    /// The keys of the signatures: a URL, or a file, watched for changes.
    pub(crate) jwks: Option<String>,
    /// What is shown as a bearer to whoever has the keys.
    pub(crate) token: Option<SecretReference>,
    /// How the keys are asked for, by the name of an egress.
    pub(crate) egress: Option<String>,
}

/// How connections leave.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Egress {
    /// The local address to connect from.
    pub(crate) source: Option<String>,
    /// An outbound HTTP proxy, `"http://proxy.internal:3128"`, that all connections go through by
    /// CONNECT.
    pub(crate) proxy: Option<String>,
    /// The user that the proxy knows.
    pub(crate) proxy_user: Option<String>,
    /// That user's password. A file is watched for changes.
    pub(crate) proxy_password: Option<SecretReference>,
    /// A PEM file of certificate authorities, in place of the system's. Watched for changes.
    pub(crate) ca: Option<String>,
    /// A PEM file with a client certificate and its chain. Watched for changes.
    pub(crate) client_cert: Option<String>,
    /// The private key of `client_cert`: a PEM file, or a secret reference. Watched for changes.
    pub(crate) client_key: Option<TextOr<SecretReference>>,
    /// The lowest TLS version, `"1.2"` (the default) or `"1.3"`.
    pub(crate) min_tls: Option<MinimumTls>,
    /// Never use IPv6; default `false`.
    pub(crate) ipv4_only: Option<bool>,
    /// Names may resolve to loopback and private addresses; default `false`.
    pub(crate) allow_private: Option<bool>,
    /// Names that are looked up at once; default 16.
    pub(crate) max_lookups: Option<u32>,
    /// Servers whose TLS sessions are kept, to be resumed; default 32.
    pub(crate) max_tls_servers: Option<u32>,
    /// The address that the world has to see connections leave from: asked for at start and every hour.
    pub(crate) expect_address: Option<ExpectAddress>,
}

/// The address that the world has to see.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExpectAddress {
    /// The address, or several behind one exit; default `source`.
    pub(crate) address: Option<Texts>,
    /// A service of your own that answers with the address that it was asked from.
    pub(crate) url: Option<String>,
    /// Where in its JSON answer the address stands, such as `"/client/ip"`; default the whole answer, or `ip`,
    /// `address` or `origin` of an object.
    pub(crate) json: Option<String>,
    /// Between two checks; default `"1h"`.
    pub(crate) every: Option<Time>,
    /// Open no connection before an expected address was seen, also while the service cannot be reached.
    pub(crate) strict: Option<bool>,
}

/// The lowest TLS version.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum MinimumTls {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}
