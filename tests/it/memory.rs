//! What the memory of the process holds, as root could read it.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{Issuer, Upstream, canary};

/// What is looked for at once, in bytes.
const PIECE: usize = 1 << 20;

/// Starts a bearerd whose memory this test may read: as root, or in a user namespace of its own.
fn start(setup: Setup) -> Sidecar {
    let is_root = rustix::process::getuid().is_root();
    let wrapper: &[&str] = if is_root { &[] } else { &["/usr/bin/unshare", "--user", "--map-root-user"] };
    let sidecar = setup.through(wrapper).start();
    sidecar.wait_until_ready();
    sidecar
}

/// The mappings that are neither written to swap nor to dumps: the ranges of their addresses.
fn sealed(sidecar: &Sidecar) -> Vec<Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", sidecar.id())).expect("its mappings");
    let (mut range, mut sealed) = (0..0, Vec::new());
    for line in maps.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).expect("an address"));
            range = start..end;
        } else if first == "VmFlags:" && line.contains(" lo") && line.contains(" dd") {
            sealed.push(range.clone());
        }
    }
    sealed
}

/// The names of the mappings in which a text lies, one for each place, and where.
fn places(sidecar: &Sidecar, text: &str) -> Vec<(String, u64)> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", sidecar.id())).expect("its mappings");
    let memory = File::open(format!("/proc/{}/mem", sidecar.id())).expect("its memory");
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, rest) = line.split_once(' ').expect("a mapping");
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).expect("an address"));
        let mut piece = vec![0; PIECE + text.len()];
        for at in (start..end).step_by(PIECE) {
            let wanted = piece.len().min(usize::try_from(end - at).expect("a length"));
            // A mapping may be gone by now.
            let Ok(length) = memory.read_at(&mut piece[..wanted], at) else { continue };
            let name = rest.split_ascii_whitespace().nth(4).unwrap_or("anonymous");
            for place in memchr::memmem::find_iter(&piece[..length], text) {
                found.push((name.to_owned(), at + place as u64));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn configuration(issuer: &Issuer, upstream: &Upstream, secret: &str) -> String {
    format!(
        "[credentials.api]\nflow = \"oauth2\"\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\n\
         client_id = \"me\"\nclient_secret = {secret}\n\n\
         [routes.api]\nupstream = \"{}\"\ncredential = \"api\"\n",
        issuer.url(),
        upstream.origin()
    )
}

/// Until its end a token that was replaced is kept, since the guard looks for it in answers.
#[test]
fn a_token_that_was_replaced_and_has_ended_is_nowhere_in_memory() {
    let (issuer, upstream, secret) = (Issuer::start(4), Upstream::start(), canary::secret());
    let text = configuration(&issuer, &upstream, "{ file = \"secret\" }");
    let sidecar = start(Setup::new(&text).file("secret", &secret));
    assert_eq!(sidecar.app().get("/").status(), 200);
    let old = issuer.granted().remove(0);
    assert!(!places(&sidecar, &old).is_empty(), "a token in use lies somewhere");
    sidecar.wait_for_generation("api", 3);
    // What lies on stacks and in buffers of connections is written over by what comes next.
    sidecar.wait("the end of the old token", || {
        assert_eq!(sidecar.app().get("/").status(), 200);
        std::thread::sleep(Duration::from_millis(100));
        places(&sidecar, &old).is_empty().then_some(())
    });
}

#[test]
fn what_tokens_are_made_with_lies_only_where_neither_swap_nor_dumps_take_it_from() {
    let (issuer, upstream, secret) = (Issuer::start(3600), Upstream::start(), canary::secret());
    for source in ["{ file = \"secret\" }", "{ env = \"CLIENT_SECRET\" }"] {
        let setup = Setup::new(&configuration(&issuer, &upstream, source));
        let is_file = source.contains("file");
        let setup =
            if is_file { setup.file("secret", &secret) } else { setup.variable("CLIENT_SECRET", &secret) };
        let sidecar = start(setup);
        assert_eq!(sidecar.app().get("/").status(), 200);
        // What it was sent to the issuer in is wiped when the exchange is over.
        sidecar.wait(&format!("{source} in no other place"), || {
            assert_eq!(sidecar.app().get("/").status(), 200);
            let (places, sealed) = (places(&sidecar, &secret), sealed(&sidecar));
            let is_sealed = |(_, at): &(String, u64)| sealed.iter().any(|range| range.contains(at));
            (!places.is_empty() && places.iter().all(is_sealed)).then_some(())
        });
    }
}
