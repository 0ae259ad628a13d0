//! A request's head: what leaves has exactly one of what bearerd sets, nothing that ends at this hop, one way
//! of reading where its body ends, and no path to a token endpoint.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bearerd::app;
use bearerd::buffer::Output;
use bearerd::clock::Clock;
use bearerd::config::{self, Environment};
use bearerd::http1::head::Progress;
use bearerd::http1::{HeadLimits, RequestHead};
use bearerd::inject::Prepared;
use bearerd::named::Named;
use bearerd::proxy::admit::{self, Door, SkipLimits};
use bearerd::proxy::choose::{Chosen, choose};
use bearerd::proxy::sanitize::{Outbound, Sanitized};
use bearerd::route::{Guesses, Rate, RouteTable};
use bearerd::secret::Secret;

const CONFIGURATION: &str = r#"
[listeners.app]
bind = "127.0.0.1:8080"
[credentials.c]
flow = "oauth2"
grant = "client_credentials"
token_url = "http://127.0.0.1:9000/base/token"
client_id = "c"
client_secret = { value = "s3cret" }
inject.headers = { Authorization = "Bearer {access_token}", X-Api-Key = "{access_token}" }
inject.query = { "api key" = "{access_token}" }
inject.cookies = { sid = "{access_token}" }
[routes.r]
path = "/r"
upstream = "http://127.0.0.1:9000/base"
credential = "c"
"#;

const TOKEN: &str = "t0ken-of-the-credential";
const VIA: &str = "1.1 bearerd-0123456789abcdef";
const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100, target: 16 * 1024 };

/// Fields that never reach an upstream, by their names with `-` for `_`.
const ENDS_HERE: &[&str] = &[
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

struct World {
    table: RouteTable,
    door: Door,
    prepared: Prepared,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let clock = Clock::system();
        let loaded = config::load_text("fuzz.toml", CONFIGURATION, &Environment::of_process());
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(problems) => panic!("{problems}"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let table = app::unkept_table(&loaded.config, &clock).expect("its routes can be wired");
        let outputs = Named::from([("access_token", Secret::from(TOKEN))]);
        let prepared =
            table.routes()[0].spec.injection.prepare(&outputs, &clock).expect("the token is there");
        let door = Door {
            listener: "app".to_owned(),
            address: Some(([127, 0, 0, 1], 8080).into()),
            is_tls: false,
            hosts: HashSet::new(),
            control: false,
            body_timeout: Duration::from_secs(30),
            skipped: SkipLimits::default(),
            idle_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            allow: None,
            accounts: Vec::new(),
            wrong_bearers: Guesses::default(),
            max_wrong_bearers: Rate { count: 50, per: Duration::from_secs(10) },
            metrics: Arc::default(),
        };
        World { table, door, prepared }
    })
}

/// Any bytes as a head, and then as the rest of one that may pass.
pub(crate) fn run(bytes: &[u8]) {
    pass(bytes);
    pass(&[b"GET /r/x HTTP/1.1\r\nHost: localhost\r\n", bytes, b"\r\n\r\n"].concat());
    pass(&[b"POST /r", bytes, b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"].concat());
}

fn pass(text: &[u8]) {
    let World { table, door, prepared } = world();
    let mut head = RequestHead::default();
    let Ok(Progress::Whole(length)) = head.parse(text, LIMITS) else { return };
    assert!(length <= text.len(), "no more is read than there is");
    let routes = table.listener(&door.listener);
    let Ok(found) = admit::admit(door, &head, "bearerd-0123456789abcdef", routes) else { return };
    let Ok(Chosen::Route(choice)) = choose(routes, door, found) else { return };
    let Ok(claim) = choice.claim(&head) else { return };
    let framing = choice.found.framing();
    let sanitized = Sanitized::new(&head, &choice.found, choice.route, &claim.rest, VIA);
    let Ok(outbound) = Outbound::new(sanitized, prepared, None) else { return };
    let mut output = Output::default();
    outbound.write(framing, &mut output);
    check(output.bytes(), head.method.as_str());
    match outbound.request(framing) {
        Ok(request) => check_same(output.bytes(), &request),
        Err(why) => assert!(!why.contains(TOKEN), "{why}"),
    }
}

/// Over HTTP/2 the same leaves as over HTTP/1.1, but for what is the connection's own.
fn check_same(written: &[u8], sent: &http::Request<()>) {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(written).expect("what leaves is a head");
    assert_eq!(sent.uri().path_and_query().map(http::uri::PathAndQuery::as_str), request.path);
    assert_eq!(sent.uri().authority().map(http::uri::Authority::as_str), Some("127.0.0.1:9000"));
    let is_common = |name: &str| {
        !["host", "connection", "upgrade", "transfer-encoding", "te", "content-length"].contains(&name)
    };
    let one = request.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
    let other =
        sent.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let [one, other] = [one.collect::<Vec<_>>(), other.collect()].map(|mut fields| {
        fields.retain(|(name, _)| is_common(name));
        fields.sort();
        fields
    });
    assert_eq!(one, other);
}

/// What leaves, read by somebody else's parser.
fn check(written: &[u8], method: &str) {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    let read = request.parse(written).expect("what leaves is a head");
    assert_eq!(read, httparse::Status::Complete(written.len()), "and nothing behind it");
    assert!(!written.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'), "no bare line feed");
    assert_eq!(request.method, Some(method));
    let named = |name: &str| -> Vec<&[u8]> {
        let is_it = |field: &&httparse::Header<'_>| field.name.replace('_', "-").eq_ignore_ascii_case(name);
        request.headers.iter().filter(is_it).map(|field| field.value).collect()
    };
    assert_eq!(named("host"), [b"127.0.0.1:9000"]);
    assert_eq!(named("authorization"), [format!("Bearer {TOKEN}").as_bytes()]);
    assert_eq!(named("x-api-key"), [TOKEN.as_bytes()]);
    for name in ENDS_HERE {
        assert!(named(name).is_empty(), "{name} ends here");
    }
    // Of the connection itself it says only what bearerd means.
    let connection = named("connection").join(&b',').to_ascii_lowercase();
    let options: Vec<&[u8]> = connection.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    assert!(options.iter().all(|option| matches!(*option, b"" | b"te" | b"upgrade")));
    assert_eq!(!named("upgrade").is_empty(), options.contains(&b"upgrade".as_slice()));
    let (lengths, codings) = (named("content-length"), named("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "a body has one end");
    assert!(lengths.iter().all(|length| length.iter().all(u8::is_ascii_digit) && !length.is_empty()));
    assert!(codings.iter().all(|coding| *coding == b"chunked"));
    let cookies = named("cookie");
    assert_eq!(cookies.len(), 1, "one list of cookies");
    let sids = cookies[0].split(|byte| *byte == b';').filter(|pair| pair.trim_ascii().starts_with(b"sid="));
    assert_eq!(sids.map(<[u8]>::trim_ascii).collect::<Vec<_>>(), [format!("sid={TOKEN}").as_bytes()]);

    let target = request.path.expect("a target");
    let (path, query) = target.split_once('?').expect("the query has the injected parameter");
    assert!(path == "/base" || path.starts_with("/base/"), "it stays below the upstream's path: {path}");
    assert!(!target.contains('#'));
    assert!(
        !super::path::readings(path).contains(b"/base/token".as_slice()),
        "{path} leads to the token endpoint"
    );
    let parameter = format!("api%20key={TOKEN}");
    assert_eq!(query.split('&').filter(|pair| *pair == parameter).count(), 1, "{query}");
    let keys = query.split(['&', ';']).filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ").to_ascii_lowercase();
        matches!(name.as_str(), "api key" | "api%20key")
    });
    assert_eq!(keys.count(), 1, "{query}");
}
