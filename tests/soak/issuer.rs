//! The issuers: three OAuth grants and a login, with short lives and faults of their own.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::spawn_local;

use crate::ledger::{Kind, Ledger, lock};
use crate::plan::Framing;
use crate::wire::{Head, Wire};

/// How long short-lived tokens live.
pub const LIFETIME: Duration = Duration::from_secs(3);

/// The first refresh token.
pub const FIRST_REFRESH_TOKEN: &str = "refresh-0";

/// What the issuer remembers.
pub struct Issuer {
    ledger: Arc<Ledger>,
    asked: Mutex<HashMap<&'static str, u64>>,
    refresh_token: Mutex<String>,
}

impl Issuer {
    /// An issuer that was not asked yet.
    pub fn new(ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            asked: Mutex::default(),
            refresh_token: Mutex::new(FIRST_REFRESH_TOKEN.into()),
        })
    }

    /// Serves for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let issuer = self.clone();
            spawn_local(async move {
                // bearerd closes when it has its answer.
                let _ = issuer.answer_all(Wire::new(stream)).await;
            });
        }
    }

    async fn answer_all(&self, mut wire: Wire) -> io::Result<()> {
        while let Some(head) = wire.head().await? {
            let form = self.read(&mut wire, &head).await?;
            let credential = match head.start_line() {
                "POST /grant HTTP/1.1" => "grant",
                "POST /refreshed HTTP/1.1" => "refreshed",
                "POST /revoked HTTP/1.1" => "revoked",
                "POST /login HTTP/1.1" => "login",
                other => {
                    self.ledger.find(Kind::Issuer, format!("nobody should ask `{other}`"));
                    return Ok(());
                }
            };
            let asked = {
                let mut asked = lock(&self.asked);
                let count = asked.entry(credential).or_default();
                *count += 1;
                *count
            };
            // Now and then an issuer has a bad moment: the token that is held must carry everyone.
            if credential == "grant" && asked % 10 == 0 {
                wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 1).await?;
                continue;
            }
            let body = self.grant(credential, &form);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
            wire.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes(), 1).await?;
        }
        wire.stream.shutdown().await
    }

    async fn read(&self, wire: &mut Wire, head: &Head) -> io::Result<String> {
        let Framing::Length(length) = head.framing(Framing::Nothing) else { return Ok(String::new()) };
        let mut body = vec![0; length];
        wire.read_exact(&mut body).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn grant(&self, credential: &'static str, form: &str) -> String {
        match credential {
            "login" => {
                let token = self.ledger.issue(credential, Some(LIFETIME));
                let key = self.ledger.alias(&token, "-key");
                format!(r#"{{"data":{{"token":"{token}","key":"{key}","expiry":{}}}}}"#, LIFETIME.as_secs())
            }
            "refreshed" => {
                let shown = form_urlencoded::parse(form.as_bytes())
                    .find_map(|(name, value)| (name == "refresh_token").then(|| value.into_owned()))
                    .unwrap_or_default();
                let mut current = lock(&self.refresh_token);
                if *current != shown {
                    self.ledger.find(Kind::Issuer, format!("`{shown}` is not the refresh token `{current}`"));
                    return r#"{"error":"invalid_grant"}"#.into();
                }
                let token = self.ledger.issue(credential, Some(LIFETIME));
                *current = format!("refresh-of-{token}");
                let seconds = LIFETIME.as_secs();
                format!(
                    r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds},"refresh_token":"{current}"}}"#
                )
            }
            _ => {
                let lifetime = if credential == "revoked" { Duration::from_secs(3600) } else { LIFETIME };
                let token = self.ledger.issue(credential, Some(lifetime));
                let seconds = lifetime.as_secs();
                format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#)
            }
        }
    }

    /// Reports whoever was asked more often than once in two seconds, but for a few at the start.
    pub fn judge(&self, elapsed: Duration) {
        for (credential, asked) in lock(&self.asked).iter() {
            if *asked > elapsed.as_secs() / 2 + 3 {
                self.ledger.find(Kind::Issuer, format!("{credential}: {asked} exchanges in {elapsed:?}"));
            }
        }
    }
}
