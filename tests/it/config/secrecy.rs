//! No value of a secret ever stands in a problem, however a file is broken.

use bearerd::config::load_text;
use proptest::prelude::*;

use super::environment;

/// Secrets in every place where a file can have one.
const FILE: &str = r#"
[server]
drain = "25s"
[admin]
token = { value = "Zq81xKw7Yt" }
[listeners.app]
bind = "127.0.0.1:8080" # Zq81xKw7Yt
[credentials.a]
preset = "payhub"
email = { value = "Zq81xKw7Yt" }
password = { value = 'Zq81xKw7Yt' }
[credentials.b]
flow = "oauth2"
grant = "password"
token_url = "https://issuer.example/token"
client_id = "b"
client_secret = { value = """
Zq81xKw7Yt
Zq81xKw7Yt==
""" }
username = "b"
password = { value = "Zq81xKw7Yt" }
[credentials.c]
flow = "login"
secrets.pin = { value = "Zq81xKw7Yt" }
[[credentials.c.steps]]
url = "https://issuer.example/login"
json = { pin = "{pin}", fixed = "Zq81xKw7Yt", list = ["Zq81xKw7Yt"] }
outputs = { token = "/token" }
[routes.r]
upstream = "https://api.example"
credential = "a"
"#;

/// The secret of [`FILE`].
const SECRET: &str = "Zq81xKw7Yt";
/// As much of it as would give it away.
const TELLING: usize = 5;

/// One way of breaking a file at a place.
#[derive(Debug, Clone)]
enum Harm {
    Remove(usize),
    Insert(String),
    RemoveLine,
    DoubleLine,
}

fn harm() -> impl Strategy<Value = (prop::sample::Index, Harm)> {
    let text = prop_oneof![
        Just("\""),
        Just("'"),
        Just("\n"),
        Just("="),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("#"),
        Just(","),
        Just("."),
        Just(" "),
        Just("\"\"\""),
        Just("x"),
        Just("é"),
        Just("\\"),
        Just("[x]\n"),
    ];
    let harm = prop_oneof![
        (1_usize..12).prop_map(Harm::Remove),
        text.prop_map(|text| Harm::Insert(text.to_owned())),
        Just(Harm::RemoveLine),
        Just(Harm::DoubleLine),
    ];
    (any::<prop::sample::Index>(), harm)
}

fn break_file(text: &str, place: prop::sample::Index, harm: &Harm) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if letters.is_empty() {
        return String::new();
    }
    let at = place.index(letters.len());
    match harm {
        Harm::Remove(length) => {
            letters.drain(at..(at + length).min(letters.len()));
            letters.into_iter().collect()
        }
        Harm::Insert(text) => {
            letters.splice(at..at, text.chars());
            letters.into_iter().collect()
        }
        Harm::RemoveLine | Harm::DoubleLine => {
            let line = letters[..at].iter().filter(|letter| **letter == '\n').count();
            let copies = if matches!(harm, Harm::RemoveLine) { 0 } else { 2 };
            let lines = text.lines().enumerate();
            let lines = lines.flat_map(|(number, text)| vec![text; if number == line { copies } else { 1 }]);
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Whether a text shows so much of the secret that it is given away.
fn tells(text: &str) -> bool {
    let secret = SECRET.as_bytes();
    secret.windows(TELLING).any(|part| memchr::memmem::find(text.as_bytes(), part).is_some())
}

#[test]
fn the_file_of_this_test_is_a_configuration() {
    let loaded = load_text("x", FILE, &environment()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(!tells(&format!("{loaded:?}").replace("\"Zq81xKw7Yt\"", "")), "templates alone may be plain");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_broken_file_never_tells_a_secret(harms in prop::collection::vec(harm(), 1..4)) {
        let broken = harms.iter().fold(FILE.to_owned(), |text, (place, harm)| break_file(&text, *place, harm));
        let told = match load_text("x", &broken, &environment()) {
            Ok(loaded) => {
                let told: Vec<String> =
                    loaded.warnings.iter().chain(&loaded.hints).map(ToString::to_string).collect();
                told.join("\n")
            }
            Err(problems) => format!("{problems}\n{problems:?}"),
        };
        prop_assert!(!tells(&told), "{broken}\n---\n{told}");
    }
}
