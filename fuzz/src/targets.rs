//! What holds for any bytes. Each target takes what a stranger could send at one border, and panics if what
//! is promised there does not hold; `TARGETS` lists them all.

mod chunks;
mod configuration;
mod guard;
mod http2_head;
mod imap;
mod path;
mod proof;
mod readings;
mod request;
mod store_record;
mod template;
mod token_answer;

/// A target: its name, which is that of its corpus, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("request", request::run),
    ("path", path::run),
    ("http2_head", http2_head::run),
    ("chunks", chunks::run),
    ("guard", guard::run),
    ("template", template::run),
    ("configuration", configuration::run),
    ("token_answer", token_answer::run),
    ("proof", proof::run),
    ("store_record", store_record::run),
    ("imap", imap::run),
];

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of TARGETS");
    target(bytes);
}

/// Cuts a first piece off `bytes`, whose length is the first byte; shorter if there is not so much.
fn piece<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = bytes.split_first() else { return b"" };
    let (piece, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    *bytes = rest;
    piece
}
