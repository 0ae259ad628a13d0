//! Scripted faults: `--fault payhub=down:30s`.
//!
//! A fault strikes a whole vendor, or only its token service (`payhub.issuer=down`) or only its data
//! API (`payhub.api=slow`). Times count from the sandbox's start.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use super::Vendor;
use super::postbox::Manners;
use super::sahamati::Rules;
use crate::clock::Clock;
use crate::config::parse_duration;

/// What there is, for the help and for the usage error.
pub const SYNTAX: &str = "\
VENDOR=FAULT, where VENDOR is nic-ma, sahamati, payhub, digilocker or neighbours (with .issuer or .api behind it \
for the token service or the data API alone) and FAULT is one of
  down[:DURATION]         connections break without an answer, so long or for ever
  lost[:DURATION]         requests are carried out, but the answers never arrive
  html[:DURATION]         HTTP 200 with a web page in place of an answer
  status:CODE[:DURATION]  this HTTP status with a line of text
  slow[:DELAY]            every answer comes later, by 2s or so much
  expire[:LIFETIME]       tokens live for 10s or so long
  revoke[:DURATION]       after 5s or so long, the tokens of until then are revoked
and of nic-ma only
  address[:ADDRESS]       tokens are good from 127.0.0.2 or this address alone: calls from others get 403
  csrf                    no form is taken, since its CSRF token is wrong
  session                 sessions end right after the login
  page                    the login page has another form
  password                the password is another
  mail-late[:DELAY]       the token's mail comes later, by 2s or so much
  mail-lost               it does not come at all
  mail-foreign            it comes from somebody else
  mail-twice              a mail with another token comes just before it
  imap-down[:DURATION]    the mailbox's server breaks connections off, so long or for ever
  imap-deaf               it does not tell of news (no IDLE)
and of sahamati only
  grace                   the entity's secret is in its grace period
  secret[:LIFETIME]       a secret of 180 days lives for 60s or so long, and its grace period is as much shorter
  hard-reset              a secret that was reset dies at once, without a grace period
  late[:DURATION]         a new secret works after 5s or so long
  taken[:AFTER]           after 5s or so long, somebody else resets the secret";

/// The address that tokens are bound to, where nobody says another: one of this machine's that is not the usual one.
const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const DEFAULT_DELAY: Duration = Duration::from_secs(2);
const DEFAULT_LIFETIME: Duration = Duration::from_secs(10);
const DEFAULT_SECRET: Duration = Duration::from_secs(60);
const DEFAULT_LATENESS: Duration = Duration::from_secs(5);
const DEFAULT_REVOCATION: Duration = Duration::from_secs(5);

/// One `--fault`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptedFault {
    /// Whom it strikes.
    pub vendor: Vendor,
    /// Which part of the vendor.
    pub part: Part,
    /// What goes wrong.
    pub fault: Fault,
}

/// Which part of a vendor a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The token service.
    Issuer,
    /// The data API.
    Api,
}

/// What goes wrong. A duration of `None` means for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Connections break before the request is looked at.
    Down(Option<Duration>),
    /// The request is carried out, the connection breaks before the answer.
    Lost(Option<Duration>),
    /// A web page with status 200.
    Html(Option<Duration>),
    /// A status with a line of text.
    Status(StatusCode, Option<Duration>),
    /// Answers come later by so much.
    Slow(Duration),
    /// Tokens live so long.
    Expire(Duration),
    /// All tokens handed out until then are revoked.
    Revoke(Duration),
    /// The entity's secret has expired and is in its grace period.
    Grace,
    /// A secret of 180 days lives so long.
    Secret(Duration),
    /// A secret that was reset dies at once.
    HardReset,
    /// A new secret works so much later.
    Late(Duration),
    /// Somebody else resets the secret after so long.
    Taken(Duration),
    /// Tokens are good from this address alone.
    Address(IpAddr),
    /// The portal takes no form: the CSRF token is wrong.
    Csrf,
    /// The portal's sessions end right after the login.
    Session,
    /// The portal's login page has another form.
    Page,
    /// The portal's password is another.
    Password,
    /// The token's mail comes so much later.
    MailLate(Duration),
    /// It does not come at all.
    MailLost,
    /// It comes from somebody else.
    MailForeign,
    /// One with another token comes just before it.
    MailTwice,
    /// The mailbox's server breaks connections off.
    ImapDown(Option<Duration>),
    /// It does not tell of news.
    ImapDeaf,
}

impl Part {
    /// Whether a request to the token service (or not) is struck.
    pub fn covers(self, is_issuer: bool) -> bool {
        match self {
            Self::Whole => true,
            Self::Issuer => is_issuer,
            Self::Api => !is_issuer,
        }
    }
}

/// The lifetime that faults give to tokens, if any does.
pub fn lifetime<'a>(mut faults: impl Iterator<Item = &'a ScriptedFault>) -> Option<Duration> {
    faults.find_map(|scripted| match scripted.fault {
        Fault::Expire(lifetime) => Some(lifetime),
        _ => None,
    })
}

/// How secrets are treated.
pub fn rules_of_secrets(faults: &[ScriptedFault]) -> Rules {
    faults.iter().fold(Rules::default(), |rules, scripted| match scripted.fault {
        Fault::Grace => Rules { first_left: Some(Duration::ZERO), ..rules },
        Fault::Secret(lifetime) => rules.aging(lifetime),
        Fault::HardReset => Rules { hard_reset: true, ..rules },
        Fault::Late(late) => Rules { late, ..rules },
        Fault::Taken(after) => Rules { taken: Some(after), ..rules },
        _ => rules,
    })
}

/// How the mailbox's server behaves from now on.
pub fn manners_of_mail(faults: &[ScriptedFault], clock: &Clock) -> Manners {
    faults.iter().fold(Manners::default(), |manners, scripted| match scripted.fault {
        Fault::ImapDown(length) => {
            let until = length.map_or(Duration::MAX, |length| clock.boot() + length);
            Manners { down_until: Some(until), ..manners }
        }
        Fault::ImapDeaf => Manners { deaf: true, ..manners },
        _ => manners,
    })
}

impl FromStr for ScriptedFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map_err(|what| format!("{what}; a fault is {SYNTAX}"))
    }
}

fn parse(text: &str) -> Result<ScriptedFault, String> {
    let (target, fault) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
    let (vendor, part) = match target.rsplit_once('.') {
        Some((vendor, "issuer")) => (vendor, Part::Issuer),
        Some((vendor, "api")) => (vendor, Part::Api),
        Some((_, part)) => return Err(format!("no part of a vendor is called `{part}`")),
        None => (target, Part::Whole),
    };
    let vendor: Vendor = vendor.parse()?;
    let (name, rest) = fault.split_once(':').map_or((fault, None), |(name, rest)| (name, Some(rest)));
    let fault = match (name, rest) {
        ("down", rest) => Fault::Down(rest.map(duration).transpose()?),
        ("lost", rest) => Fault::Lost(rest.map(duration).transpose()?),
        ("html", rest) => Fault::Html(rest.map(duration).transpose()?),
        ("status", Some(rest)) => {
            let (code, rest) = rest.split_once(':').map_or((rest, None), |(code, rest)| (code, Some(rest)));
            let code = code.parse().ok().filter(|code| (200..=599).contains(code));
            let code = code.and_then(|code| StatusCode::from_u16(code).ok());
            Fault::Status(code.ok_or("a status is from 200 to 599")?, rest.map(duration).transpose()?)
        }
        ("slow", rest) => Fault::Slow(rest.map_or(Ok(DEFAULT_DELAY), duration)?),
        ("expire", rest) => Fault::Expire(rest.map_or(Ok(DEFAULT_LIFETIME), duration)?),
        ("revoke", rest) => Fault::Revoke(rest.map_or(Ok(DEFAULT_REVOCATION), duration)?),
        _ => {
            let own = match vendor {
                Vendor::NicMa => fault_of_portals(name, rest)?,
                Vendor::Sahamati => fault_of_secrets(name, rest)?,
                _ => None,
            };
            own.ok_or_else(|| format!("`{fault}` is not a fault of {vendor}"))?
        }
    };
    let strikes_parts = matches!(
        fault,
        Fault::Down(_) | Fault::Lost(_) | Fault::Html(_) | Fault::Status(..) | Fault::Slow(_)
    );
    if part != Part::Whole && !strikes_parts {
        return Err(format!("`{name}` strikes the vendor's tokens, not one of its parts"));
    }
    Ok(ScriptedFault { vendor, part, fault })
}

/// What only the vendor has whose secrets end.
fn fault_of_secrets(name: &str, rest: Option<&str>) -> Result<Option<Fault>, String> {
    let or = |usual| rest.map_or(Ok(usual), duration);
    Ok(match (name, rest) {
        ("grace", None) => Some(Fault::Grace),
        ("secret", _) => Some(Fault::Secret(or(DEFAULT_SECRET)?)),
        ("hard-reset", None) => Some(Fault::HardReset),
        ("late", _) => Some(Fault::Late(or(DEFAULT_LATENESS)?)),
        ("taken", _) => Some(Fault::Taken(or(DEFAULT_REVOCATION)?)),
        _ => None,
    })
}

/// What only the vendor has that mails its tokens.
fn fault_of_portals(name: &str, rest: Option<&str>) -> Result<Option<Fault>, String> {
    Ok(match (name, rest) {
        ("address", rest) => {
            let address = rest.map_or(Ok(DEFAULT_ADDRESS), str::parse);
            Some(Fault::Address(address.map_err(|_| "an address is such as `127.0.0.2`")?))
        }
        ("csrf", None) => Some(Fault::Csrf),
        ("session", None) => Some(Fault::Session),
        ("page", None) => Some(Fault::Page),
        ("password", None) => Some(Fault::Password),
        ("mail-late", _) => Some(Fault::MailLate(rest.map_or(Ok(DEFAULT_DELAY), duration)?)),
        ("mail-lost", None) => Some(Fault::MailLost),
        ("mail-foreign", None) => Some(Fault::MailForeign),
        ("mail-twice", None) => Some(Fault::MailTwice),
        ("imap-down", _) => Some(Fault::ImapDown(rest.map(duration).transpose()?)),
        ("imap-deaf", None) => Some(Fault::ImapDeaf),
        _ => None,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is not a duration such as `500ms`, `30s` or `2m`"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::{Fault, Part, SYNTAX, ScriptedFault};
    use crate::sandbox::Vendor;

    fn parsed(text: &str) -> (Vendor, Part, Fault) {
        let ScriptedFault { vendor, part, fault } = text.parse().expect(text);
        (vendor, part, fault)
    }

    #[test]
    fn faults_are_read_with_and_without_their_times() {
        let seconds = Duration::from_secs;
        assert_eq!(parsed("payhub=down:30s"), (Vendor::Payhub, Part::Whole, Fault::Down(Some(seconds(30)))));
        assert_eq!(parsed("payhub=slow"), (Vendor::Payhub, Part::Whole, Fault::Slow(seconds(2))));
        assert_eq!(parsed("nic-ma.api=html"), (Vendor::NicMa, Part::Api, Fault::Html(None)));
        assert_eq!(
            parsed("sahamati=expire:10s"),
            (Vendor::Sahamati, Part::Whole, Fault::Expire(seconds(10)))
        );
        let (_, _, secret) = parsed("sahamati=secret");
        assert_eq!(
            (secret, parsed("sahamati=late:2s").2),
            (Fault::Secret(seconds(60)), Fault::Late(seconds(2)))
        );
        assert_eq!(parsed("digilocker=revoke"), (Vendor::Digilocker, Part::Whole, Fault::Revoke(seconds(5))));
        assert_eq!(
            parsed("digilocker.issuer=status:503:500ms"),
            (
                Vendor::Digilocker,
                Part::Issuer,
                Fault::Status(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_millis(500)))
            )
        );
    }

    #[test]
    fn a_wrong_fault_is_answered_with_all_that_there_are() {
        for wrong in [
            "payhub",
            "payhub=",
            "payhub=broken",
            "payhub=down:soon",
            "payhub=down:5",
            "payhub=status:99",
            "payhub=status",
            "payhub=grace",
            "payhub=secret",
            "payhub=csrf",
            "nic-ma=csrf:1s",
            "nic-ma=address:here",
            "payhub=address",
            "nic-ma=grace",
            "sahamati=grace:5s",
            "sahamati=hard-reset:1s",
            "sahamati.issuer=secret",
            "payhub.issuer=revoke",
            "payhub.door=down",
            "paypal=down",
        ] {
            let message = wrong.parse::<ScriptedFault>().expect_err(wrong);
            assert!(message.ends_with(SYNTAX), "{message}");
        }
    }
}
