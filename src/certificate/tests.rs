use std::fs;

use rcgen::{
    CertificateParams, CertifiedIssuer, DnType, DnValue, KeyPair, SanType, date_time_ymd,
    generate_simple_self_signed,
};

use super::{CertificateError, Identity, KeySource, Names, authorities};
use crate::secret::Secret;

#[test]
fn names_are_the_alternative_ones_or_else_the_common_one() {
    let names = |change: &dyn Fn(&mut CertificateParams)| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "common");
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Names::of(certificate.der()).all().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&|_| {}), ["common"]);
    assert_eq!(names(&|of| of.distinguished_name.push(DnType::OrganizationName, "ACME")), ["common"]);
    let printable = DnValue::PrintableString("Other".try_into().expect("a text"));
    assert_eq!(names(&|of| of.distinguished_name.push(DnType::CommonName, printable.clone())), ["Other"]);
    let dns = SanType::DnsName("App.example".try_into().expect("a name"));
    let uri = SanType::URI("spiffe://mesh/app".try_into().expect("a URI"));
    let address = SanType::IpAddress([127, 0, 0, 1].into());
    let alternative = |of: &mut CertificateParams| {
        of.subject_alt_names = vec![address.clone(), uri.clone(), dns.clone()];
    };
    assert_eq!(names(&alternative), ["App.example", "spiffe://mesh/app"]);
    assert_eq!(names(&|of| of.subject_alt_names = vec![address.clone()]), ["common"]);
}

#[test]
fn letter_case_counts_in_uris_alone() {
    let mut parameters = CertificateParams::new(vec!["App.example".to_owned()]).expect("a name");
    parameters.subject_alt_names.push(SanType::URI("spiffe://mesh/App".try_into().expect("a URI")));
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let names = Names::of(certificate.der());
    assert!(names.contain("app.EXAMPLE") && names.contain("spiffe://mesh/App"));
    for other in ["example", "app.example.", "spiffe://mesh/app", "spiffe://mesh", ""] {
        assert!(!names.contain(other), "{other}");
    }
}

#[test]
fn what_is_no_certificate_has_no_names_and_no_end() {
    let whole = generate_simple_self_signed(["app".to_owned()]).expect("a certificate");
    let whole = whole.cert.der();
    assert_eq!(Names::of(whole).all().collect::<Vec<_>>(), ["app"]);
    for length in 0..whole.len() {
        // However it is cut, reading it ends.
        let cut = whole[..length].to_vec().into();
        assert_eq!(Names::of(&cut).all().count(), 0, "{length}");
        assert_eq!(super::validity(&cut), None, "{length}");
    }
}

#[test]
fn an_identity_knows_its_end_in_either_form_of_time() {
    for (year, end) in [
        (2029, "2029-05-17T00:00:00Z"),
        // Behind 2049 the year has four digits.
        (2051, "2051-05-17T00:00:00Z"),
    ] {
        let mut parameters = CertificateParams::new(vec!["app".to_owned()]).expect("a name");
        parameters.not_after = date_time_ymd(year, 5, 17);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("cert.pem"), pem).expect("written");
        let key = KeySource::Value(Secret::from(key.serialize_pem()));
        let identity = Identity::read(&folder.path().join("cert.pem"), &key).expect("an identity");
        assert_eq!(identity.ends_at.to_string(), end);
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_without_what_is_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let one = generate_simple_self_signed(["one".to_owned()]).expect("a certificate");
    let other = generate_simple_self_signed(["other".to_owned()]).expect("a certificate");
    let (one_pem, one_key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let broken = format!("{}=!", &one_key[..60]);
    let (encrypted, other_key) =
        (one_key.replace("PRIVATE", "ENCRYPTED PRIVATE"), other.signing_key.serialize_pem());
    for (cert_text, key_text, wrong) in [
        (&*one_pem, &*one_key, None),
        ("", &one_key, Some("cert.pem holds no certificate in PEM form")),
        (&one_key, &one_key, Some("cert.pem holds no certificate in PEM form")),
        (&one_pem[..100], &one_key, Some("cert.pem is not valid PEM")),
        (&one_pem, "", Some("key.pem holds no private key in PEM form")),
        (&one_pem, &one_pem, Some("key.pem holds no private key in PEM form")),
        (&one_pem, &broken, Some("key.pem is not valid PEM")),
        (&one_pem, &encrypted, Some("key.pem is encrypted")),
        (&one_pem, &other_key, Some("the private key is not that of the certificate")),
    ] {
        fs::write(&cert, cert_text).expect("written");
        fs::write(&key, key_text).expect("written");
        let told = Identity::read(&cert, &KeySource::File(key.clone())).err().map(|error| error.to_string());
        match wrong {
            None => assert_eq!(told, None),
            Some(wrong) => {
                assert!(told.as_ref().is_some_and(|told| told.contains(wrong)), "{told:?}: {wrong}");
            }
        }
    }
    fs::remove_file(&cert).expect("removed");
    let missing = Identity::read(&cert, &KeySource::File(key)).err();
    let Some(CertificateError::Certificate(reason)) = missing else { panic!("{missing:?}") };
    assert!(reason.ends_with("cert.pem does not exist"), "{reason}");
}

/// Made by OpenSSL without extensions, which makes it one of version 1.
const OF_VERSION_1: &str = include_str!("version-1.pem");

#[test]
fn a_certificate_of_version_1_is_told_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cert.pem");
    fs::write(&path, OF_VERSION_1).expect("written");
    let key = KeySource::Value(Secret::from(KeyPair::generate().expect("a key").serialize_pem()));
    let Err(CertificateError::Certificate(reason)) = Identity::read(&path, &key) else {
        panic!("it is no use")
    };
    assert!(reason.ends_with("TLS wants one of version 3 (RFC 5280, section 4.1.2.1)"), "{reason}");
}

#[test]
fn authorities_may_be_several_in_one_file() {
    let authority = || {
        let key = KeyPair::generate().expect("a key");
        CertifiedIssuer::self_signed(CertificateParams::default(), key).expect("a certificate").pem()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    fs::write(&path, [authority(), authority()].concat()).expect("written");
    assert_eq!(authorities(&path).expect("authorities").len(), 2);
    fs::write(&path, "").expect("written");
    authorities(&path).expect_err("nobody is trusted");
}
