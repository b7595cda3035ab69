//! Threads of the broker's own.
//!
//! Clients may keep them as busy as they can: the rest of the gateway has others, and the system gives each of them its
//! share of the processor. So a flood of local clients does not make a poll late.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How many: connections wait most of the time, and the hub is one for all.
const COUNT: usize = 2;

/// The threads. They end when it is dropped, whatever still runs on them.
pub struct Threads(Option<Runtime>);

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The system has no more threads, or no more files.
    pub fn start() -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().enable_all().worker_threads(COUNT).thread_name("local-broker").build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs something on them, as one of these tasks.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static, tasks: &mut JoinSet<()>) {
        if let Some(runtime) = &self.0 {
            tasks.spawn_on(task, runtime.handle());
        }
    }

    /// Runs something on them and waits for its end.
    ///
    /// # Errors
    /// It panicked.
    pub async fn wait_for<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn(task).await.map_err(io::Error::other),
            None => Ok(task.await),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Tasks may not wait for threads, and this is dropped within one.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
