//! `[server]`, `[admin]` and `[store]` as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::raw::choice::Several;
use crate::config::raw::scalar::Time;
use crate::config::raw::secret::SecretReference;
use crate::rate::Rate;

/// Threads, draining and logs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Data-plane threads; default the CPUs that the cgroup allows.
    pub(crate) workers: Option<u16>,
    /// How long SIGTERM waits for requests in flight; default `"25s"`.
    pub(crate) drain: Option<Time>,
    /// Which requests are logged; default `"off"`.
    pub(crate) access_log: Option<AccessLog>,
    /// Reload when the file changes; default `false`.
    pub(crate) watch: Option<bool>,
    /// A tracing filter; default `"info"`.
    pub(crate) log: Option<String>,
    /// How logs are written; default `"text"`.
    pub(crate) log_format: Option<LogFormat>,
    /// Exchanges at once with one issuer; default 32.
    pub(crate) issuer_concurrency: Option<u16>,
    /// Logins of people under way at once, those of the last minutes included; default 10000.
    pub(crate) max_logins: Option<u32>,
    /// How long nobody uses a subject's token before the subject sleeps; default `"10m"`.
    pub(crate) subject_idle: Option<Time>,
    /// Subjects whose tokens are at hand at once; default 10000.
    pub(crate) max_awake_subjects: Option<u32>,
    /// Whether the process gives up what it does not need; default `"on"`.
    pub(crate) sandbox: Option<Sandbox>,
}

/// Whether the process gives up what it does not need.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sandbox {
    /// All of it, or it does not run.
    Strict,
    /// What this machine can have.
    On,
    /// Nothing.
    Off,
}

/// Which requests are logged.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccessLog {
    /// None.
    Off,
    /// Those answered with an error.
    Errors,
    /// Each one.
    All,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The admin listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// `"127.0.0.1:9180"` (the default) or `"unix:/run/bearerd/admin.sock"`.
    pub(crate) listen: Option<String>,
    /// What changes over TCP have to show.
    pub(crate) token: Option<SecretReference>,
    /// A Job may quit it without a token; default `false`.
    pub(crate) allow_quit: Option<bool>,
    /// It may listen beyond loopback; default `false`.
    pub(crate) allow_remote: Option<bool>,
    /// How long a session of the console lasts; default `"1h"`.
    pub(crate) session_lifetime: Option<Time>,
    /// Streams of events at once; default 16.
    pub(crate) max_event_streams: Option<u16>,
    /// Connections at once; default 64.
    pub(crate) max_connections: Option<u16>,
    /// Wrong tokens in requests of one caller that are compared; default `"50/10s"`.
    pub(crate) max_wrong_tokens: Option<Rate>,
    /// Wrong tokens of one caller who signs in to the console that are compared; default `"5/50s"`.
    pub(crate) max_wrong_sign_ins: Option<Rate>,
}

/// Where what must survive a restart is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// `"memory"` is the default.
    pub(crate) kind: Option<StoreKind>,
    /// The file of a store of kind `file`, in a folder that is there.
    pub(crate) path: Option<String>,
    /// The key of a store of kind `file`: 32 bytes in hexadecimal or base64.
    pub(crate) key: Option<SecretReference>,
    /// The key before, or several: what is sealed with one of them is sealed with `key` at the start.
    pub(crate) previous_key: Option<Several<SecretReference>>,
}

/// The kinds of store.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// Forgets at the process's end.
    Memory,
    /// A sealed file.
    File,
}
