//! Counts what the drivers' ports had to drop while the gateway was behind.
//!
//! These readings were captured, so they belong into the count of every uplink that would have
//! got them. A port does not know which points its link's readings were of, so an uplink that
//! takes some points of a link counts all that the link lost.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use wharf_contract::{LinkId, Overruns};

use crate::north::{North, Route};
use crate::seldom::{Line, Place, Seldom};

/// How often the ports are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks at the ports of all links.
pub struct OverrunWatch {
    links: Vec<Watched>,
    north: North,
}

struct Watched {
    link: LinkId,
    route: Route,
    overruns: Overruns,
    seldom: Seldom,
}

impl OverrunWatch {
    /// Counts at the queues behind `north`.
    pub fn new(north: North) -> Self {
        Self { links: Vec::new(), north }
    }

    /// Looks at this link's port, too; `route` is who takes something of the link.
    pub fn add(&mut self, link: LinkId, route: Route, overruns: Overruns) {
        self.links.push(Watched { link, route, overruns, seldom: Seldom::default() });
    }

    /// Runs until `stop`, and looks a last time then.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
            for link in &mut self.links {
                link.look(&self.north);
            }
        }
        for link in &mut self.links {
            let rest = link.seldom.rest();
            link.tell(rest);
        }
    }
}

impl Watched {
    fn look(&mut self, north: &North) {
        let line = match self.overruns.take() {
            Some(overrun) => {
                north.count_lost(self.route, overrun.count, overrun.from, overrun.to);
                self.seldom.note(overrun.count)
            }
            None => self.seldom.look(),
        };
        self.tell(line);
    }

    fn tell(&self, line: Option<Line>) {
        let Some(Line { place, count, total, lasting }) = line else { return };
        let (link, lasting_secs) = (&self.link, lasting.as_secs());
        if place == Place::Over && count == 0 {
            info!(%link, readings = total, lasting_secs, "no more readings are dropped at the driver's port");
        } else {
            error!(
                %link, readings = count, total, lasting_secs,
                "readings dropped at the driver's port: the gateway takes none, or not as fast as they come"
            );
        }
    }
}
