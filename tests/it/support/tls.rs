//! Certificates, and apps that call by TLS.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::message::Message;
use super::{PATIENCE, canary};

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    pub cert: String,
    pub key: String,
}

impl Authority {
    /// A new one, which nobody knows. All of them have one name.
    pub fn new() -> Self {
        Self::called("authority of a test")
    }

    /// A new one with a name of its own.
    pub fn called(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("an authority"))
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server on loopback.
    pub fn server(&self) -> Identity {
        self.issue(|of| {
            let name = SanType::DnsName("localhost".try_into().expect("a name"));
            of.subject_alt_names = vec![name, SanType::IpAddress([127, 0, 0, 1].into())];
        })
    }

    /// A certificate with one DNS name.
    pub fn named(&self, name: &str) -> Identity {
        self.issue(|of| of.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))])
    }

    /// A certificate with no alternative name.
    pub fn common(&self, name: &str) -> Identity {
        self.issue(|of| of.distinguished_name.push(DnType::CommonName, name))
    }

    /// A certificate that has ended long ago.
    pub fn ended(&self) -> Identity {
        self.issue(|of| {
            (of.not_before, of.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        })
    }

    /// A certificate with the parameters that `change` sets.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut parameters = CertificateParams::default();
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let issuer: &Issuer<'_, _> = &self.0;
        let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
        Identity { cert: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Identity {
    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("a certificate")
    }
}

/// An app that calls by TLS.
#[derive(Clone)]
pub struct TlsClient {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

/// A connection of such an app.
pub struct TlsConnection {
    address: SocketAddr,
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl TlsClient {
    /// A client of the server at `address` that trusts `authority` and shows `identity`.
    pub fn new(address: SocketAddr, authority: &Authority, identity: Option<&Identity>) -> Self {
        Self::speaking(rustls::ALL_VERSIONS, address, authority, identity)
    }

    /// The same, that speaks some versions of TLS only.
    pub fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        address: SocketAddr,
        authority: &Authority,
        identity: Option<&Identity>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("versions").with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![identity.certificate()], key).expect("an identity")
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { address, config: Arc::new(config) }
    }

    /// The same, that offers other protocols.
    pub fn offering(&self, protocols: &[&str]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { address: self.address, config: Arc::new(config) }
    }

    /// GET on a connection of its own. An error if there is no connection: by TLS 1.3 the caller hears
    /// only then that its certificate is refused.
    pub fn get(&self, target: &str) -> io::Result<Message> {
        self.connect()?.get(target, "")
    }

    /// A connection after its handshake.
    pub fn connect(&self) -> io::Result<TlsConnection> {
        let mut socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let stream = BufReader::new(StreamOwned::new(session, socket));
        Ok(TlsConnection { address: self.address, stream })
    }
}

impl TlsConnection {
    /// GET with further fields, each ended by CRLF.
    pub fn get(&mut self, target: &str, fields: &str) -> io::Result<Message> {
        self.request("GET", target, fields, b"")
    }

    /// A request with further fields, each ended by CRLF.
    pub fn request(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> io::Result<Message> {
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{fields}{length}\r\n", self.address);
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        self.answer()
    }

    /// Reads one whole answer.
    pub fn answer(&mut self) -> io::Result<Message> {
        let answer = Message::read(&mut self.stream, true)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        canary::assert_unseen(&[answer.head.as_slice(), &answer.body].concat(), "an answer to the app");
        Ok(answer)
    }

    /// Whether this is the certificate that the server shows.
    pub fn is_shown(&self, identity: &Identity) -> bool {
        let shown = self.session().peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        shown == Some(&identity.certificate())
    }

    /// The protocol that both agreed on.
    pub fn protocol(&self) -> Option<String> {
        self.session().alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned())
    }

    /// Whether the session of an earlier connection went on.
    pub fn is_resumed(&self) -> bool {
        self.session().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The connection itself; nothing that was read waits beside it.
    pub fn stream(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        self.stream.get_mut()
    }

    fn session(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }
}
