//! How many bytes a second the guard looks through: `cargo bench --bench throughput`. The figures are those
//! of this machine as busy as it is; the best of several turns is told.

mod guarding;

use std::time::Instant;

use guarding::{addresses, json, nested, page, patterns, percent, plain, screened, unicode};

const LENGTH: usize = 1 << 20;
const TURNS: usize = 60;

fn main() {
    let patterns = patterns();
    let texts: [(&str, fn(usize) -> Vec<u8>); 7] = [
        ("JSON without escapes", plain),
        ("JSON with escapes", json),
        ("JSON with addresses", addresses),
        ("HTML", page),
        ("all of it \\u", unicode),
        ("all of it %", percent),
        ("JSON in JSON", nested),
    ];
    for (name, text) in texts {
        let text = text(LENGTH);
        let turn = || {
            let began = Instant::now();
            assert!(screened(&patterns, &text) > LENGTH - 64, "nearly all of it passes");
            began.elapsed()
        };
        let best = (0..TURNS).map(|_| turn()).min().expect("there were turns");
        println!("{name:24}{:6.2} GB/s", LENGTH as f64 / best.as_secs_f64() / 1e9);
    }
}
