//! Keys and words that the contract names and this version does not build yet. They are told as
//! such, so that nobody looks for a spelling mistake.

/// Keys, by a key that only their table has.
const KEYS: &[(&str, &[&str])] = &[
    // A credential.
    ("preset", &["subject"]),
];

/// Words, by a word that stands for the same key.
const WORDS: &[(&str, &[&str])] = &[("memory", &["shared"])];

/// Whether a key of a table with `keys` will come.
pub(crate) fn is_key(key: &str, keys: &[&str]) -> bool {
    is_in(KEYS, key, keys)
}

/// Whether a word beside `words` will come.
pub(crate) fn is_word(word: &str, words: &[&str]) -> bool {
    is_in(WORDS, word, words)
}

fn is_in(later: &[(&str, &[&str])], name: &str, beside: &[&str]) -> bool {
    later.iter().any(|(mark, names)| beside.contains(mark) && names.contains(&name))
}
