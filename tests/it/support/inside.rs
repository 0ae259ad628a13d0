//! bearerd within the test's own process, where the test stands in for the person who consents.

use std::sync::mpsc;
use std::time::Duration;

use bearerd::app;
use bearerd::clock::Clock;
use bearerd::config::{Environment, load};
use bearerd::credential::keeper::Keeper;
use bearerd::credential::{Lifetime, Minted, Outputs, Owner, Subject};
use bearerd::secret::Secret;
use bearerd::server::Address;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::{Client, Setup};

/// A bearerd that runs on a thread of this process until it is dropped.
pub struct Inside {
    keeper: Keeper,
    app: Client,
    admin: Client,
    clock: Clock,
    runtime: Runtime,
    quit: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Inside {
    /// Starts it with a configuration of credentials and routes, and lines for `[server]`.
    pub fn start(rest: &str, server: &str) -> Self {
        let setup = Setup::new(rest).server(server);
        let loaded = load(&setup.write(), &Environment::default()).unwrap_or_else(|error| panic!("{error}"));
        let (started, starting) = mpsc::channel();
        let (quit, quits) = oneshot::channel();
        let clock = Clock::system();
        let own = clock.clone();
        let thread = std::thread::spawn(move || {
            let control = Builder::new_current_thread().enable_all().build().expect("a runtime");
            control.block_on(async {
                let running = app::start(loaded, Environment::default(), own, None).await.expect("it starts");
                let address = |address: &Address| match address {
                    Address::Tcp(address) => Client::new(*address),
                    Address::Unix(path) => panic!("{}", path.display()),
                };
                let app = address(running.listener("app").expect("the listener"));
                let admin = address(running.admin());
                started.send((running.keeper().clone(), app, admin)).expect("the test");
                // It ends with the test in any case.
                let _ = quits.await;
                running.stop().await;
            });
        });
        let (keeper, app, admin) = starting.recv().expect("it has started");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { keeper, app, admin, clock, runtime, quit: Some(quit), thread: Some(thread) }
    }

    /// The app.
    pub fn app(&self) -> Client {
        self.app
    }

    /// A client of the admin listener.
    pub fn admin(&self) -> Client {
        self.admin
    }

    /// The credentials.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// A person consents, and this is the token that comes of it, good for an hour.
    pub fn consent(&self, credential: &str, subject: &str, token: &str) {
        let minted = Minted {
            outputs: Outputs::from([("access_token", Secret::from(token))]),
            lifetime: Some(Lifetime::For(Duration::from_secs(3600))),
            rotated: Some(Secret::from(format!("refresh-{token}"))),
            lapses: None,
            warnings: Vec::new(),
        };
        let owner = owner(credential, subject);
        let adopted = self.keeper.adopt(&owner, minted, self.clock.now());
        self.runtime.block_on(adopted).expect("adopted");
    }

    /// A person logs out.
    pub fn log_out(&self, credential: &str, subject: &str) {
        let owner = owner(credential, subject);
        self.runtime.block_on(self.keeper.forget(&owner)).expect("forgotten");
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(self.quit.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was told by itself.
            let _ = thread.join();
        }
    }
}

fn owner(credential: &str, subject: &str) -> Owner {
    Owner::subject(credential.into(), Subject::new(subject).expect("a subject"))
}
