//! A process that is killed and started again and again.

use rustix::process::Signal;
use serde_json::json;

use crate::store::with_store;
use crate::support::configuration::granted;
use crate::support::{Issuer, Reply, Upstream, canary};

#[test]
fn a_crash_loop_asks_no_more_often_than_the_issuer_takes_it() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start(3600));
    for reply in [
        Reply::status(503, "text/plain", "busy"),
        Reply::json(400, &json!({"error": "temporarily_unavailable"})),
        Reply::Reset,
    ] {
        issuer.always(Some(reply));
        let before = issuer.requests().len();
        let limit = "max_renewals = \"4/10m\"\n";
        let mut bearerd = with_store(&granted(&issuer, &canary::secret(), &upstream, limit)).start();
        for _ in 0..7 {
            bearerd.wait("a try, or that none may be made", || {
                bearerd.credential("api")["last_error"]["message"].as_str().map(str::to_owned)
            });
            bearerd.end_by(Signal::KILL);
            bearerd.start_again();
        }
        let message = bearerd.wait("that none may be made", || {
            let message = bearerd.credential("api")["last_error"]["message"].as_str().map(str::to_owned);
            message.filter(|message| message.contains("`max_renewals`"))
        });
        assert!(message.contains("4 times"), "{message}");
        let asked = issuer.requests().len() - before;
        assert!((1..=4).contains(&asked), "{asked} requests in a few seconds, and 4 are allowed");
    }
}
