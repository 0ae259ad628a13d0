//! Files that come and go: each with a keyed digest over its bytes, by the partner's secret.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{CLIENT_SECRET, error};
use crate::sandbox::{Answer, Received};

/// Where files are put.
pub(super) const UPLOAD: &str = "/public/oauth2/1/file/upload";
/// Where they are fetched, by their URI.
const FILE: &str = "/public/oauth2/1/file/";
/// Where certificates are fetched as XML, by their URI.
const XML: &str = "/public/oauth2/1/xml/";
/// The Aadhaar of the account.
const EAADHAAR: &str = "/public/oauth2/3/xml/eaadhaar";
/// The issued document, as it is listed.
const DOCUMENT: &str = "in.gov.pan-PANCR-ABCPK1234D";
/// A document that is changed on its way: its digest does not fit.
const TAMPERED: &str = "in.gov.pan-PANCR-TAMPERED";

/// The largest file, in bytes.
const LARGEST: usize = 10 << 20;

/// The types that may be put, each with the endings of names.
const TYPES: [(&str, &[&str]); 4] = [
    ("image/jpg", &["jpg", "jpeg"]),
    ("image/jpeg", &["jpg", "jpeg"]),
    ("image/png", &["png"]),
    ("application/pdf", &["pdf"]),
];

/// Takes a file, if its digest fits and it may be put where it says.
pub(super) fn upload(request: &Received) -> Result<Answer, Answer> {
    let refused = |code: &'static str| {
        move |complaint: String| error(code, "The file cannot be taken").because(complaint)
    };
    let said = request.field("hmac").map_err(refused("hmac_missing"))?;
    let path = request.field("path").map_err(refused("path_missing"))?;
    let kind = request.field("content-type").map_err(refused("contenttype_missing"))?;
    if request.body.is_empty() {
        return Err(refused("file_data_missing")("there is no file".into()));
    }
    if said != digest(&request.body) {
        return Err(refused("hmac_mismatch")("`hmac` is not over the file that came".into()));
    }
    if request.body.len() > LARGEST {
        return Err(refused("invalid_filesize")("the file is larger than 10 MB".into()));
    }
    let (_, ending) = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).unwrap_or_default();
    let kind = TYPES.iter().find(|(known, _)| *known == kind);
    let (_, endings) =
        kind.ok_or_else(|| refused("invalid_filetype")("it is neither an image nor a PDF".into()))?;
    if !endings.contains(&ending.to_ascii_lowercase().as_str()) {
        return Err(refused("mimetype_mismatch")("the name ends in another type".into()));
    }
    Ok(Answer::json(200, &json!({"path": path, "size": request.body.len().to_string()})))
}

/// What lies at a path, if there is anything.
pub(super) fn download(path: &str) -> Option<Answer> {
    let (kind, content) = if let Some(uri) = path.strip_prefix(FILE) {
        if ![DOCUMENT, TAMPERED].contains(&uri) {
            return None;
        }
        // A header, and so many bytes of an image that nobody reads.
        let mut content = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
        content.resize(96 * 1024, b'.');
        ("application/pdf", content)
    } else if path.strip_prefix(XML) == Some(DOCUMENT) {
        ("application/xml", br#"<Certificate name="PAN" number="ABCPK1234D"/>"#.to_vec())
    } else if path == EAADHAAR {
        ("application/xml", br#"<KycRes code="1" ret="Y" txn="t"/>"#.to_vec())
    } else {
        return None;
    };
    let digest = if path.ends_with(TAMPERED) { digest(b"another file") } else { digest(&content) };
    Some(Answer::file(kind, content).with("hmac", digest))
}

fn digest(content: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, CLIENT_SECRET.as_bytes());
    STANDARD.encode(hmac::sign(&key, content))
}

#[cfg(test)]
mod tests {
    use super::{UPLOAD, digest, download, upload};
    use crate::sandbox::received::tests::request;

    #[test]
    fn a_file_is_taken_with_its_own_digest_only() {
        let put = |hmac: &str, path: &str, kind: &str| {
            let mut asked =
                request("POST", UPLOAD).with("hmac", hmac).with("path", path).with("content-type", kind);
            asked.body = b"png".as_slice().into();
            upload(&asked).unwrap_or_else(|refusal| refusal).value()
        };
        assert_eq!(put(&digest(b"png"), "a/b.png", "image/png")["size"], "3");
        assert_eq!(put(&digest(b"pnG"), "a/b.png", "image/png")["error"], "hmac_mismatch");
        assert_eq!(put(&digest(b"png"), "a/b.png", "text/html")["error"], "invalid_filetype");
        assert_eq!(put(&digest(b"png"), "a/b.pdf", "image/png")["error"], "mimetype_mismatch");
    }

    #[test]
    fn only_what_is_listed_can_be_fetched() {
        assert!(download("/public/oauth2/1/file/in.gov.pan-PANCR-ABCPK1234D").is_some());
        assert!(download("/public/oauth2/1/file/other").is_none());
    }
}
