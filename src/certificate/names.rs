//! What a certificate says of its owner: names, and when it ends.
//!
//! rustls verifies certificates and keeps to itself what is in them. So the few fields that bearerd
//! needs are read here, from the DER of a certificate (RFC 5280, section 4.1) that rustls has accepted.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::CertificateDer;

use crate::der::{Element, parts};

/// The names of a certificate's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names<'a> {
    /// Subject alternative names that are DNS names.
    dns: Vec<&'a str>,
    /// Subject alternative names that are URIs, such as SPIFFE IDs.
    uris: Vec<&'a str>,
    /// The common name, if there is neither of the others: certificates of old made authorities have
    /// nothing else (RFC 6125, section 6.4.4).
    common: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// The names of a certificate; none if it cannot be read.
    pub fn of(certificate: &'a CertificateDer<'_>) -> Self {
        Body::of(certificate).map_or(Self { dns: Vec::new(), uris: Vec::new(), common: None }, |body| {
            let (dns, uris) = body.alternative_names();
            let common = if dns.is_empty() && uris.is_empty() { body.common_name() } else { None };
            Self { dns, uris, common }
        })
    }

    /// Whether one of them is `name`. Letter case does not count in names of hosts; a URI is compared
    /// byte for byte.
    pub fn contain(&self, name: &str) -> bool {
        self.dns.iter().chain(&self.common).any(|own| own.eq_ignore_ascii_case(name))
            || self.uris.contains(&name)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &'a str> {
        self.dns.iter().chain(&self.uris).chain(&self.common).copied()
    }
}

/// The alternative names of a certificate's owner, for as long as a connection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs, such as SPIFFE IDs.
    pub uris: Vec<String>,
}

impl AlternativeNames {
    /// The alternative names of a certificate; none if it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let (dns, uris) = Body::of(certificate).map(|body| body.alternative_names()).unwrap_or_default();
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Self { dns: owned(dns), uris: owned(uris) }
    }

    /// Whether one of them is `name`: a URI if it has a scheme, which is compared byte for byte, else a
    /// DNS name, in which letter case does not count. An authority may be trusted with names of one kind
    /// only (RFC 5280, section 4.2.1.10).
    pub fn contain(&self, name: &str) -> bool {
        if name.contains(':') {
            self.uris.iter().any(|own| own == name)
        } else {
            self.dns.iter().any(|own| own.eq_ignore_ascii_case(name))
        }
    }
}

/// When a certificate begins and ends; `None` if it cannot be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (not_before, rest) = Element::read(Body::of(certificate)?.validity)?;
    let (not_after, _) = Element::read(rest)?;
    Some((time(&not_before)?, time(&not_after)?))
}

/// A time (RFC 5280, section 4.1.2.5).
fn time(element: &Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let digits = match (element.tag, text.get(..2)?.parse::<u32>().ok()?) {
        // Two digits of the year: from 1950 to 2049 (RFC 5280, section 4.1.2.5.1).
        (UTC_TIME, 50..) => format!("19{text}"),
        (UTC_TIME, _) => format!("20{text}"),
        (GENERALIZED_TIME, _) => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?;
    // `99991231235959Z` means that there is no end (RFC 5280, section 4.1.2.5): it is none here either.
    Some(TimeZone::UTC.to_timestamp(time).unwrap_or(Timestamp::MAX))
}

// Tags of X.690, section 8.1.2, as RFC 5280 uses them.
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;

/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The parts of a certificate that are of interest, each without its own head.
struct Body<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Body<'a> {
    fn of(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        let (certificate, _) = Element::read(certificate)?;
        let (body, _) = Element::read(certificate.content)?;
        let mut fields = body.parts().skip_while(|field| field.tag == VERSION);
        let _serial_number = fields.next()?;
        let _signature = fields.next()?;
        let _issuer = fields.next()?;
        let (validity, subject) = (fields.next()?.content, fields.next()?.content);
        let extensions = fields.find(|field| field.tag == EXTENSIONS);
        let extensions = extensions.and_then(|field| Element::read(field.content));
        Some(Self { validity, subject, extensions: extensions.map_or(&[], |(list, _)| list.content) })
    }

    /// DNS names and URIs.
    fn alternative_names(&self) -> (Vec<&'a str>, Vec<&'a str>) {
        let is_wanted = |extension: &Element<'_>| {
            extension.parts().next().is_some_and(|name| name.content == SUBJECT_ALTERNATIVE_NAME)
        };
        // The last part is the value: before it there may be whether the extension is critical.
        let value = parts(self.extensions).find(is_wanted).and_then(|extension| extension.parts().last());
        let names = value.and_then(|value| Element::read(value.content)).map(|(names, _)| names);
        let of = |tag: u8| {
            let names = names.iter().flat_map(Element::parts);
            names
                .filter(move |name| name.tag == tag)
                .filter_map(|name| std::str::from_utf8(name.content).ok())
        };
        (of(DNS_NAME).collect(), of(URI).collect())
    }

    /// The last common name, which is the most specific.
    fn common_name(&self) -> Option<&'a str> {
        let attributes = parts(self.subject).flat_map(|set| set.parts());
        let names = attributes.filter_map(|attribute| {
            let mut of = attribute.parts();
            let (name, value) = (of.next()?, of.next()?);
            let is_text = matches!(value.tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
            (name.tag == OBJECT_IDENTIFIER && name.content == COMMON_NAME && is_text).then_some(value.content)
        });
        std::str::from_utf8(names.last()?).ok()
    }
}
