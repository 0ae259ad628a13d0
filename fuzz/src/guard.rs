//! The guard: no value comes out as it is, whatever stands around it and however the text is cut; the length
//! stays, and what came out has nothing more to mask.

use std::sync::Arc;

use bearerd::guard::{MASK, Patience, Patterns, SHORTEST, Screen, Shown};
use bearerd::secret::Secret;

/// One or two values, the places of the cuts, and the text.
pub(crate) fn run(mut bytes: &[u8]) {
    let values = [super::piece(&mut bytes), super::piece(&mut bytes)];
    let cuts = super::piece(&mut bytes);
    let values: Vec<&[u8]> =
        values.into_iter().filter(|value| value.len() >= SHORTEST && !value.contains(&MASK)).collect();
    let patterns =
        Arc::new(Patterns::new(&values.iter().map(|value| Secret::new(*value)).collect::<Vec<_>>()));
    for text in
        [bytes, &values.concat(), &[bytes, values.first().copied().unwrap_or_default(), bytes].concat()]
    {
        let whole = screened(&patterns, text, &[], Patience::Whole);
        assert_eq!(whole.len(), text.len(), "the length stays");
        assert_eq!(screened(&patterns, text, cuts, Patience::Whole), whole, "in pieces as at once");
        for value in &values {
            assert!(!whole.windows(value.len()).any(|window| window == *value), "a value came out");
        }
        for (at, byte) in whole.iter().enumerate() {
            assert!(*byte == text[at] || *byte == MASK, "nothing else is changed");
        }
        assert_eq!(screened(&patterns, &whole, &[], Patience::Whole), whole, "nothing is left to mask");
        let lively = screened(&patterns, text, cuts, Patience::Lively);
        assert_eq!(lively.len(), text.len());
    }
}

/// What comes out of a text whose pieces have these lengths, the last being the rest.
fn screened(patterns: &Arc<Patterns>, text: &[u8], cuts: &[u8], patience: Patience) -> Vec<u8> {
    let mut screen = Screen::new(Arc::clone(patterns), patience);
    let (mut output, mut rest) = (Vec::new(), text);
    for length in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
        let (mut piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        let is_last = length == usize::MAX;
        while !piece.is_empty() || (is_last && screen.is_holding()) {
            match screen.show(piece, is_last) {
                Shown::Bytes(shown) => {
                    let count = shown.len();
                    output.extend_from_slice(shown);
                    piece = &piece[screen.take(count, piece)..];
                }
                Shown::Wait => {
                    screen.hold(piece);
                    piece = b"";
                }
            }
        }
    }
    output
}
