//! What the connections of a broker share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::figures::Figures;
use super::gate::Gate;
use super::hub::Hub;
use super::limits::Limits;
use super::listen::large;
use super::publication::Publication;
use super::rights::Door;

/// Handshakes that may be under way at once, from the first byte to the login; further clients wait for their turn.
pub const HANDSHAKES: usize = 256;

/// How long one has the hub to itself: what there is to tell it beyond that waits for the next turn. A publication
/// may have thousands of receivers, and everybody else waits for the hub meanwhile.
pub const TURN: Duration = Duration::from_millis(1);

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
    /// A place for each large packet on its way in.
    pub large: Arc<Semaphore>,
}

impl Common {
    /// Of a broker with that hub.
    pub fn new(hub: Hub, figures: Arc<Figures>, limits: Limits, door: Arc<Door>, gate: Gate) -> Self {
        Self {
            hub: Mutex::new(hub),
            figures,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            large: large::places(&limits),
            limits,
            door,
            gate,
            judged: AtomicU64::new(0),
        }
    }

    /// Publishes what the gateway itself says, letting others have their turn in between.
    pub async fn publish_all(&self, publications: impl Iterator<Item = Publication>) {
        let mut publications = publications.peekable();
        while publications.peek().is_some() {
            self.publish_some(&mut publications);
            tokio::task::yield_now().await;
        }
    }

    /// Publishes for as long as one has the hub at a time.
    fn publish_some(&self, publications: &mut impl Iterator<Item = Publication>) {
        let began = Instant::now();
        let mut hub = self.hub();
        for publication in publications {
            hub.publish(publication, began);
            if began.elapsed() >= TURN {
                return;
            }
        }
    }

    /// The hub, for as long as one call takes.
    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        // A call that panicked has lost one client's request; the others are served on.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
