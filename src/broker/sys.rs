//! What the broker says of itself on `$SYS/broker/…`, by the names Mosquitto has given it, every ten seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::common::Common;
use super::figures::Figures;
use super::publication::{Publication, Qos};
use super::store::{Counters, Store};

/// How often it is said.
const EVERY: Duration = Duration::from_secs(10);
/// Averages are over so many minutes.
const OVER: [u32; 3] = [1, 5, 15];

/// A figure: its name, and what it is.
type Figure<T = Figures> = (&'static str, fn(&T) -> u64);

/// What is told as it is.
const PLAIN: [Figure; 24] = [
    ("clients/connected", |figures| read(&figures.clients)),
    ("clients/active", |figures| read(&figures.clients)),
    ("clients/disconnected", away),
    ("clients/inactive", away),
    ("clients/total", |figures| read(&figures.sessions)),
    ("clients/maximum", |figures| read(&figures.clients_most)),
    ("clients/expired", |figures| read(&figures.sessions_ended)),
    ("messages/received", |figures| read(&figures.packets_received)),
    ("messages/sent", |figures| read(&figures.packets_sent)),
    ("messages/stored", stored),
    ("store/messages/count", stored),
    ("store/messages/bytes", |figures| read(&figures.queued_bytes) + read(&figures.retained_bytes)),
    ("retained messages/count", |figures| read(&figures.retained)),
    ("subscriptions/count", |figures| read(&figures.subscriptions)),
    ("bytes/received", |figures| read(&figures.bytes_received)),
    ("bytes/sent", |figures| read(&figures.bytes_sent)),
    ("publish/messages/received", |figures| read(&figures.received)),
    ("publish/messages/sent", |figures| read(&figures.sent)),
    ("publish/messages/dropped", dropped),
    ("publish/messages/expired", |figures| read(&figures.expired)),
    ("publish/messages/refused", |figures| read(&figures.refused_publications)),
    ("connections/refused", |figures| read(&figures.refused_full) + read(&figures.refused_logins)),
    ("connections/violations", |figures| read(&figures.violations)),
    ("connections/silent", |figures| read(&figures.silent)),
];

/// What is told per minute.
const LOADS: [Figure; 7] = [
    ("messages/received", |figures| read(&figures.packets_received)),
    ("messages/sent", |figures| read(&figures.packets_sent)),
    ("publish/received", |figures| read(&figures.received)),
    ("publish/sent", |figures| read(&figures.sent)),
    ("bytes/received", |figures| read(&figures.bytes_received)),
    ("bytes/sent", |figures| read(&figures.bytes_sent)),
    ("connections", |figures| read(&figures.connections)),
];

/// What is told of the store, which Mosquitto has no names for.
const STORE: [Figure<Counters>; 8] = [
    ("commits", |store| store.commits),
    ("bytes/written", |store| store.written_bytes),
    ("bytes/disk", |store| store.disk_bytes),
    ("bytes/waiting", |store| store.pending_bytes),
    ("failures", |store| store.failures),
    ("behind", |store| store.is_behind.into()),
    ("damaged", |store| store.damaged),
    ("too large", |store| store.too_large),
];

/// Says it until it is told to stop.
pub async fn tell(common: Arc<Common>, store: Option<Arc<Store>>, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    let mut loads = Loads::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Instant::now();
        let mut publications = publications(&common.figures, &mut loads, now - started);
        publications.extend(store.as_ref().into_iter().flat_map(|store| of_store(store)));
        common.publish_all(publications.into_iter()).await;
    }
}

fn say(name: &str, text: String) -> Publication {
    let topic = format!("$SYS/broker/{name}");
    Publication { qos: Qos::AtMostOnce, retain: true, ..Publication::new(topic, text) }
}

fn of_store(store: &Store) -> Vec<Publication> {
    let counters = store.counters();
    let error = store.last_error().map_or_else(|| "none".to_owned(), |(_, error)| error);
    let numbers = STORE.iter().map(|(name, number)| say(&format!("store/{name}"), number(&counters).to_string()));
    numbers.chain([say("store/error", error)]).collect()
}

fn publications(figures: &Figures, loads: &mut Loads, uptime: Duration) -> Vec<Publication> {
    let mut said = vec![
        say("version", format!("wharf {}", env!("CARGO_PKG_VERSION"))),
        say("uptime", format!("{} seconds", uptime.as_secs())),
    ];
    said.extend(PLAIN.iter().map(|(name, figure)| say(name, figure(figures).to_string())));
    said.extend(loads.look(figures, uptime).into_iter().map(|(name, load)| say(&name, format!("{load:.2}"))));
    said
}

/// Averages per minute that follow what happens the slower the longer they are.
#[derive(Default)]
struct Loads {
    before: [u64; LOADS.len()],
    looked_at: Duration,
    averages: [[f64; OVER.len()]; LOADS.len()],
}

impl Loads {
    fn look(&mut self, figures: &Figures, uptime: Duration) -> Vec<(String, f64)> {
        let passed = uptime.saturating_sub(self.looked_at).as_secs_f64() / 60.0;
        self.looked_at = uptime;
        let mut told = Vec::with_capacity(LOADS.len() * OVER.len());
        for (place, (name, figure)) in LOADS.iter().enumerate() {
            let count = figure(figures);
            let more = count.saturating_sub(std::mem::replace(&mut self.before[place], count)) as f64;
            for (average, minutes) in self.averages[place].iter_mut().zip(OVER) {
                // An exponential average (as Mosquitto's): what is older than its minutes counts for a third.
                let keep = (-passed / f64::from(minutes)).exp();
                let rate = if passed > 0.0 { more / passed } else { 0.0 };
                *average = *average * keep + rate * (1.0 - keep);
                told.push((format!("load/{name}/{minutes}min"), *average));
            }
        }
        told
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn away(figures: &Figures) -> u64 {
    read(&figures.sessions).saturating_sub(read(&figures.clients))
}

fn stored(figures: &Figures) -> u64 {
    read(&figures.queued) + read(&figures.retained)
}

fn dropped(figures: &Figures) -> u64 {
    read(&figures.dropped_slow) + read(&figures.dropped_full) + read(&figures.dropped_large)
}

#[cfg(test)]
mod tests {
    use super::super::figures::add;
    use super::*;

    fn said(publications: &[Publication], name: &str) -> String {
        let found = publications.iter().find(|publication| *publication.topic == format!("$SYS/broker/{name}"));
        String::from_utf8(found.expect(name).payload.to_vec()).unwrap()
    }

    #[test]
    fn figures_are_told_by_the_names_mosquitto_gave_them() {
        let figures = Figures::default();
        add(&figures.clients, 3);
        add(&figures.sessions, 5);
        add(&figures.dropped_full, 2);
        let told = publications(&figures, &mut Loads::default(), Duration::from_secs(61));
        assert_eq!(said(&told, "uptime"), "61 seconds");
        assert_eq!(said(&told, "clients/connected"), "3");
        assert_eq!(said(&told, "clients/disconnected"), "2");
        assert_eq!(said(&told, "publish/messages/dropped"), "2");
        let mut topics: Vec<_> = told.iter().map(|publication| publication.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), told.len(), "each is told once");
    }

    #[test]
    fn averages_go_towards_the_rate_that_lasts() {
        let (figures, mut loads) = (Figures::default(), Loads::default());
        let mut told = Vec::new();
        for ten_seconds in 1..=60 {
            add(&figures.received, 100);
            told = loads.look(&figures, Duration::from_secs(10 * ten_seconds));
        }
        let load = |name: &str| told.iter().find(|(found, _)| found == name).unwrap().1;
        assert!((load("load/publish/received/1min") - 600.0).abs() < 1.0, "{told:?}");
        let slow = load("load/publish/received/15min");
        assert!(slow > 200.0 && slow < 400.0, "{slow}");
        assert!(load("load/publish/sent/1min") == 0.0);
    }
}
