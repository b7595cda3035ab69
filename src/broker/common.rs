//! What the connections of a broker share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::figures::Figures;
use super::gate::Gate;
use super::hub::Hub;
use super::limits::Limits;
use super::rights::Door;

/// Handshakes that may be under way at once, from the first byte to the login; further clients wait for their turn.
pub const HANDSHAKES: usize = 256;

/// What connections share.
pub struct Common {
    hub: Mutex<Hub>,
    /// What is counted.
    pub figures: Arc<Figures>,
    /// The bounds.
    pub limits: Limits,
    /// Who is let in.
    pub door: Arc<Door>,
    /// What looks at publications before the hub does.
    pub gate: Gate,
    /// How often the rights of those who are in have been judged anew.
    pub judged: AtomicU64,
    /// A place for each handshake.
    pub handshakes: Arc<Semaphore>,
}

impl Common {
    /// Of a broker with that hub.
    pub fn new(hub: Hub, figures: Arc<Figures>, limits: Limits, door: Arc<Door>, gate: Gate) -> Self {
        Self {
            hub: Mutex::new(hub),
            figures,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            limits,
            door,
            gate,
            judged: AtomicU64::new(0),
        }
    }

    /// The hub, for as long as one call takes.
    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        // A call that panicked has lost one client's request; the others are served on.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
