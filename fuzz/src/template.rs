//! Templates: what is read renders if it is given its values, and puts each value where it stands only.

use bearerd::clock::Clock;
use bearerd::secret::Secret;
use bearerd::template::Template;

const VALUE: &str = "v4lue{}/?&=%\"\\";

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::parse(text) else { return };
    let clock = Clock::system();
    let given = |_: &str| Some(Secret::from(VALUE));
    let rendered = template.render(&given, &clock).expect("all values are there");
    if let Some(plain) = template.as_text() {
        assert_eq!(rendered.as_slice(), plain.as_bytes());
        assert!(template.names().is_empty());
    }
    assert!(rendered.starts_with(template.literal_prefix().as_bytes()));
    if !template.names().is_empty() {
        assert!(template.render(&|_| None, &clock).is_err(), "a missing value is told");
        let bound = template.clone().bind(&|_| Some("bound".to_owned()));
        assert!(bound.render(&|_| None, &clock).is_ok(), "nothing is left to bind");
    }
}
