//! An upstream that speaks HTTP/2, plain or behind TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;

use super::{Content, as_text, read_content, read_data, runtime, send_all, wait};
use crate::support::{PATIENCE, canary, configuration};

/// An upstream whose exchanges a test takes and drives one by one.
pub struct Http2Origin {
    address: SocketAddr,
    exchanges: Receiver<Exchange>,
    /// The certificate that its callers have to trust, in PEM; nothing if it speaks plain.
    pub certificate: Option<String>,
}

/// One request, and the connection that it came by.
pub struct Exchange {
    /// Its head.
    pub request: Request<()>,
    /// Which connection it came by, counted from 0.
    pub connection: usize,
    upload: RecvStream,
    respond: SendResponse<Bytes>,
    answer: Option<SendStream<Bytes>>,
    farewells: UnboundedSender<Farewell>,
}

/// How an upstream ends a connection.
#[derive(Debug, Clone, Copy)]
pub enum Farewell {
    /// GOAWAY; what runs may end.
    Graceful,
    /// GOAWAY with a reason, and the end.
    Abrupt(Reason),
    /// The end, without a word.
    Silent,
}

impl Http2Origin {
    /// Plain HTTP/2.
    pub fn start() -> Self {
        Self::with(Builder::new())
    }

    /// Plain HTTP/2 with settings of its own.
    pub fn with(settings: Builder) -> Self {
        Self::listen(settings, None, None)
    }

    /// HTTP/2 behind TLS, agreed upon by ALPN.
    pub fn behind_tls() -> Self {
        let (config, certificate) = tls(&["h2", "http/1.1"]);
        Self::listen(Builder::new(), Some(TlsAcceptor::from(config)), Some(certificate))
    }

    fn listen(settings: Builder, tls: Option<TlsAcceptor>, certificate: Option<String>) -> Self {
        let (sender, exchanges) = mpsc::channel();
        let listening = runtime().spawn(async { TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await });
        let listener = wait(listening).expect("no panic").expect("a free port");
        let address = listener.local_addr().expect("an address");
        runtime().spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let _ = stream.set_nodelay(true);
                let (settings, sender, tls) = (settings.clone(), sender.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &settings, number, &sender).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
                            serve(stream, &settings, number, &sender).await;
                        }
                    }
                });
            }
        });
        Self { address, exchanges, certificate }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL in a configuration.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "h2c" };
        format!("{scheme}://{}", self.address)
    }

    /// A bearerd with a fixed token and a route `/api` to this upstream, with further lines for the
    /// route.
    #[track_caller]
    pub fn bearerd(&self, route: &str) -> crate::support::Sidecar {
        self.bearerd_with("", route)
    }

    /// The same, with further lines for the listener too.
    #[track_caller]
    pub fn bearerd_with(&self, listener: &str, route: &str) -> crate::support::Sidecar {
        let config = format!("{listener}\n{}{route}", configuration::to(&self.url()));
        match &self.certificate {
            None => crate::support::Sidecar::ready(&config),
            Some(certificate) => {
                let config = format!("{config}egress = \"own\"\n[egress.own]\nca = \"{{folder}}/ca.pem\"\n");
                let bearerd = crate::support::Setup::new(&config).file("ca.pem", certificate).start();
                bearerd.wait_until_ready();
                bearerd
            }
        }
    }

    /// The next request.
    #[track_caller]
    pub fn accept(&self) -> Exchange {
        self.exchanges.recv_timeout(PATIENCE).expect("a request to the origin")
    }

    /// The next request, if it comes within the time.
    pub fn accept_within(&self, time: std::time::Duration) -> Option<Exchange> {
        self.exchanges.recv_timeout(time).ok()
    }

    /// Fails if there is a request that was not taken yet.
    #[track_caller]
    pub fn assert_no_other_request(&self) {
        assert!(self.exchanges.try_recv().is_err(), "there is another request");
    }

    /// Answers every request from now on, on a thread of its own, with what `answer` says of its head
    /// and its body.
    pub fn answer_all(
        self,
        answer: impl Fn(&Request<()>, &Content) -> (Response<()>, Content) + Send + Sync + 'static,
    ) -> SocketAddr {
        let address = self.address;
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            while let Ok(mut exchange) = self.exchanges.recv() {
                let answer = Arc::clone(&answer);
                runtime().spawn(async move {
                    let Ok(content) = read_content(&mut exchange.upload).await else { return };
                    let (head, content) = answer(&exchange.request, &content);
                    let Ok(mut stream) = exchange.respond.send_response(head, false) else { return };
                    let ends = content.trailers.is_empty();
                    let sent = send_all(&mut stream, content.body.into(), ends).await;
                    if sent.is_ok() && !ends {
                        let _ = stream.send_trailers(content.trailers);
                    }
                });
            }
        });
        address
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    settings: &Builder,
    number: usize,
    exchanges: &Sender<Exchange>,
) {
    let Ok(mut connection) = settings.handshake::<_, Bytes>(stream).await else { return };
    let (farewells, mut commands) = unbounded_channel();
    while let Some(accepted) = next(&mut connection, &mut commands).await {
        let Ok((request, respond)) = accepted else { return };
        let (parts, upload) = request.into_parts();
        canary::look_for_secrets(as_text(&parts.headers).as_bytes());
        let exchange = Exchange {
            request: Request::from_parts(parts, ()),
            connection: number,
            upload,
            respond,
            answer: None,
            farewells: farewells.clone(),
        };
        if exchanges.send(exchange).is_err() {
            return;
        }
    }
}

type Accepted = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// The next request; `None` at the end of the connection.
async fn next(
    connection: &mut Connection<impl AsyncRead + AsyncWrite + Unpin, Bytes>,
    commands: &mut UnboundedReceiver<Farewell>,
) -> Option<Accepted> {
    loop {
        tokio::select! {
            accepted = connection.accept() => return accepted,
            command = commands.recv() => match command {
                Some(Farewell::Graceful) => connection.graceful_shutdown(),
                Some(Farewell::Abrupt(reason)) => connection.abrupt_shutdown(reason),
                Some(Farewell::Silent) | None => return None,
            },
        }
    }
}

impl Exchange {
    /// The path and query that were asked for.
    pub fn target(&self) -> String {
        self.request.uri().path_and_query().map(ToString::to_string).unwrap_or_default()
    }

    /// The only value of a field.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.request.headers().get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("text"));
        assert!(values.next().is_none(), "`{name}` stands more than once");
        value
    }

    /// Waits for the next data of the request; `None` at its end.
    #[track_caller]
    pub fn data(&mut self) -> Option<Bytes> {
        wait(read_data(&mut self.upload)).expect("data")
    }

    /// Waits for so many bytes.
    #[track_caller]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend(self.data().expect("more data"));
        }
        bytes
    }

    /// Reads the rest of the request to its end.
    #[track_caller]
    pub fn content(&mut self) -> Content {
        self.try_content().expect("a whole request")
    }

    /// Reads the rest of the request to its end, whichever end that is.
    pub fn try_content(&mut self) -> Result<Content, h2::Error> {
        wait(read_content(&mut self.upload))
    }

    /// Sends the head of the answer.
    #[track_caller]
    pub fn respond(&mut self, status: u16, fields: &[(&str, &str)], ends: bool) {
        let mut head = Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        let sent = self.respond.send_response(head.body(()).expect("a head"), ends);
        self.answer = Some(sent.expect("the head is taken"));
    }

    /// Sends an interim answer.
    #[track_caller]
    pub fn inform(&mut self, status: u16, fields: &[(&str, &str)]) {
        let mut head = Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        self.respond.send_informational(head.body(()).expect("a head")).expect("it is taken");
    }

    /// Sends data of the answer.
    #[track_caller]
    pub fn send(&mut self, data: &[u8], ends: bool) {
        self.try_send(data, ends).expect("the data is taken");
    }

    /// The same, on a stream that may be over.
    pub fn try_send(&mut self, data: &[u8], ends: bool) -> Result<(), h2::Error> {
        let answer = self.answer.as_mut().expect("the head was sent");
        wait(send_all(answer, Bytes::copy_from_slice(data), ends))
    }

    /// Sends trailers, which end the answer.
    #[track_caller]
    pub fn trailers(&mut self, trailers: HeaderMap) {
        self.answer.as_mut().expect("the head was sent").send_trailers(trailers).expect("they are taken");
    }

    /// The whole answer: 200 with a text.
    #[track_caller]
    pub fn text(mut self, body: &str) {
        self.respond(200, &[("content-type", "text/plain")], false);
        self.send(body.as_bytes(), true);
    }

    /// Ends the stream at once.
    pub fn reset(mut self, reason: Reason) {
        match &mut self.answer {
            Some(answer) => answer.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Waits for the other side's end of the stream.
    #[track_caller]
    pub fn reset_reason(&mut self) -> Reason {
        let reset = match &mut self.answer {
            Some(answer) => wait(std::future::poll_fn(|context| answer.poll_reset(context))),
            None => wait(std::future::poll_fn(|context| self.respond.poll_reset(context))),
        };
        reset.expect("a reason")
    }

    /// Ends the whole connection.
    pub fn say(&self, farewell: Farewell) {
        let _ = self.farewells.send(farewell);
    }
}

/// A TLS server's configuration with a certificate for 127.0.0.1, and that certificate in PEM.
pub fn tls(protocols: &[&str]) -> (Arc<rustls::ServerConfig>, String) {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let chain: Vec<CertificateDer<'static>> = vec![own.cert.der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that the provider has")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (Arc::new(config), own.cert.pem())
}
