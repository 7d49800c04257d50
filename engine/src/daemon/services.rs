//! What runs beside the packets and follows the configuration: each service is a task, ended and begun anew when what it
//! was begun with has changed.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::amqp::Broker;
use crate::cluster::Cluster;
use crate::config::{self, Config, Honeypot};
use crate::control::{Control, Engine, api, tcp, token, web};
use crate::daemon::files::Files;
use crate::daemon::trunks::Trunks;
use crate::events::Events;
use crate::feed::amqp::Queue;
use crate::feed::datagram::Datagrams;
use crate::feed::{Tallies, honeypot};
use crate::records::{Publisher, Records};

/// The services that run.
pub(super) struct Services {
    /// What they speak to.
    pub(super) reach: Reach,
    files: Files,
    trunks: Trunks,
    /// What is served over TCP, once it is there.
    api: Option<Served>,
    log: Service<Broker>,
    tcp: Service<(config::Api, Option<token::Version>)>,
    page: Service<(config::Page, PathBuf)>,
    queue: Service<Queue>,
    datagrams: Service<Datagrams>,
    decoys: Service<config::Honeypot>,
    publisher: Service<Publisher>,
}

/// What is served over TCP.
struct Served {
    router: Router,
    engine: Arc<dyn Engine>,
    /// Where requests are answered.
    front: Handle,
}

/// What a service may speak to.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) control: Arc<Control>,
    pub(super) tallies: Arc<Tallies>,
    /// This node in its cluster, if it is in one.
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) events: Arc<Events>,
    pub(super) runtime: Handle,
    pub(super) records: Records,
}

/// One service, and what it was begun with.
pub(super) struct Service<C> {
    running: Option<(C, JoinHandle<()>)>,
}

impl<C> Default for Service<C> {
    fn default() -> Self {
        Self { running: None }
    }
}

impl<C: Clone + PartialEq> Service<C> {
    /// Forgets the tally of what runs, if that of `wanted` has another name.
    fn forget(&self, wanted: Option<&C>, name: impl Fn(&C) -> String, tallies: &Tallies) {
        let Some(running) = self.running.as_ref().map(|(with, _)| name(with)) else { return };
        if wanted.map(name).as_ref() != Some(&running) {
            tallies.forget(&running);
        }
    }

    /// Has it run with `wanted`, or not at all.
    pub(super) fn follow<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        wanted: Option<C>,
        runtime: &Handle,
        begin: impl FnOnce(C) -> F,
    ) {
        if self.running.as_ref().map(|(with, _)| with) == wanted.as_ref() {
            return;
        }
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
        self.running = wanted.map(|wanted| (wanted.clone(), runtime.spawn(begin(wanted))));
    }

    /// Waits until it has ended, which it does of itself.
    async fn end(&mut self) {
        if let Some((_, task)) = self.running.take() {
            let _it_has_said_why = task.await;
        }
    }
}

impl Services {
    pub(super) fn new(reach: Reach) -> Self {
        let (log, tcp, page, queue, datagrams, decoys, publisher) = Default::default();
        let trunks = Trunks::new(Arc::clone(&reach.control));
        Self {
            files: Files::new(&reach),
            trunks,
            reach,
            api: None,
            log,
            tcp,
            page,
            queue,
            datagrams,
            decoys,
            publisher,
        }
    }

    /// What the API shows, and the runtime that answers.
    pub(super) fn show(&mut self, engine: Arc<dyn Engine>, front: Handle) {
        let Reach { control, runtime, .. } = &self.reach;
        let router = api::router(Arc::clone(control), Arc::clone(&engine), runtime.clone());
        self.api = Some(Served { router, engine, front });
    }

    /// The configuration may have changed.
    pub(super) fn follow(&mut self, config: &Config) {
        let Reach { control, cluster, tallies, events, runtime, records } = &self.reach;
        control.set_widest(super::start::widest(config));
        if let Some(cluster) = cluster {
            self.log.follow(Broker::of(config), runtime, |broker| Arc::clone(cluster).run(broker));
        }
        let queue = Queue::of(config);
        self.queue.forget(queue.as_ref(), Queue::tally_name, tallies);
        self.queue.follow(queue, runtime, |queue| {
            let tally = tallies.of(&queue.tally_name());
            queue.follow(Arc::clone(control), tally)
        });
        let datagrams = Datagrams::of(config);
        self.datagrams.forget(datagrams.as_ref(), Datagrams::tally_name, tallies);
        self.datagrams.follow(datagrams, runtime, |datagrams| {
            let tally = tallies.of(&datagrams.tally_name());
            datagrams.follow(Arc::clone(control), tally)
        });
        let Honeypot { ports, listen, .. } = &config.honeypot;
        let decoys = (!ports.is_empty() || !listen.is_empty()).then(|| config.honeypot.clone());
        self.decoys.follow(decoys, runtime, |config| {
            let (control, events, tallies) = (Arc::clone(control), Arc::clone(events), Arc::clone(tallies));
            honeypot::keep(config, honeypot::Reach { control, events, tallies })
        });
        self.publisher.follow(Publisher::of(config), runtime, |publisher| publisher.follow(records.clone()));
        self.files.follow(&config.file_feed, &self.reach);
        self.trunks.follow(&config.gateway);
        if let Some(Served { router, engine, front }) = &self.api {
            // a token that is replaced is another, and ends what goes on by the one before
            let wanted = config.api.listen.map(|_| (config.api.clone(), token::Version::of(&config.api.token_file)));
            self.tcp.follow(wanted, runtime, |(api, _)| {
                let engine = Arc::clone(engine);
                tcp::serve(api, router.clone(), front.clone(), async move { engine.events().closed().await })
            });
            let wanted = config.page.listen.map(|_| (config.page.clone(), config.api.token_file.clone()));
            self.page.follow(wanted, runtime, |(page, token_file)| {
                let (engine, router) =
                    (Arc::clone(engine), web::router(Arc::clone(control), Arc::clone(engine), runtime.clone()));
                web::serve(page, token_file, router, front.clone(), async move { engine.events().closed().await })
            });
        }
    }

    /// Lets those end that hear of the stop.
    pub(super) async fn stop(&mut self) {
        if let Some(Served { engine, .. }) = &self.api {
            engine.events().close();
        }
        self.tcp.end().await;
        self.page.end().await;
    }
}
