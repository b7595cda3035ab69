//! The session, with a pretended radio and a real port.

use std::path::PathBuf;
use std::time::SystemTime;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf_contract::settings::{Named, Period};
use wharf_contract::{Driver, LinkEvent, PortEnd, Value};

use super::*;
use crate::advert::{Advert, Uuid};
use crate::config::{AdoptSettings, LinkSettings, NameTemplate};
use crate::{Ble, config};
use wharf_contract::settings::Ranged;

const ADDRESS: &str = "A4:C1:38:56:53:84";

/// A driver of which only the radio is pretended.
struct Bench {
    heard: mpsc::Sender<Heard>,
    state: watch::Sender<RadioState>,
    events: mpsc::Receiver<LinkEvent>,
    end: PortEnd,
    stop: CancellationToken,
    session: JoinHandle<Result<(), DriverError>>,
    ble: Arc<Ble>,
}

impl Bench {
    fn start(ble: Ble) -> Self {
        Self::session_of(&Arc::new(ble))
    }

    fn session_of(ble: &Arc<Ble>) -> Self {
        let (heard, receiver) = mpsc::channel(64);
        let (state, seen) = watch::channel(RadioState::Starting);
        let (sender, events) = mpsc::channel(4096);
        let stop = CancellationToken::new();
        let (mut port, end) = Port::new("hall".into(), sender, stop.clone());
        let (ear, its) = (Ear { heard: receiver, state: seen, tally: Arc::default(), gatt: None }, Arc::clone(ble));
        let session = tokio::spawn(async move { its.listen(ear, &mut port).await });
        Self { heard, state, events, end, stop, session, ble: Arc::clone(ble) }
    }

    /// A BTHome thermometer says how warm it is, in hundredths of a degree.
    async fn warm(&self, hundredths: i16) {
        let [low, high] = hundredths.to_le_bytes();
        self.says(vec![0x40, 0x02, low, high]).await;
    }

    async fn says(&self, bthome: Vec<u8>) {
        let mut advert = Advert::new(ADDRESS.parse().unwrap());
        advert.service_data.insert(Uuid::short(0xfcd2), bthome);
        self.heard.send(Heard { advert, at: SystemTime::now() }).await.unwrap();
    }

    async fn event(&mut self) -> Event {
        // By the test's own clock, which runs ahead when nobody does anything.
        let event = tokio::time::timeout(Duration::from_secs(3600), self.events.recv()).await;
        event.expect("nothing was told").expect("the session ended").event
    }

    async fn told(&mut self) -> String {
        match self.event().await {
            Event::Reading(reading) => format!("{}/{} {:?}", reading.device, reading.point, reading.value),
            Event::Device { device, alive, reason } => format!("{device} {alive} {}", reason.unwrap_or_default()),
            other => format!("{other:?}"),
        }
    }

    async fn stopped(self) -> Result<(), DriverError> {
        self.stop.cancel();
        self.session.await.unwrap()
    }
}

fn adopting() -> LinkSettings {
    let rule = AdoptSettings {
        model: "*".into(),
        rssi: None,
        name: NameTemplate::parse("th-{short}").unwrap(),
        most: Ranged::new(20),
        heartbeat: Period::secs(600),
        every: None,
        quiet_after: None,
    };
    LinkSettings { adopt: vec![rule], devices: Named::none(), scan: config::Scan::Active, ..LinkSettings::default() }
}

fn ble() -> Ble {
    Ble::new("hall".into(), &adopting())
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_becomes_a_reading_and_stopping_takes_leave_of_the_device() {
    let mut bench = Bench::start(ble());
    bench.state.send_replace(RadioState::Scanning);
    bench.warm(450).await;
    assert_eq!(bench.told().await, "th-565384 true ");
    assert_eq!(bench.told().await, "th-565384/temperature Some(Float(4.5))");
    assert_eq!(*bench.end.health.borrow(), Health::Online);
    bench.stop.cancel();
    assert_eq!(bench.told().await, "th-565384 false the gateway is stopping");
    bench.stopped().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_radio_that_is_away_for_a_moment_is_told_of_and_its_devices_are_not() {
    let mut bench = Bench::start(ble());
    bench.state.send_replace(RadioState::Scanning);
    bench.warm(450).await;
    bench.told().await;
    bench.told().await;
    bench.state.send_replace(RadioState::NoDaemon);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(*bench.end.health.borrow(), Health::Offline("bluetoothd does not run".into()));
    bench.state.send_replace(RadioState::Scanning);
    tokio::time::sleep(Duration::from_secs(20)).await;
    bench.warm(500).await;
    assert_eq!(bench.told().await, "th-565384/temperature Some(Float(5.0))");
}

#[tokio::test(start_paused = true)]
async fn a_radio_that_stays_away_takes_its_devices_with_it_until_they_are_heard_again() {
    let mut bench = Bench::start(ble());
    bench.state.send_replace(RadioState::Scanning);
    bench.warm(450).await;
    bench.told().await;
    bench.told().await;
    bench.state.send_replace(RadioState::Gone { adapter: Some("hci0".into()) });
    assert_eq!(bench.told().await, "th-565384 false the link is down: adapter hci0 is not there");
    bench.state.send_replace(RadioState::Scanning);
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.warm(450).await;
    assert_eq!(bench.told().await, "th-565384 true ");
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_sensor_is_there_again_as_soon_as_the_radio_is() {
    let mut bench = Bench::start(ble());
    bench.state.send_replace(RadioState::Scanning);
    // A door that speaks only when it moves.
    bench.says(vec![0x44, 0x1a, 0x01]).await;
    assert_eq!(bench.told().await, "th-565384 true ");
    assert_eq!(bench.told().await, "th-565384/door Some(Bool(true))");
    bench.state.send_replace(RadioState::NoDaemon);
    assert_eq!(bench.told().await, "th-565384 false the link is down: bluetoothd does not run");
    bench.state.send_replace(RadioState::Scanning);
    assert_eq!(bench.told().await, "th-565384 true ");
}

#[tokio::test(start_paused = true)]
async fn five_hundred_devices_at_two_hundred_adverts_a_second_lose_nothing_and_need_no_more_room_in_time() {
    let mut settings = adopting();
    settings.adopt[0].most = Ranged::new(1_000);
    settings.adopt[0].name = NameTemplate::parse("th-{address}").unwrap();
    let mut bench = Bench::start(Ble::new("hall".into(), &settings));
    bench.state.send_replace(RadioState::Scanning);
    let mut readings = 0_u32;
    for round in 0..40_u16 {
        for device in 0..500_u16 {
            let [low, high] = device.to_le_bytes();
            let mut advert = Advert::new(crate::advert::Address([0xa4, 0xc1, 0x38, 0, high, low]));
            // Each with a packet number and a value of its own.
            let [value, _] = round.to_le_bytes();
            advert.service_data.insert(Uuid::short(0xfcd2), vec![0x40, 0x00, value, 0x02, value, low]);
            bench.heard.send(Heard { advert, at: SystemTime::now() }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            while let Ok(event) = bench.events.try_recv() {
                readings += u32::from(matches!(event.event, Event::Reading(_)));
            }
        }
    }
    assert_eq!(readings, 40 * 500);
    assert_eq!(bench.ble.heard.lock().unwrap().len(), 500);
    let known = bench.ble.clone();
    bench.stopped().await.unwrap();
    assert_eq!(known.roster.lock().await.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_radio_that_ends_ends_the_session_and_the_next_one_knows_what_was_told() {
    let ble = Arc::new(ble());
    let mut bench = Bench::session_of(&ble);
    bench.state.send_replace(RadioState::Scanning);
    bench.warm(450).await;
    bench.told().await;
    bench.told().await;
    let Bench { heard, state, mut events, session, .. } = bench;
    drop((heard, state));
    assert!(matches!(session.await.unwrap(), Err(DriverError::Lost(_))));
    assert!(matches!(events.recv().await.unwrap().event, Event::Device { alive: false, .. }));

    let mut bench = Bench::session_of(&ble);
    bench.state.send_replace(RadioState::Scanning);
    bench.warm(450).await;
    assert_eq!(bench.told().await, "th-565384 true ");
    bench.warm(460).await;
    assert_eq!(bench.told().await, "th-565384/temperature Some(Float(4.6))", "4.5 was told before");
}

#[tokio::test(start_paused = true)]
async fn what_the_radio_counts_goes_on_over_sessions() {
    let ble = Arc::new(ble());
    let (sender, _events) = mpsc::channel(64);
    let (mut port, end) = Port::new("hall".into(), sender, CancellationToken::new());
    for count in [3, 4] {
        let tally: Arc<Tally> = Arc::default();
        tally.heard.add(count);
        let ((adverts, heard), (state, seen)) = (mpsc::channel(1), watch::channel(RadioState::Scanning));
        drop((adverts, state));
        let ear = Ear { heard, state: seen, tally, gatt: None };
        assert!(ble.listen(ear, &mut port).await.is_err());
    }
    let counts = end.counts.read();
    assert_eq!((counts[0], counts[1]), (("heard", 7), ("dropped", 0)));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_counted_by_device_and_reason_with_the_last_one_in_words() {
    let mut bench = Bench::start(ble());
    bench.warm(450).await;
    bench.told().await;
    bench.told().await;
    // Cut off after the object's number.
    bench.says(vec![0x40, 0x02]).await;
    bench.warm(500).await;
    bench.told().await;
    let sight = bench.end.devices.look(1);
    assert_eq!((&sight.refused, &sight.devices[0].refused), (&vec![("truncated", 1)], &vec![("truncated", 1)]));
    let (_, words) = sight.devices[0].last_refused.as_ref().unwrap();
    assert!(words.starts_with("cut off: "), "{words}");
}

#[tokio::test(start_paused = true)]
async fn everything_heard_can_be_looked_at_while_the_session_runs() {
    let mut bench = Bench::start(ble());
    bench.warm(-450).await;
    bench.told().await;
    bench.told().await;
    let json = Driver::heard(&*bench.ble).unwrap();
    assert_eq!((&json["radio"], &json["listens"]), (&"starting".into(), &false.into()));
    assert_eq!(json["heard"][0]["device"], "th-565384");
    assert_eq!(json["heard"][0]["values"]["temperature"]["value"], -4.5);
}

#[tokio::test]
async fn the_adopted_are_devices_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hall.sensors");
    let mut bench = Bench::start(ble().remembering(file.clone()));
    bench.warm(450).await;
    bench.told().await;
    bench.stopped().await.unwrap();

    let bench = Bench::start(ble().remembering(file));
    let (read, answer) =
        Command::new("th-565384".into(), "temperature".into(), Action::Read, Instant::now() + Duration::from_secs(30));
    bench.end.commands.send(read).await.unwrap();
    assert!(matches!(answer.wait().await, Err(CommandError::NoAnswer(_))));
    let known = bench.ble.clone();
    bench.stopped().await.unwrap();
    assert_eq!(known.roster.lock().await.len(), 1);
}

/// A pipe in the place of a file. Whoever opens it for writing waits for a reader.
struct HangingDisk(PathBuf);

impl HangingDisk {
    fn at(path: PathBuf) -> Self {
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        Self(path)
    }

    /// Lets go whoever waits, and gives what is written then.
    fn give_way(&self) -> std::fs::File {
        std::fs::OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
    }
}

/// A runtime does not end before its threads.
impl Drop for HangingDisk {
    fn drop(&mut self) {
        self.give_way();
    }
}

#[tokio::test]
async fn a_disk_that_hangs_stops_neither_the_readings_nor_the_end_of_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let disk = HangingDisk::at(dir.path().join("hall.sensors.new"));
    let mut bench = Bench::start(ble().remembering(dir.path().join("hall.sensors")));
    bench.state.send_replace(RadioState::Scanning);
    bench.warm(450).await;
    bench.told().await;
    bench.told().await;
    // The adopted one is kept a minute later, and no sooner.
    tokio::time::pause();
    tokio::time::advance(KEEP_EVERY + TICK).await;
    tokio::time::resume();
    for warmer in 460..480 {
        bench.warm(warmer).await;
        let told = tokio::time::timeout(Duration::from_secs(30), bench.told()).await;
        assert!(told.expect("a hanging session").starts_with("th-565384/temperature"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.stopped().await.unwrap();
    let (mut pipe, mut begin) = (disk.give_way(), [0; 6]);
    tokio::task::spawn_blocking(move || {
        std::io::Read::read_exact(&mut pipe, &mut begin).unwrap();
        assert_eq!(&begin, b"# What", "the write was under way");
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_is_asked_is_answered_for_by_what_it_said_last() {
    let mut bench = Bench::start(ble());
    bench.warm(450).await;
    bench.told().await;
    bench.told().await;
    let ask = |action| Command::new("th-565384".into(), "temperature".into(), action, Instant::now() + TICK);
    let (read, answer) = ask(Action::Read);
    bench.end.commands.send(read).await.unwrap();
    let done = answer.wait().await.unwrap();
    assert_eq!((done.observed, done.note), (Some(Value::Float(4.5)), Some(AS_LAST_HEARD)));
    let (write, answer) = ask(Action::Write { value: Value::Int(1), verify: false });
    bench.end.commands.send(write).await.unwrap();
    assert!(matches!(answer.wait().await, Err(CommandError::Refused(_))));
}
