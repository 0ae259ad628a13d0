//! A token endpoint (RFC 6749, section 3.2) with scripted answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::message::Message;
use super::{Reply, Upstream, canary};

/// A token endpoint. Each grant is a new canary; scripted answers come first.
#[derive(Clone)]
pub struct Issuer {
    server: Upstream,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    queue: VecDeque<Reply>,
    /// Answers everything behind the queue, in place of grants.
    always: Option<Reply>,
    granted: Vec<String>,
    delay: Duration,
}

impl Issuer {
    /// An issuer whose tokens live for so many seconds.
    pub fn start(expires_in: u64) -> Self {
        Self::shaped(
            move |token| json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in}),
        )
    }

    /// An issuer whose grants look as `grant` makes them of a new token.
    pub fn shaped(grant: impl Fn(&str) -> serde_json::Value + Send + Sync + 'static) -> Self {
        Self::new(grant, |_| None)
    }

    /// An issuer that answers what `judge` says, and grants where that says nothing.
    pub fn judging(
        expires_in: u64,
        judge: impl Fn(&Message) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let grant = move |token: &str| json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in});
        Self::new(grant, judge)
    }

    /// An issuer whose grants look as `grant` makes them, where `judge` says nothing.
    pub fn new(
        grant: impl Fn(&str) -> serde_json::Value + Send + Sync + 'static,
        judge: impl Fn(&Message) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let script = Arc::<Mutex<Script>>::default();
        let shared = Arc::clone(&script);
        let server = Upstream::issuer(move |request| {
            let mut script = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let scripted = script.queue.pop_front().or_else(|| script.always.clone());
            if let Some(reply) = scripted.or_else(|| judge(request)) {
                return reply;
            }
            let token = canary::token();
            script.granted.push(token.clone());
            let delay = script.delay;
            Reply::json(200, &grant(&token)).after(delay)
        });
        Self { server, script }
    }

    /// The same, but grants come that much later.
    pub fn delayed(self, delay: Duration) -> Self {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).delay = delay;
        self
    }

    /// Puts an answer at the end of the queue.
    pub fn then(self, reply: Reply) -> Self {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).queue.push_back(reply);
        self
    }

    /// From now on every answer is this one; `None` means grants again.
    pub fn always(&self, reply: Option<Reply>) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).always = reply;
    }

    /// Grants a token that no one asked for here.
    pub fn grant_to_somebody_else(&self) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).granted.push(canary::token());
    }

    /// The URL of the token endpoint.
    pub fn url(&self) -> String {
        format!("{}/token", self.server.origin())
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        self.server.origin()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Message> {
        self.server.requests()
    }

    /// Waits for so many requests.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Message> {
        self.server.wait_for(count)
    }

    /// The tokens that were granted, oldest first.
    pub fn granted(&self) -> Vec<String> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).granted.clone()
    }

    /// The newest token.
    #[track_caller]
    pub fn token(&self) -> String {
        self.granted().pop().expect("a token was granted")
    }
}
