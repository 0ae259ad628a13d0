//! The fuzz targets on stable: over their corpora, and over mutations that are the same in every run. `make
//! fuzz` lets them run on for as long as one likes.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Mutations of the corpus of each target.
const MUTATIONS: usize = 4000;

/// The longest input that grows out of mutations, in bytes.
const LONGEST: usize = 4096;

/// A small generator of numbers (xorshift), since what fails here has to fail again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit.max(1)
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("it can be read")).collect()
}

/// One input made of one or two others, with some bytes changed, removed, doubled or added.
fn mutated(corpus: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = corpus[numbers.below(corpus.len())].clone();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len());
        let end = at + numbers.below(bytes.len() - at);
        match numbers.below(7) {
            0 if !bytes.is_empty() => bytes[at] = u8::try_from(numbers.below(256)).expect("a byte"),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let telling = b"\r\n\0 :;,%./\\\"{}*=&?#-+\xff\x80";
                bytes.insert(at, telling[numbers.below(telling.len())]);
            }
            5 => {
                let other = &corpus[numbers.below(corpus.len())];
                let from = numbers.below(other.len());
                let to = from + numbers.below(other.len() - from);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => bytes.truncate(end),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

#[test]
fn what_holds_for_any_bytes_holds_for_the_corpora_and_what_grows_out_of_them() {
    for (name, _) in targets::TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has a corpus");
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mutations = (0..MUTATIONS).map(|_| mutated(&corpus, &mut numbers));
        for bytes in corpus.iter().cloned().chain(mutations) {
            let met = std::panic::catch_unwind(|| targets::run(name, &bytes));
            assert!(met.is_ok(), "the target {name} fails with: {}", bytes.escape_ascii());
        }
    }
}
