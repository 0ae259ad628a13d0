//! What stands for `<..>` in a vendor's file: secrets, tokens, keys and times, made anew for each run.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{
    KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bearerd::clock::Clock;
use serde_json::{Value, json};

use crate::support::canary;

/// How far a time may be from what is expected, in seconds: a loaded machine takes its time.
const TOLERANCE: i64 = 20;

/// The values of one run.
pub struct Material {
    known: BTreeMap<String, String>,
    key: RsaKeyPair,
    pkcs8: Vec<u8>,
}

impl Material {
    /// New values; `places` are the addresses of the servers.
    pub fn new(places: &[(&str, String)]) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("PKCS #8").as_ref().to_vec();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).expect("a public key");
        let certificate =
            rcgen::generate_simple_self_signed(["app.example".to_owned()]).expect("a certificate");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.cert.der());
        let mut known: BTreeMap<String, String> =
            places.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        for (name, value) in [
            ("private key", pem("PRIVATE KEY", &pkcs8)),
            ("public key", pem("PUBLIC KEY", public.as_ref())),
            ("certificate", certificate.cert.pem()),
            ("certificate digest", BASE64_URL_SAFE_NO_PAD.encode(digest)),
        ] {
            known.insert(name.to_owned(), value);
        }
        Self { known, key, pkcs8 }
    }

    /// Fills in all `<..>` of a text.
    pub fn text(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            filled += before;
            let Some((name, behind)) = after.split_once('>') else {
                return filled + "<" + after;
            };
            filled += &self.value(name);
            rest = behind;
        }
        filled + rest
    }

    fn value(&mut self, name: &str) -> String {
        if let Some(value) = self.known.get(name) {
            return value.clone();
        }
        let (kind, further) = name.split_once(' ').unwrap_or((name, ""));
        let value = match kind {
            "secret" => canary::secret(),
            "token" => canary::token(),
            // A signed token that ends in so many seconds; its signature tells it from all others.
            "jwt" => {
                let seconds: i64 = further.split(' ').next_back().and_then(|it| it.parse().ok()).expect(name);
                let claims = json!({ "exp": now() + seconds }).to_string();
                format!("eyJhbGciOiJub25lIn0.{}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims), canary::token())
            }
            "basic" => {
                let pair = further.replace('(', "<").replace(')', ">");
                return BASE64_STANDARD.encode(self.text(&pair));
            }
            "hmac" => {
                let (key, text) = further.rsplit_once(' ').expect(name);
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.value(key).as_bytes());
                let tag = hmac::sign(&key, text.as_bytes());
                tag.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
            }
            "date" => {
                let at = jiff::Timestamp::from_second(now() + further.parse::<i64>().expect(name));
                return at.expect("a time").to_string();
            }
            _ => panic!("nothing is known of <{name}>"),
        };
        self.known.insert(name.to_owned(), value.clone());
        value
    }

    /// Fills in a JSON value. A text that is `<epoch N>` alone becomes a number.
    pub fn json(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => match epoch(text) {
                Some(seconds) => (now() + seconds).into(),
                None => self.text(text).into(),
            },
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), self.json(value))).collect()
            }
            other => other.clone(),
        }
    }

    /// Whether a value is as it is expected; says what is not.
    pub fn compare(&mut self, what: &str, expected: &Value, found: &Value) -> Result<(), String> {
        let differs =
            |expected: &dyn std::fmt::Debug| Err(format!("{what} is {found}, and not {expected:?}"));
        match expected {
            Value::String(text) if epoch(text).is_some() => {
                let expected = now() + epoch(text).unwrap_or_default();
                let is_near = found.as_i64().is_some_and(|found| (found - expected).abs() <= TOLERANCE);
                if is_near { Ok(()) } else { differs(text) }
            }
            Value::String(text) if text == "<uuid>" => {
                let parts = found.as_str().unwrap_or_default().split('-').map(str::len);
                if parts.eq([8, 4, 4, 4, 12]) { Ok(()) } else { differs(text) }
            }
            Value::String(text) if text == "<now>" => {
                // As clients of these vendors write it: 2026-01-31T12:00:00.000Z.
                let found = found.as_str().filter(|found| found.len() == 24 && found.ends_with('Z'));
                let at = found.and_then(|found| found.parse::<jiff::Timestamp>().ok());
                let is_near = at.is_some_and(|at| (at.as_second() - now()).abs() <= TOLERANCE);
                if is_near { Ok(()) } else { differs(text) }
            }
            Value::String(text) => {
                let expected = self.text(text);
                if found.as_str() == Some(&expected) { Ok(()) } else { differs(&expected) }
            }
            Value::Object(members) => match (members.get("signed"), members.get("sealed")) {
                (Some(signed), _) => self.signed(what, signed, found),
                (_, Some(sealed)) => self.sealed(what, sealed, found),
                _ => self.members(what, members, found),
            },
            expected if expected == found => Ok(()),
            expected => differs(expected),
        }
    }

    fn members(
        &mut self,
        what: &str,
        expected: &serde_json::Map<String, Value>,
        found: &Value,
    ) -> Result<(), String> {
        let empty = serde_json::Map::new();
        let found = found.as_object().unwrap_or(&empty);
        if let Some(further) = found.keys().find(|name| !expected.contains_key(*name)) {
            return Err(format!("{what} has {further:?} too"));
        }
        for (name, value) in expected {
            self.compare(&format!("{what}, {name:?}"), value, found.get(name).unwrap_or(&Value::Null))?;
        }
        Ok(())
    }

    /// A JWT, signed with `<private key>`.
    fn signed(&mut self, what: &str, expected: &Value, found: &Value) -> Result<(), String> {
        let text = found.as_str().unwrap_or_default();
        let text = text.strip_prefix(expected["behind"].as_str().unwrap_or_default()).unwrap_or(text);
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Err(format!("{what} is no signed token: {text}"));
        };
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
        let parse = |part: &str| serde_json::from_slice::<Value>(&decode(part)?).map_err(|it| it.to_string());
        let (header_found, claims_found) = (parse(header)?, parse(claims)?);
        let algorithm = match header_found["alg"].as_str() {
            Some("PS256") => &RSA_PSS_2048_8192_SHA256,
            _ => &RSA_PKCS1_2048_8192_SHA256,
        };
        let signed = format!("{header}.{claims}");
        UnparsedPublicKey::new(algorithm, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| format!("{what}: the signature does not hold"))?;
        self.compare(&format!("{what}, header"), &expected["header"], &header_found)?;
        self.compare(&format!("{what}, claims"), &expected["claims"], &claims_found)
    }

    /// A text, encrypted to `<public key>`: `TEXT.SECONDS`.
    fn sealed(&mut self, what: &str, expected: &Value, found: &Value) -> Result<(), String> {
        let bytes =
            BASE64_STANDARD.decode(found.as_str().unwrap_or_default()).map_err(|it| it.to_string())?;
        let key = PrivateDecryptingKey::from_pkcs8(&self.pkcs8).map_err(|error| error.to_string())?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|error| error.to_string())?;
        let mut opened = vec![0; key.min_output_size()];
        let opened = key.decrypt(&OAEP_SHA1_MGF1SHA1, &bytes, &mut opened, None);
        let opened = opened.map_err(|_| format!("{what} does not open"))?;
        let opened = String::from_utf8_lossy(opened).into_owned();
        let (text, at) = opened.rsplit_once('.').ok_or_else(|| format!("{what} is {opened:?}"))?;
        self.compare(what, expected, &text.into())?;
        let is_near = at.parse::<i64>().is_ok_and(|at| (at - now()).abs() <= TOLERANCE);
        if is_near { Ok(()) } else { Err(format!("{what} was sealed at {at}")) }
    }
}

/// `<epoch 60>`: in so many seconds, as seconds since 1970.
fn epoch(text: &str) -> Option<i64> {
    text.strip_prefix("<epoch ")?.strip_suffix('>')?.parse().ok()
}

fn now() -> i64 {
    Clock::system().wall().as_second()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
