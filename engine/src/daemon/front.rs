//! The threads that answer requests: a runtime of their own, without rights and [confined](crate::confinement) before the
//! first of them. What a request needs beside, the control plane's runtime does for it.

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::confinement::confine;
use crate::privileges;

/// What the threads are called, the one that accepts and those that may wait.
const NAME: &str = "vos-api";
/// How long a stop waits for work that nobody waits for any more.
const GRACE: Duration = Duration::from_secs(2);

/// They run until this is dropped.
pub(super) struct Front {
    runtime: Handle,
    /// Dropped, it ends them.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    /// Starts them; `store` is the one file that they may open, `None`: they are not confined.
    pub(super) fn start(store: Option<PathBuf>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name(NAME).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = privileges::thread(NAME, &[], move || {
            if let Some(store) = store {
                confine(&store);
            }
            // threads of its pool are started from here
            let _dropped_is_stopped = runtime.block_on(stopped);
            runtime.shutdown_timeout(GRACE);
        })?;
        Ok(Self { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _it_has_said_why = thread.join();
        }
    }
}
