//! Heads by chance, through the built binary: what arrives is what the rules say, in the order in
//! which it was sent. The rules stand here once more, written from RFC 9110, section 7.6, and from
//! what the documentation promises, and know nothing of the code.

use crate::support::{Sidecar, Upstream, canary};

/// Heads that are sent.
const HEADS: usize = 1000;

/// Numbers below `end` that look random, one after the other.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// The name with some letters in the other case.
    fn spell(&mut self, name: &str) -> String {
        let turn = |letter: char| match letter {
            'a'..='z' if self.below(4) == 0 => letter.to_ascii_uppercase(),
            'A'..='Z' if self.below(4) == 0 => letter.to_ascii_lowercase(),
            _ => letter,
        };
        name.chars().map(turn).collect()
    }
}

const NAMES: [&str; 44] = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Authorization_",
    "Cache-Control",
    "Connection",
    "Connection",
    "Connection-Id",
    "Content-Type",
    "Cookie",
    "Cookie2",
    "Date",
    "ETag",
    "Forwarded",
    "Forwarded-By",
    "HTTP2-Settings",
    "If-Match",
    "Keep-Alive",
    "Location",
    "Max-Forwards",
    "Proxy-Authorization",
    "Proxy_Authorization",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Range",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Upgrade",
    "User-Agent",
    "X-Api-Key",
    "X_Api_Key",
    "X-Api_Key",
    "X-Api-Key-2",
    "X-Forwarded",
    "X-Forwarded-For",
    "X_Forwarded_Host",
    "X-Forwarded-Anything",
    "X-One",
    "X_One",
    "X-Two",
    "x",
    "X-Real-Ip",
    "Idempotency-Key",
];

const LISTS: [&str; 12] = [
    "close",
    "keep-alive",
    "X-One",
    "x-two, x-one",
    ",, X-API-KEY ,",
    "Authorization",
    "via",
    "cookie, content-length, host",
    "x_one",
    "Accept,User-Agent;q=1",
    "\"x-two\"",
    "connection",
];

const VALUES: [&str; 14] = [
    "",
    "a",
    "mine",
    "a, b;c=\"d,e\"",
    "sid=mine; a=1",
    "a=1;SID=mine;b=2; ;c",
    "s_id=kept; sid2=kept; Sid = mine",
    "1.1 fred, 1.0 barney (cuddly)",
    "trailers, deflate",
    "  inner  white\tspace",
    "bytes=0-1,2-",
    "http://a/b?c#d",
    "\u{e9}\u{2713}",
    "5",
];

type Fields = Vec<(String, String)>;

fn any(random: &mut Random) -> Fields {
    let mut fields = Fields::new();
    for _ in 0..random.below(14) {
        let name = *random.pick(&NAMES);
        let value = if name == "Connection" { *random.pick(&LISTS) } else { *random.pick(&VALUES) };
        // Over and out: the rest of the connection's heads would not be read.
        if name == "Connection" && value == "close" {
            continue;
        }
        fields.push((random.spell(name), value.to_owned()));
    }
    fields
}

/// What a server that makes variables of names makes of this one.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// What of the app's fields arrives, but for cookies, which are joined.
fn specified(fields: &Fields) -> Fields {
    let listed: Vec<String> = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let passes = |name: &str| {
        let plain = name.to_ascii_lowercase();
        // The hop's own, in this very spelling.
        let is_of_the_hop = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "upgrade",
            "http2-settings",
            "forwarded",
            "proxy-authenticate",
            // The guard reads what comes back.
            "accept-encoding",
        ]
        .contains(&plain.as_str());
        // Secrets of the app, claims about the way, and what is injected: in any spelling.
        let is_taken = ["authorization", "proxy-authorization", "proxy-connection", "x-api-key"]
            .contains(&fold(name).as_str())
            || fold(name).starts_with("x-forwarded-");
        !is_of_the_hop && !is_taken && !listed.contains(&plain) && plain != "cookie"
    };
    let mut left: Fields = fields
        .iter()
        .filter(|(name, _)| passes(name))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    left.push(("accept-encoding".into(), "identity".into()));
    let cookies = fields
        .iter()
        .filter(|(name, _)| {
            name.eq_ignore_ascii_case("cookie") && !listed.iter().any(|name| name == "cookie")
        })
        .flat_map(|(_, value)| value.split(';').map(str::trim))
        .filter(|pair| !pair.is_empty())
        .filter(|pair| fold(pair.split('=').next().unwrap_or_default().trim()) != "sid");
    left.push(("cookie".into(), cookies.map(str::to_owned).collect::<Vec<_>>().join("; ")));
    left
}

#[test]
fn what_arrives_of_any_head_is_what_the_rules_say() {
    let (upstream, token) = (Upstream::start(), canary::token());
    let bearerd = Sidecar::ready(&format!(
        "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
         inject = {{ headers = {{ Authorization = \"Bearer {{token}}\", X-Api-Key = \"{{token}}\" }}, \
         cookies = {{ sid = \"{{token}}\" }}, query = {{ key = \"{{token}}\" }} }}\n\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{}\"\ncredential = \"key\"\n",
        upstream.origin()
    ));
    let app = bearerd.app();
    let mut connection = app.connect();
    let mut random = Random(3);
    let mut sent = Vec::new();
    for number in 0..HEADS {
        let fields = any(&mut random);
        let lines: String = fields.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
        let query = random.pick(&["", "?", "?a=1&b", "?key=mine", "?a&KEY=mine;b&%6bey&c"]);
        connection.send(app.head("GET", &format!("/api/{number}{query}"), &lines, 0));
        assert_eq!(connection.answer().status(), 200, "{lines}");
        sent.push((fields, *query));
    }
    for (number, ((fields, query), seen)) in sent.iter().zip(upstream.requests()).enumerate() {
        let rest = match *query {
            "" | "?key=mine" => "?",
            "?" => "?&",
            "?a=1&b" => "?a=1&b&",
            _ => "?a&c&",
        };
        assert_eq!(seen.target(), format!("/{number}{rest}key={token}"), "{fields:?}");
        let head = seen.head();
        let came = head.trim_end().lines().skip(1).filter_map(|line| line.split_once(':'));
        let came: Fields =
            came.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let one = |name: &str| {
            let mut values = came.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
            let value = values.next();
            assert_eq!(values.next(), None, "{name} comes twice: {head}");
            value.unwrap_or_else(|| panic!("{name} is missing: {head}")).to_owned()
        };
        assert_eq!(one("host"), upstream.address().to_string());
        assert_eq!(one("authorization"), format!("Bearer {token}"));
        assert_eq!(one("x-api-key"), token);
        let mut wanted = specified(fields);
        let (_, cookies) = wanted.pop().expect("the cookies");
        let separator = if cookies.is_empty() { "" } else { "; " };
        assert_eq!(one("cookie"), format!("{cookies}{separator}sid={token}"), "{fields:?}");
        assert!(came.iter().any(|(name, value)| name == "via" && value.starts_with("1.1 bearerd-")));
        let own = ["host", "authorization", "x-api-key", "cookie"];
        let is_own = |(name, value): &(String, String)| {
            own.contains(&name.as_str()) || (name == "via" && value.starts_with("1.1 bearerd-"))
        };
        let rest: Fields = came.iter().filter(|field| !is_own(field)).cloned().collect();
        assert_eq!(rest, wanted, "{fields:?}");
    }
}
