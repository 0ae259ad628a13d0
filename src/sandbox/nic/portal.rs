//! The portal: login, dashboard, and a form that has a new token mailed.
//!
//! What the vendor's document tells are the pages and what is on them; the rest is as such portals usually are: a session
//! cookie that changes with the login, a CSRF token in each form, redirects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{EMAIL, LIFETIME, PASSWORD, SENDER};
use crate::clock::Clock;
use crate::sandbox::fault::{Fault, ScriptedFault};
use crate::sandbox::postbox::Postbox;
use crate::sandbox::token::{TokenBook, opaque};
use crate::sandbox::{Answer, Received};

/// Below this, all is the portal's.
pub(super) const PREFIX: &str = "/nicauthserver/users/";

/// A token of before, which lies in the mailbox from the start.
pub(super) const OLD_TOKEN: &str = "nic-ma-old-token-77e19d0ab35c4f28";

/// The portal.
#[derive(Debug)]
pub(super) struct Portal {
    clock: Clock,
    faults: Faults,
    postbox: Arc<Postbox>,
    sessions: Mutex<Vec<Session>>,
}

/// What goes wrong.
#[derive(Debug, Default, Clone, Copy)]
struct Faults {
    csrf: bool,
    session: bool,
    page: bool,
    password: bool,
    mail_late: Duration,
    mail_lost: bool,
    mail_foreign: bool,
    mail_twice: bool,
}

#[derive(Debug, Clone)]
struct Session {
    id: String,
    csrf: String,
    is_logged_in: bool,
}

impl Portal {
    pub(super) fn new(clock: Clock, faults: &[ScriptedFault], postbox: Arc<Postbox>) -> Self {
        let faults = faults.iter().fold(Faults::default(), |mut all, scripted| {
            match scripted.fault {
                Fault::Csrf => all.csrf = true,
                Fault::Session => all.session = true,
                Fault::Page => all.page = true,
                Fault::Password => all.password = true,
                Fault::MailLate(late) => all.mail_late = late,
                Fault::MailLost => all.mail_lost = true,
                Fault::MailForeign => all.mail_foreign = true,
                Fault::MailTwice => all.mail_twice = true,
                _ => {}
            }
            all
        });
        // Somebody registered a month ago, and was mailed a token then.
        let long_ago =
            clock.wall().saturating_sub(SignedDuration::from_hours(24 * 30)).unwrap_or(Timestamp::MIN);
        postbox.deliver(SENDER, "Your access token", &letter(OLD_TOKEN), long_ago);
        Self { clock, faults, postbox, sessions: Mutex::default() }
    }

    pub(super) fn answer(&self, request: &Received, tokens: &TokenBook) -> Answer {
        let page = request.path().strip_prefix(PREFIX).unwrap_or_default();
        let answer = match (request.method.as_str(), page) {
            ("GET", "login") => Ok(self.login_page(request)),
            ("POST", "login") => self.log_in(request),
            ("GET", "dashboard") => self.dashboard(request),
            ("POST", "token") => self.make_token(request, tokens),
            _ => Err(Answer::plain(http::StatusCode::NOT_FOUND).because("the portal has no such page")),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn login_page(&self, request: &Received) -> Answer {
        let session = self.session(request).unwrap_or_else(|| self.begin(false));
        let form = if self.faults.page {
            "<form id=sso action=/sso method=post><input name=aadhaar></form>".to_owned()
        } else {
            format!(
                "<form action=\"{PREFIX}login\" method=post><input type=hidden name=_csrf value=\"{}\">\
                 <input type=text name=email><input type=password name=password><button>Login</button></form>",
                session.csrf
            )
        };
        html("Login", &form).with("set-cookie", cookie(&session))
    }

    fn log_in(&self, request: &Received) -> Result<Answer, Answer> {
        let session = self.session(request).ok_or_else(to_login)?;
        let fields =
            request.form(&["_csrf", "email", "password"], &[]).map_err(|why| forbidden().because(why))?;
        if self.faults.csrf || fields["_csrf"] != session.csrf {
            return Err(forbidden().because("the CSRF token is wrong"));
        }
        if self.faults.password || fields["email"] != EMAIL || fields["password"] != PASSWORD {
            return Err(Answer::redirect("login?error").because("the name or the password is wrong"));
        }
        // Another identifier than before the login: nobody can have known it.
        self.sessions().retain(|known| known.id != session.id);
        let session = self.begin(true);
        Ok(Answer::redirect("dashboard").with("set-cookie", cookie(&session)))
    }

    fn dashboard(&self, request: &Received) -> Result<Answer, Answer> {
        let session = self.session(request).filter(|session| session.is_logged_in).ok_or_else(to_login)?;
        let form = |action: &str, fields: &str, label: &str| {
            format!(
                "<form action={action} method=post><input type=hidden name=_csrf value=\"{}\">{fields}\
                 <button>{label}</button></form>",
                session.csrf
            )
        };
        let token = form("token", "<input type=password name=currentPassword>", "Generate New Token");
        let change = "<input type=password name=currentPassword><input type=password name=newPassword>";
        let body = format!(
            "<h2>Refresh Token</h2>{token}<h2>Change Password</h2>{}",
            form("password", change, "Change")
        );
        if self.faults.session {
            self.sessions().clear();
        }
        Ok(html("User Dashboard", &body))
    }

    fn make_token(&self, request: &Received, tokens: &TokenBook) -> Result<Answer, Answer> {
        let session = self.session(request).filter(|session| session.is_logged_in).ok_or_else(to_login)?;
        let fields =
            request.form(&["_csrf", "currentPassword"], &[]).map_err(|why| forbidden().because(why))?;
        if fields["_csrf"] != session.csrf {
            return Err(forbidden().because("the CSRF token is wrong"));
        }
        if fields["currentPassword"] != PASSWORD {
            return Err(Answer::redirect("dashboard?error").because("the current password is wrong"));
        }
        let make = || {
            let token = opaque(&self.clock);
            tokens.issue(&token, tokens.lifetime(LIFETIME), EMAIL);
            token
        };
        let mut letters = Vec::new();
        if self.faults.mail_twice {
            letters.push(opaque(&self.clock));
        }
        letters.push(make());
        self.mail(letters);
        Ok(Answer::redirect("dashboard?sent"))
    }

    /// Mails tokens, in their order.
    fn mail(&self, letters: Vec<String>) {
        if self.faults.mail_lost {
            return;
        }
        let sender =
            if self.faults.mail_foreign { "Somebody Else <thief@elsewhere.example>" } else { SENDER };
        let (postbox, clock, late) = (Arc::clone(&self.postbox), self.clock.clone(), self.faults.mail_late);
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            for token in letters {
                postbox.deliver(sender, "Your access token", &letter(&token), clock.wall());
            }
        });
    }

    fn begin(&self, is_logged_in: bool) -> Session {
        let session = Session { id: opaque(&self.clock), csrf: opaque(&self.clock), is_logged_in };
        self.sessions().push(session.clone());
        session
    }

    fn session(&self, request: &Received) -> Option<Session> {
        let id = request.cookie("JSESSIONID")?;
        self.sessions().iter().find(|session| session.id == id).cloned()
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn letter(token: &str) -> String {
    format!("Dear User,\r\n\r\nYour new access token is: {token}\r\n\r\nNational Informatics Centre")
}

fn cookie(session: &Session) -> String {
    format!("JSESSIONID={}; Path=/nicauthserver; HttpOnly", session.id)
}

fn to_login() -> Answer {
    Answer::redirect(&format!("{PREFIX}login"))
}

fn forbidden() -> Answer {
    Answer::plain(http::StatusCode::FORBIDDEN)
}

fn html(title: &str, body: &str) -> Answer {
    Answer::page(format!("<!doctype html><title>{title}</title><h1>{title}</h1>{body}\n"))
}
