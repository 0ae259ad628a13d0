//! The names of folders as IMAP writes them: a UTF-7 of its own (RFC 3501, section 5.1.3).

use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;

/// A name in that coding. What is printable ASCII stands for itself, but for `&`.
pub(super) fn encoded(name: &str) -> String {
    let alphabet = Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,");
    let base64 = GeneralPurpose::new(&alphabet.expect("64 different characters"), NO_PAD);
    let (mut written, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(next) = rest.chars().next() {
        let is_plain = |next: char| matches!(next, ' '..='~');
        let end = rest.find(|other| is_plain(other) != is_plain(next)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        if is_plain(next) {
            written += &run.replace('&', "&-");
        } else {
            let units: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
            written.push('&');
            base64.encode_string(units, &mut written);
            written.push('-');
        }
        rest = behind;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_of_folders_are_written_as_the_standard_shows() {
        for (name, expected) in [
            ("INBOX", "INBOX"),
            ("", ""),
            ("R&D", "R&-D"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("टोकन 🔑", "&CR8JSwkVCSg- &2D3dEQ-"),
        ] {
            assert_eq!(encoded(name), expected, "{name}");
        }
    }
}
