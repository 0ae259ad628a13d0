//! What receivers are told over restarts.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::{refusing, verified, webhook};
use crate::store::with_store;
use crate::support::configuration::granted;
use crate::support::{Reply, Upstream, canary};

#[test]
fn a_restart_tells_nothing_twice_and_then_that_it_is_over() {
    let (upstream, receiver, issuer) = (Upstream::start(), Upstream::start(), refusing());
    let configuration =
        granted(&issuer, &canary::secret(), &upstream, "") + &webhook(&receiver, "after = \"1s\"");
    let mut bearerd = with_store(&configuration).start();
    assert_eq!(verified(&receiver.wait_for(1)[0])["event"], "rejected");
    for signal in [Signal::TERM, Signal::KILL, Signal::KILL] {
        // What was delivered is kept with the next look.
        std::thread::sleep(Duration::from_millis(1500));
        bearerd.end_by(signal);
        bearerd.start_again();
        bearerd.wait_for_state("api", "rejected");
        std::thread::sleep(Duration::from_millis(1500));
    }
    assert_eq!(receiver.requests().len(), 1, "{:?}", receiver.requests());

    bearerd.end_by(Signal::KILL);
    issuer.always(None);
    bearerd.start_again();
    bearerd.control("POST", "/v1/credentials/api/refresh?wait=true&force=true", b"");
    let notice = verified(&receiver.wait_for(2)[1]);
    assert_eq!((&notice["event"], &notice["was"]), (&"recovered".into(), &"rejected".into()), "{notice}");
}

#[test]
fn a_notice_that_was_not_delivered_comes_after_a_restart_as_it_was() {
    let (upstream, issuer) = (Upstream::start(), refusing());
    let is_up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&is_up);
    let receiver = Upstream::answering(move |_| {
        if seen.load(std::sync::atomic::Ordering::Relaxed) { Reply::text("") } else { Reply::Reset }
    });
    let configuration = granted(&issuer, &canary::secret(), &upstream, "") + &webhook(&receiver, "");
    let mut bearerd = with_store(&configuration).start();
    let first = verified(&receiver.wait_for(1)[0]);
    bearerd.end_by(Signal::KILL);
    is_up.store(true, std::sync::atomic::Ordering::Relaxed);
    let before = receiver.requests().len();
    bearerd.start_again();
    let told = receiver.wait_for(before + 1);
    assert_eq!(verified(told.last().expect("a notice")), first);
    bearerd.wait("the delivery", || {
        (bearerd.metric("bearerd_notifications_total{receiver=\"ops\",outcome=\"sent\"}") == 1).then_some(())
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(receiver.requests().len(), before + 1);
}

#[test]
fn what_came_while_it_was_down_is_told_and_another_receiver_is_told_all() {
    let (upstream, receiver, other) = (Upstream::start(), Upstream::start(), Upstream::start());
    let key = |end: &str| {
        format!(
            "[credentials.key]\nflow = \"static\"\ntoken = {{ value = \"{}\" }}\nexpires = {{ at = \"{end}\" }}\n\
             [routes.key]\nupstream = \"{}\"\ncredential = \"key\"\n",
            canary::token(),
            upstream.origin()
        )
    };
    let setup = with_store(&(key("2040-01-01T00:00:00Z") + &webhook(&receiver, "")));
    let mut bearerd = setup.start();
    bearerd.wait_until_ready();
    bearerd.end_by(Signal::TERM);
    let file = bearerd.folder().join("bearerd.toml");
    let rewrite = |from: &str, to: &str| {
        let text = fs::read_to_string(&file).expect("a file");
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).expect("a file");
    };
    rewrite("2040-01-01", "2020-01-01");
    bearerd.start_again();
    let notice = verified(&receiver.wait_for(1)[0]);
    assert_eq!((&notice["event"], &notice["name"]), (&"expired".into(), &"key".into()), "{notice}");
    std::thread::sleep(Duration::from_millis(1500));
    bearerd.end_by(Signal::TERM);
    rewrite(&receiver.origin(), &other.origin());
    bearerd.start_again();
    assert_eq!(verified(&other.wait_for(1)[0])["event"], "expired");
    assert_eq!(receiver.requests().len(), 1);
}
