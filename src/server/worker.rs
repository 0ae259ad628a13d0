//! The threads of the data plane.
//!
//! Each worker is a thread with a runtime of its own, which never moves a task to another. With one
//! worker it accepts by itself; with more, one accept thread hands each connection to the worker
//! that has the fewest.

use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::clock::Clock;
use crate::proxy::watch::{Group, Phase, Sweeper};
use crate::proxy::{Proxy, Shared};
use crate::server::Listener;
use crate::server::accept::{self, Accepted};
use crate::server::connection::{self, Service};
use crate::server::date::Date;
use crate::server::listener::Socket;
use crate::server::socket::{AppStream, RawStream};
use crate::server::tls;

/// How often idle upstream connections are looked through, and what streams left behind is let go.
const TIDY: Duration = Duration::from_secs(5);

/// What a thread of the data plane is told.
pub enum Command {
    /// Accept from this socket.
    Listen(Socket, Arc<Listener>),
    /// Serve this connection, which is counted for the worker.
    Serve(Accepted<RawStream>, Counted),
    /// Finish the requests in flight of this listener's connections, and take no others of them.
    Part(Arc<Listener>),
    /// Finish the requests in flight and take no others. It is told when it is known.
    Drain(oneshot::Sender<()>),
}

/// How many connections a worker has.
#[derive(Debug, Clone, Default)]
struct Load(Arc<AtomicUsize>);

/// A connection in the load of a worker, until it is dropped.
pub struct Counted(Load);

impl Load {
    fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the accept thread knows of a worker.
struct Handle {
    commands: UnboundedSender<Command>,
    load: Load,
}

/// A running thread; it ends when its handle is dropped.
#[derive(Debug)]
pub struct Thread {
    commands: Option<UnboundedSender<Command>>,
    load: Load,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts a worker.
    pub fn worker(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let load = Load::default();
        let own = load.clone();
        Self::start(format!("worker-{index}"), load, move |commands| work(shared, own, commands))
    }

    /// Starts the accept thread for several workers.
    pub fn acceptor(workers: &[Self]) -> io::Result<Self> {
        let handle =
            |worker: &Self| Some(Handle { commands: worker.commands.clone()?, load: worker.load.clone() });
        let workers: Vec<Handle> = workers.iter().filter_map(handle).collect();
        Self::start("accept".into(), Load::default(), move |commands| hand_out(Rc::new(workers), commands))
    }

    fn start<F: Future<Output = ()>>(
        name: String,
        load: Load,
        run: impl FnOnce(UnboundedReceiver<Command>) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = unbounded_channel();
        let (started, outcome) = mpsc::channel();
        let handle =
            std::thread::Builder::new().name(name).spawn(move || {
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => {
                        let _ = started.send(Ok(()));
                        runtime.block_on(run(receiver));
                    }
                    Err(error) => _ = started.send(Err(error)),
                }
            })?;
        // Without it nobody would be served, and all would look well.
        outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the thread has ended")))?;
        Ok(Self { commands: Some(sender), load, handle: Some(handle) })
    }

    /// Tells the thread something; one that has ended does not hear it.
    pub fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.commands.take();
        if let Some(handle) = self.handle.take() {
            // A worker that panicked has said so; there is nothing to add.
            let _ = handle.join();
        }
    }
}

/// A worker's life.
async fn work(shared: Arc<Shared>, load: Load, mut commands: UnboundedReceiver<Command>) {
    let sweeper = Sweeper::new();
    let worker = Rc::new(Worker {
        clock: shared.clock.clone(),
        service: Rc::new(Service {
            date: Date::new(shared.clock.clone()),
            proxy: Proxy::new(shared, sweeper.clone()),
            seats: Rc::default(),
        }),
        sweeper,
    });
    spawn_local(worker.sweeper.clone().run());
    spawn_local(tidy(worker.service.clone()));
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(socket, listener) => {
                let (worker, load) = (worker.clone(), load.clone());
                spawn_local(accept::run(socket, listener, move |accepted| {
                    worker.serve(accepted, load.count());
                }));
            }
            Command::Serve(accepted, counted) => match accepted.map(AppStream::from_raw) {
                Ok(accepted) => worker.serve(accepted, counted),
                Err(error) => tracing::error!(%error, "a connection was lost between two threads"),
            },
            Command::Part(listener) => worker.sweeper.drain_group(group(&listener)),
            Command::Drain(known) => {
                worker.sweeper.drain();
                let _ = known.send(());
            }
        }
    }
}

/// The accept thread's life.
async fn hand_out(workers: Rc<Vec<Handle>>, mut commands: UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        if let Command::Listen(socket, listener) = command {
            let workers = workers.clone();
            spawn_local(accept::run(socket, listener, move |accepted| {
                match accepted.map(AppStream::into_raw) {
                    Ok(accepted) => hand_to_idlest(&workers, accepted),
                    Err(error) => tracing::error!(%error, "a connection was lost between two threads"),
                }
            }));
        }
    }
}

/// The connection goes to the worker with the fewest.
fn hand_to_idlest(workers: &[Handle], accepted: Accepted<RawStream>) {
    if let Some(worker) = workers.iter().min_by_key(|worker| worker.load.0.load(Ordering::Relaxed)) {
        // Counted here, so that connections that come at once do not go to one worker.
        let _ = worker.commands.send(Command::Serve(accepted, worker.load.count()));
    }
}

async fn tidy(service: Rc<Service>) {
    loop {
        tokio::time::sleep(TIDY).await;
        service.proxy.tidy();
        service.seats.tidy();
    }
}

/// The connections of a listener, which they keep alive: while there is one, no other listener has its address.
fn group(listener: &Arc<Listener>) -> Group {
    Group(Arc::as_ptr(listener).addr())
}

/// What the connections of one worker share.
struct Worker {
    clock: Clock,
    service: Rc<Service>,
    sweeper: Rc<Sweeper>,
}

impl Worker {
    fn serve(self: &Rc<Self>, accepted: Accepted, counted: Counted) {
        let worker = self.clone();
        let settings = accepted.listener.settings.load_full();
        let watch = self.sweeper.watch(group(&accepted.listener), Phase::Head, settings.door.head_timeout);
        if *accepted.listener.closed.borrow() {
            // It came while its listener went.
            watch.drain();
        }
        spawn_local(async move {
            let Accepted { stream, listener: _, mut visitor, place } = accepted;
            if let Some(greeted) = tls::greet(stream, &settings, &watch, &worker.clock).await {
                visitor.refusal = visitor.refusal.or(greeted.refusal.map(Box::new));
                visitor.introduce(&greeted.stream, &settings);
                connection::serve(&worker.service, &settings, watch, greeted.stream, visitor).await;
            }
            drop((counted, place));
        });
    }
}
