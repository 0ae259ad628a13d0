//! What single steps of the request path take, in instructions: these repeat on any machine, so that a
//! change of a few shows. `counts.json` has what they took when they were last recorded.

mod guarding;
mod request;

use std::hint::black_box;
use std::sync::Arc;

use bearerd::app;
use bearerd::clock::Clock;
use bearerd::config::{self, Environment};
use bearerd::guard::Patterns;
use bearerd::inject::{Injection, Prepared};
use bearerd::named::Named;
use bearerd::route::path::{self, Ambiguity, Shape};
use bearerd::route::policy::Denial;
use bearerd::route::{Route, RouteTable};
use bearerd::secret::Secret;
use bearerd::template::Template;
use gungraun::prelude::*;
use http::{HeaderName, Method};

use request::passing;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.c3ViamVjdA.c2lnbmF0dXJl";
const PATH: &str = "/tenant-0000/v1/accounts/8f1c/transactions";

/// A table with so many routes, each with its credential.
fn table(routes: usize) -> RouteTable {
    let mut text = String::from("[listeners.app]\nbind = \"127.0.0.1:8080\"\n");
    for number in 0..routes {
        text += &format!(
            r#"
[credentials.c{number:04}]
flow = "static"
token = {{ value = "{TOKEN}" }}
expires = "never"
[routes.tenant-{number:04}]
path = "/tenant-{number:04}"
upstream = "http://127.0.0.1:9000/base"
credential = "c{number:04}"
allow = ["GET /v1/accounts/*/transactions", "POST /v1/**"]
"#
        );
    }
    let Ok(loaded) = config::load_text("bench.toml", &text, &Environment::of_process()) else {
        panic!("the configuration of the benchmark is not valid");
    };
    app::unkept_table(&loaded.config, &Clock::system()).expect("its routes can be wired")
}

#[library_benchmark]
#[bench::plain(PATH)]
#[bench::escaped("/tenant-0000/v1/accounts/caf%C3%A9%20au%20lait/transactions")]
#[bench::refused("/tenant-0000/v1/%2e%2e/token")]
fn check_path(path: &str) -> Result<Shape, Ambiguity> {
    path::check(black_box(path))
}

#[library_benchmark]
#[bench::spelt_strangely("/tenant-0000//V1/%61ccounts;x=1/8f1c/")]
fn canonical_path(path: &str) -> String {
    path::canonical(black_box(path))
}

#[library_benchmark]
#[bench::one_route(table(1))]
#[bench::a_thousand_routes(table(1000))]
fn find_route(table: RouteTable) -> (bool, RouteTable) {
    (black_box(table.find("app", "127.0.0.1", black_box(PATH))).is_some(), table)
}

/// The only route of a table, and the shape of the path.
fn judged() -> (RouteTable, Shape) {
    (table(1), path::check(PATH).expect("it is plain"))
}

#[library_benchmark]
#[bench::allowed(judged())]
fn check_policy((table, shape): (RouteTable, Shape)) -> (Result<(), Denial>, RouteTable) {
    let route: &Route = &table.routes()[0];
    let stripped = route.strip(black_box(PATH));
    (route.check(&Method::GET, stripped, shape), table)
}

fn outputs() -> Named<Secret> {
    Named::from([("token", Secret::new(TOKEN)), ("key", Secret::new("0123456789abcdef"))])
}

fn template(text: &str) -> (Template, Named<Secret>, Clock) {
    (Template::parse(text).expect("it is a template"), outputs(), Clock::system())
}

#[library_benchmark]
#[bench::bearer(template("Bearer {token}"))]
#[bench::basic(template("Basic {base64(key, \":\", token)}"))]
#[bench::signed(template("{hmac_sha256(key, token)}"))]
fn render_template((template, outputs, clock): (Template, Named<Secret>, Clock)) -> usize {
    let rendered = template.render(&|name| outputs.get(name).cloned(), &clock);
    black_box(rendered).map_or(0, |bytes| bytes.len())
}

fn injection() -> (Injection, Named<Secret>, Clock) {
    let template = |text| Template::parse(text).expect("it is a template");
    let injection = Injection {
        headers: vec![
            (HeaderName::from_static("authorization"), template("Bearer {token}")),
            (HeaderName::from_static("x-api-key"), template("{key}")),
        ],
        ..Injection::default()
    };
    (injection, outputs(), Clock::system())
}

#[library_benchmark]
#[bench::two_headers(injection())]
fn prepare_injection(
    (injection, outputs, clock): (Injection, Named<Secret>, Clock),
) -> Result<Prepared, String> {
    black_box(&injection).prepare(&outputs, &clock)
}

/// A text of this kind, and what is looked for.
fn guarded(text: fn(usize) -> Vec<u8>) -> (Arc<Patterns>, Vec<u8>) {
    (guarding::patterns(), text(16 * 1024))
}

#[library_benchmark]
#[bench::plain(guarded(guarding::plain))]
#[bench::json(guarded(guarding::json))]
#[bench::addresses(guarded(guarding::addresses))]
#[bench::page(guarded(guarding::page))]
#[bench::unicode(guarded(guarding::unicode))]
#[bench::percent(guarded(guarding::percent))]
#[bench::nested(guarded(guarding::nested))]
fn guard_16_kib((patterns, text): (Arc<Patterns>, Vec<u8>)) -> (usize, Arc<Patterns>, Vec<u8>) {
    (guarding::screened(&patterns, black_box(&text)), patterns, text)
}

library_benchmark_group!(name = guarding_answers, benchmarks = [guard_16_kib]);
library_benchmark_group!(name = routing, benchmarks = [check_path, canonical_path, find_route, check_policy]);
library_benchmark_group!(name = injecting, benchmarks = [render_template, prepare_injection]);

main!(library_benchmark_groups = [routing, injecting, passing, guarding_answers]);
