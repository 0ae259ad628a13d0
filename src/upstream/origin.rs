//! Where requests go: scheme, host and port, and the URLs that name them.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Uri};

/// The longest path of a Unix socket in bytes, one less than its address holds (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// How an origin is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP/1.1 over plain TCP.
    Http,
    /// HTTP/2 with prior knowledge over plain TCP (RFC 9113, section 3.3).
    H2c,
    /// HTTP over TLS; ALPN decides which (RFC 7301).
    Https,
    /// HTTP/1.1 over a Unix socket.
    Unix,
}

impl Scheme {
    /// The scheme as it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
            Self::Unix => "unix",
        }
    }

    /// The port that is meant when a URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c | Self::Unix => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port (RFC 6454): what a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Lower-case name or address, an IPv6 address without brackets; for a Unix socket its path.
    pub host: Arc<str>,
    /// Always said, also where it is the scheme's default.
    pub port: u16,
}

impl Origin {
    /// The `Host` field for this origin: without the port where it is the default one. Behind a Unix
    /// socket it is `localhost`.
    pub fn authority(&self) -> String {
        if self.scheme == Scheme::Unix {
            return "localhost".to_owned();
        }
        if self.port == self.scheme.default_port() { self.bare_host() } else { self.host_and_port() }
    }

    /// Host and port, the port also where it is the default one: the form of a CONNECT target (RFC
    /// 9110, section 9.3.6).
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.bare_host(), self.port)
    }

    fn bare_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() }
    }

    /// The origin as it stands in links that its server makes: it knows neither `h2c` nor `unix` as a
    /// scheme.
    #[must_use]
    pub fn in_links(&self) -> Self {
        match self.scheme {
            Scheme::Http | Scheme::Https => self.clone(),
            Scheme::H2c => Self { scheme: Scheme::Http, ..self.clone() },
            Scheme::Unix => Self { scheme: Scheme::Http, host: self.authority().into(), port: 80 },
        }
    }

    /// Whether it is on this machine by its name: a loopback address, `localhost` or a Unix socket.
    pub fn is_loopback(&self) -> bool {
        self.scheme == Scheme::Unix
            || &*self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether both mean the same server; all spellings of the loopback host count as one.
    pub fn is_same_server(&self, other: &Self) -> bool {
        if self.scheme == Scheme::Unix || other.scheme == Scheme::Unix {
            return self == other;
        }
        self.in_links().scheme == other.in_links().scheme
            && self.port == other.port
            && (self.host == other.host || (self.is_loopback() && other.is_loopback()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Unix => write!(formatter, "unix:{}", self.host),
            scheme => write!(formatter, "{}://{}", scheme.as_str(), self.authority()),
        }
    }
}

/// An origin and a path there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Where it leads.
    pub origin: Origin,
    /// Path and query as written; at least `/`.
    pub path_and_query: PathAndQuery,
}

impl Url {
    /// The URL as it stands in links, without its query.
    pub fn without_query(&self) -> String {
        format!("{}{}", self.origin.in_links(), self.path_and_query.path())
    }

    /// Reads the address of an upstream, which may also be `h2c://host:port/path` or
    /// `unix:/socket` with `:/path` behind it. The path of a socket starts at `folder`. The error says
    /// what is wrong.
    pub fn of_upstream(text: &str, folder: &Path) -> Result<Self, &'static str> {
        match text.strip_prefix("unix:") {
            Some(rest) => Self::of_socket(rest, folder),
            None => parse(text, &[Scheme::Https, Scheme::Http, Scheme::H2c]),
        }
    }

    /// `/socket`, or `/socket:/path` as in nginx.
    fn of_socket(text: &str, folder: &Path) -> Result<Self, &'static str> {
        let (socket, path) = match text.find(":/") {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, "/"),
        };
        if socket.starts_with('@') {
            return Err("abstract sockets have no owner and no mode: name one in the file system");
        }
        if socket.is_empty() || socket.ends_with('/') || socket.contains('\0') {
            return Err("this names no socket: such as \"unix:/run/api.sock\"");
        }
        let socket = folder.join(socket).into_os_string().into_string();
        let socket = socket.map_err(|_| "the path of this socket is not UTF-8")?;
        if socket.len() > LONGEST_SOCKET {
            return Err("the path of a Unix socket has at most 107 bytes");
        }
        if path.contains('#') {
            return Err("a URL here has no fragment (`#`)");
        }
        let path_and_query = path.parse().map_err(|_| "the path behind the socket is not that of a URL")?;
        Ok(Self { origin: Origin { scheme: Scheme::Unix, host: socket.into(), port: 80 }, path_and_query })
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.origin.scheme == Scheme::Unix { ":" } else { "" };
        write!(formatter, "{}{between}{}", self.origin, self.path_and_query)
    }
}

/// Reads an absolute `http` or `https` URL without user information and fragment.
impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &[Scheme::Https, Scheme::Http])
    }
}

fn parse(text: &str, schemes: &[Scheme]) -> Result<Url, &'static str> {
    if text.contains('#') {
        return Err("a URL here has no fragment (`#`)");
    }
    let parts = text.parse::<Uri>().map_err(|_| "this is not a URL")?.into_parts();
    let scheme = parts.scheme.ok_or("a URL here is absolute: `https://host/path`")?;
    let scheme = schemes.iter().copied().find(|known| known.as_str() == scheme.as_str());
    let scheme = scheme.ok_or("a URL here starts with `https://` or `http://`")?;
    let authority: Authority = parts.authority.ok_or("this URL names no host")?;
    if authority.as_str().contains('@') {
        return Err("a URL here has no user information (`@`)");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if host.is_empty() {
        return Err("this URL names no host");
    }
    let port = match authority.as_str().rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => {
            port.parse().ok().filter(|port| *port != 0).ok_or("the port is from 1 to 65535")?
        }
        _ => scheme.default_port(),
    };
    // Its own bytes: those of the whole text would be kept with it.
    let path_and_query = parts.path_and_query.and_then(|of| of.as_str().parse().ok());
    let path_and_query = path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    Ok(Url { origin: Origin { scheme, host: host.into(), port }, path_and_query })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Scheme, Url};

    fn upstream(text: &str) -> Url {
        Url::of_upstream(text, Path::new("/etc/bearerd")).expect(text)
    }

    #[test]
    fn an_upstream_may_be_a_unix_socket_with_a_path_behind_it() {
        for (text, socket, path) in [
            ("unix:/run/api.sock", "/run/api.sock", "/"),
            ("unix:/run/api.sock:/v1", "/run/api.sock", "/v1"),
            ("unix:/run/a:b.sock", "/run/a:b.sock", "/"),
            ("unix:api.sock", "/etc/bearerd/api.sock", "/"),
        ] {
            let url = upstream(text);
            assert_eq!((url.origin.scheme, &*url.origin.host), (Scheme::Unix, socket), "{text}");
            assert_eq!((url.path(), url.origin.authority().as_str()), (path, "localhost"), "{text}");
        }
        let long = format!("unix:/{}", "a".repeat(107));
        for wrong in ["unix:", "unix:/", "unix:/run/", "unix:@name", "unix:/a\0b", "unix:/a:/b#c", &long] {
            Url::of_upstream(wrong, Path::new("/")).expect_err(wrong);
        }
    }

    #[test]
    fn h2c_is_for_upstreams_only_and_stands_as_http_in_links() {
        let url = upstream("h2c://api.example:8080/v1");
        assert_eq!((url.origin.scheme, url.origin.port), (Scheme::H2c, 8080));
        assert_eq!(url.to_string(), "h2c://api.example:8080/v1");
        assert_eq!(url.origin.in_links().to_string(), "http://api.example:8080");
        assert!(url.origin.is_same_server(&upstream("http://api.example:8080").origin));
        "h2c://api.example/".parse::<Url>().expect_err("an issuer is asked by HTTP/1.1");
    }

    #[test]
    fn a_socket_is_a_server_of_its_own() {
        let socket = upstream("unix:/run/a.sock:/v1");
        assert_eq!(socket.to_string(), "unix:/run/a.sock:/v1");
        assert_eq!(socket.origin.in_links().to_string(), "http://localhost");
        assert!(!socket.origin.is_same_server(&upstream("http://localhost").origin));
        assert!(!socket.origin.is_same_server(&upstream("unix:/run/b.sock").origin));
        assert!(socket.origin.is_same_server(&upstream("unix:/run/a.sock").origin));
    }
}
