//! A client of the admin listener, for the commands that speak to a running bearerd.

mod address;
mod failure;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::admin::AdminSpec;
use crate::cli::{ConfigFile, output};
use crate::clock::Clock;
use crate::config::{self, Environment};
use crate::credential::input;
use crate::secret::Secret;
pub use address::Address;
pub use failure::Failure;

/// How long a bearerd may take to answer what it knows already.
pub const PROMPT: Duration = Duration::from_secs(10);
/// How long a renewal, or a reload, may take.
pub const PATIENT: Duration = Duration::from_secs(300);

/// Which running bearerd is meant.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The configuration that names the admin listener.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The admin listener, such as 127.0.0.1:9180 or unix:/run/bearerd/admin.sock [default:
    /// $BEARERD_ADMIN, or what the configuration says]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
}

/// One question to the admin listener.
#[derive(Debug)]
pub struct Question {
    /// The method; all but GET show the admin token.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body.
    pub body: Bytes,
    /// How long the answer may take.
    pub limit: Duration,
}

/// An answer of the admin listener.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its whole body.
    pub body: Bytes,
}

impl Question {
    /// Reads what is there.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new(), limit: PROMPT }
    }

    /// Asks for a change.
    pub fn post(path: impl Into<String>, limit: Duration) -> Self {
        Self { method: Method::POST, path: path.into(), body: Bytes::new(), limit }
    }
}

/// A credential's path below `/v1/credentials/`, its name percent-encoded.
pub fn credential_path(name: &str, rest: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("/v1/credentials/{name}{rest}")
}

/// Asks, and gives a successful reply to `on_success`; any other is told and ends with its exit code.
pub fn ask(target: &Target, question: Question, on_success: impl FnOnce(Reply) -> ExitCode) -> ExitCode {
    match reply(target, question) {
        Ok(reply) if reply.status.is_success() => on_success(reply),
        Ok(reply) => Failure::refused(&reply).tell(),
        Err(failure) => failure.tell(),
    }
}

/// Asks, whatever the reply.
pub fn reply(target: &Target, question: Question) -> Result<Reply, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::machine(&error))?;
    runtime.block_on(async {
        let configured = if target.is_complete(&question) { None } else { configured(&target.file) };
        let address = target.address(configured.as_ref())?;
        let token = match question.method {
            Method::GET => None,
            _ => token(configured.as_ref()).await?,
        };
        let limit = question.limit;
        let exchange = exchange(&address, question, token);
        let late =
            |_| Failure::Unreachable(address.clone(), format!("no answer within {} s", limit.as_secs()));
        tokio::time::timeout(limit, exchange).await.map_err(late)?
    })
}

impl Target {
    /// Whether the configuration need not be read.
    fn is_complete(&self, question: &Question) -> bool {
        let is_set = |name| std::env::var_os(name).is_some();
        (self.admin.is_some() || is_set("BEARERD_ADMIN"))
            && (question.method == Method::GET || is_set("BEARERD_ADMIN_TOKEN"))
    }

    fn address(&self, configured: Option<&AdminSpec>) -> Result<Address, Failure> {
        if let Some(address) = &self.admin {
            return Ok(address.clone());
        }
        if let Ok(address) = std::env::var("BEARERD_ADMIN") {
            let wrong = |error| Failure::Usage(format!("$BEARERD_ADMIN: {error}"));
            return address.parse().map_err(wrong);
        }
        Ok(configured.map_or_else(Address::default, |spec| Address::of(&spec.listen)))
    }
}

/// `[admin]` of the configuration, if there is a good one. A running bearerd may well be asked while
/// its file is broken: then the default address is tried.
fn configured(file: &ConfigFile) -> Option<AdminSpec> {
    let environment = Environment::of_process();
    let path = config::find(file.config.as_deref(), &environment).ok()?;
    if let Ok(loaded) = config::load(&path, &environment) {
        return Some(loaded.config.admin);
    }
    output::talk(format_args!(
        "bearerd: {} has mistakes (`bearerd check` tells them): trying the default address",
        path.display()
    ));
    None
}

async fn token(configured: Option<&AdminSpec>) -> Result<Option<Secret>, Failure> {
    if let Some(token) = std::env::var_os("BEARERD_ADMIN_TOKEN") {
        return Ok(Some(Secret::new(token.into_encoded_bytes())));
    }
    let Some(source) = configured.and_then(|spec| spec.token.as_ref()) else { return Ok(None) };
    match input::read_source("token", source, &|_, _| None, &Clock::system()).await {
        Ok(token) => Ok(Some(token)),
        Err(error) => Err(Failure::Token(error.message)),
    }
}

async fn exchange(address: &Address, question: Question, token: Option<Secret>) -> Result<Reply, Failure> {
    let unreachable = |error: std::io::Error| Failure::Unreachable(address.clone(), error.to_string());
    match address {
        Address::Tcp(authority) => {
            let stream = TcpStream::connect(authority.as_str()).await.map_err(unreachable)?;
            send(stream, address, authority, question, token).await
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            send(stream, address, "localhost", question, token).await
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &Address,
    host: &str,
    question: Question,
    token: Option<Secret>,
) -> Result<Reply, Failure> {
    let broke_off = |error: hyper::Error| Failure::Unreachable(address.clone(), error.to_string());
    let malformed = |error: http::Error| Failure::Usage(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
    // Its errors come out of the exchange too.
    tokio::spawn(connection);
    let mut request = Request::builder().method(question.method).uri(question.path).header(HOST, host);
    if let Some(token) = token {
        let field = [b"Bearer ", token.expose()].concat();
        let mut field = HeaderValue::from_bytes(field.trim_ascii_end())
            .map_err(|_| Failure::Token("it has a control character in it".to_owned()))?;
        field.set_sensitive(true);
        request = request.header(AUTHORIZATION, field);
    }
    let request = request.body(Full::new(question.body)).map_err(malformed)?;
    let answer = sender.send_request(request).await.map_err(broke_off)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(broke_off)?.to_bytes();
    Ok(Reply { status, body })
}
