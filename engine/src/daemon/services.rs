//! What runs beside the packets and follows the configuration: each service is a task, ended and begun anew when what it
//! was begun with has changed.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::control::Control;
use crate::daemon::files::Files;
use crate::feed::Tallies;

/// The services that run.
pub(super) struct Services {
    /// What they speak to.
    pub(super) reach: Reach,
    files: Files,
}

/// What a service may speak to.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) control: Arc<Control>,
    pub(super) tallies: Arc<Tallies>,
    pub(super) runtime: Handle,
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
}

impl Services {
    pub(super) fn new(reach: Reach) -> Self {
        Self { files: Files::new(&reach), reach }
    }

    /// The configuration may have changed.
    pub(super) fn follow(&mut self, config: &Config) {
        let Reach { control, .. } = &self.reach;
        control.set_widest(super::start::widest(config));
        self.files.follow(&config.file_feed, &self.reach);
    }
}
