//! Messages that somebody mails: nobody but the expected sender is taken for it, what is taken from one is an output,
//! and nothing of the others is told.

use std::path::PathBuf;

use bearerd::credential::flow::login::Extract;
use bearerd::credential::flow::login::page::Selection;
use bearerd::credential::flow::mail::judge::Judge;
use bearerd::credential::flow::mail::{MailStep, Mailbox, Then, USUAL_WAIT};
use jiff::Timestamp;

const SENDER: &str = "token@portal.example";

/// Stands in messages of the corpus that bring no token.
const PRIVATE: &str = "s3cret-of-the-mail";

/// Tue, 14 Nov 2023 22:13:20 +0000
const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

pub(crate) fn run(bytes: &[u8]) {
    let extracts = [
        Extract::Regex(r"(?i)token:\s*([\w.-]{8,})".to_owned()),
        Extract::Css(Selection { selector: "#token".to_owned(), attribute: None }),
        Extract::Css(Selection { selector: "a[href]".to_owned(), attribute: Some("href".to_owned()) }),
    ];
    for extract in extracts {
        let step = step(extract);
        let mut judge = Judge::new(&step, NOW);
        if judge.wants(bytes) {
            assert_eq!(senders(bytes), [SENDER], "a message is from the expected sender and nobody else");
        }
        if let Some(outputs) = judge.outputs(bytes) {
            let token = outputs.get("token").expect("no message without what is looked for");
            assert!(!token.is_empty() && !token.expose().iter().any(u8::is_ascii_control), "it fits a field");
            if let (Extract::Regex(_), Some(text)) = (&step.outputs[0].1, token.expose_str()) {
                assert!(text.chars().all(|next| next.is_alphanumeric() || "._-".contains(next)), "{text}");
            }
        }
        let seen = judge.seen();
        assert!(seen.len() < 500 && !seen.contains(PRIVATE), "nothing of a message is told: {seen}");
    }
}

fn step(extract: Extract) -> MailStep {
    MailStep {
        mailbox: Mailbox::Maildir(PathBuf::new()),
        from: SENDER.to_owned(),
        subject: None,
        wait: USUAL_WAIT,
        then: Then::Seen,
        outputs: vec![("token".to_owned(), extract)],
        expiry: Vec::new(),
    }
}

/// The addresses in the fields `From` of a head as the simplest reader has them: what is in quotes or in brackets of
/// a comment is none, and neither is what stands before one in angle brackets.
fn senders(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).replace("\r\n", "\n");
    let text = text.split("\n\n").next().unwrap_or_default().replace("\n ", " ").replace("\n\t", " ");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let from = fields.filter(|(name, _)| name.trim().eq_ignore_ascii_case("from"));
    from.flat_map(|(_, value)| addresses(value)).collect()
}

fn addresses(value: &str) -> Vec<String> {
    let (mut plain, mut depth, mut is_quoted) = (String::new(), 0_usize, false);
    let mut signs = value.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' if is_quoted || depth > 0 => drop(signs.next()),
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            sign if depth == 0 && !is_quoted => plain.push(sign),
            _ => {}
        }
    }
    let address = |mailbox: &str| {
        let inner = mailbox.split_once('<').map_or(mailbox, |(_, inner)| inner);
        // What stands before an address without angle brackets is none, though it should be in quotes.
        let inner = inner.split('>').next().unwrap_or_default();
        inner.split_whitespace().last().unwrap_or_default().to_ascii_lowercase()
    };
    plain.split([',', ';']).filter(|mailbox| mailbox.contains('@')).map(address).collect()
}
