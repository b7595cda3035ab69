//! The driver as the gateway runs it, over a real pseudo terminal and a real socket.

#![expect(clippy::unwrap_used, reason = "in a test's helpers too, an unwrap is the assertion")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};
use tokio_util::sync::CancellationToken;
use wharf_contract::settings::SerialPath;
use wharf_contract::settings::{HostPort, Named, Period, Ranged};
use wharf_contract::{Driver, DriverError, Event, Health, LinkEvent, Port, PortEnd, Reading, Value};
use wharf_mysensors::controller::{Numbers, Role, Units};
use wharf_mysensors::registry::names::NameSource;
use wharf_mysensors::zone::TimeSetting;
use wharf_mysensors::{LinkSettings, MySensors};

/// Far longer than anything here takes; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const POSITION: &str = "2;1;1;0;49;55.722526,13.017972,18\n";

fn serial(path: &Path) -> LinkSettings {
    LinkSettings { serial: Some(SerialPath::new(path.to_str().unwrap())), tcp: None, ..bare() }
}

fn tcp(address: &str) -> LinkSettings {
    LinkSettings { tcp: Some(HostPort::parse(address).unwrap()), ..bare() }
}

fn bare() -> LinkSettings {
    LinkSettings {
        serial: None,
        tcp: None,
        mqtt: None,
        baud: None,
        echo_timeout: Period::secs(2),
        retries: Ranged::new(2),
        hold: Period::secs(3600),
        controller: Role::None,
        units: Units::Metric,
        time: TimeSetting::Utc,
        ids: Numbers::Always,
        inclusion: Period::secs(60),
        heartbeat: None,
        take_over: None,
        names: NameSource::Numbers,
        devices: Named::none(),
        firmware: Named::none(),
    }
}

/// One session of a driver, as the supervisor would start it.
struct Running {
    end: PortEnd,
    events: mpsc::Receiver<LinkEvent>,
    stop: CancellationToken,
    session: JoinHandle<Result<(), DriverError>>,
}

impl Running {
    fn start(settings: LinkSettings) -> Self {
        Self::session_of(&Arc::new(MySensors::new("garden".into(), settings)))
    }

    fn session_of(driver: &Arc<MySensors>) -> Self {
        let driver = Arc::clone(driver);
        let (sender, events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let (mut port, end) = Port::new("garden".into(), sender, stop.clone());
        let session = tokio::spawn(async move { driver.run(&mut port).await });
        Self { end, events, stop, session }
    }

    async fn event(&mut self) -> Event {
        let event = timeout(PATIENCE, self.events.recv()).await.expect("no event came");
        event.expect("the session ended").event
    }

    async fn reading(&mut self) -> Reading {
        loop {
            if let Event::Reading(reading) = self.event().await {
                return reading;
            }
        }
    }

    /// The next event says of the node of [`POSITION`] that it is alive, or why not.
    async fn node_is(&mut self, alive: bool, reason: Option<&str>) {
        let reason = reason.map(str::to_owned);
        assert_eq!(self.event().await, Event::Device { device: "garden-2".into(), alive, reason });
    }

    async fn position(&mut self) {
        let reading = self.reading().await;
        assert_eq!((reading.device.as_str(), reading.point.as_str()), ("garden-2", "1-position"));
        assert_eq!(reading.value, Some(Value::Text("55.722526,13.017972,18".into())));
        assert_eq!(*self.end.health.borrow(), Health::Online);
    }

    async fn ended(self) -> Result<(), DriverError> {
        timeout(PATIENCE, self.session).await.expect("the session goes on").unwrap()
    }

    async fn lost(self) -> String {
        match self.ended().await {
            Err(DriverError::Lost(error)) => error.to_string(),
            other => panic!("the session was not lost but {other:?}"),
        }
    }
}

/// A serial adapter that can be pulled out: a pseudo terminal behind a link of a lasting name.
struct Adapter {
    gateway: BufReader<SerialStream>,
    // Without it the gateway's end would be in error until the driver opens the port.
    _port: SerialStream,
}

impl Adapter {
    fn plug(link: &Path) -> Self {
        let (gateway, port) = SerialStream::pair().unwrap();
        let _ = std::fs::remove_file(link);
        symlink(port.name().unwrap(), link).unwrap();
        Self { gateway: BufReader::new(gateway), _port: port }
    }

    fn unplug(self, link: &Path) {
        std::fs::remove_file(link).unwrap();
    }
}

/// A path of this test's own.
fn link_for(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("wharf-mysensors-{test}-{}", std::process::id()))
}

/// Waits until the driver has asked for the version: it is there, and listens.
async fn greeted(gateway: &mut (impl AsyncBufReadExt + Unpin)) {
    let mut line = String::new();
    timeout(PATIENCE, gateway.read_line(&mut line)).await.expect("nothing was asked").unwrap();
    assert_eq!(line, "0;255;3;0;2;\n");
}

async fn says(gateway: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>, line: &str) {
    gateway.write_all(line.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_value_on_the_serial_line_is_read_and_stopping_ends_the_session_well() {
    let link = link_for("value");
    let mut adapter = Adapter::plug(&link);
    let mut running = Running::start(serial(&link));
    greeted(&mut adapter.gateway).await;
    says(&mut adapter.gateway, POSITION).await;
    running.position().await;
    running.stop.cancel();
    running.ended().await.unwrap();
    adapter.unplug(&link);
}

#[tokio::test]
async fn an_adapter_that_was_pulled_out_works_again_under_the_same_name() {
    let link = link_for("unplug");
    let driver = Arc::new(MySensors::new("garden".into(), serial(&link)));
    let mut adapter = Adapter::plug(&link);
    let mut running = Running::session_of(&driver);
    greeted(&mut adapter.gateway).await;
    says(&mut adapter.gateway, POSITION).await;
    running.node_is(true, None).await;
    running.position().await;

    adapter.unplug(&link);
    running.node_is(false, Some(&format!("the link is down: {} was unplugged", link.display()))).await;
    assert_eq!(running.lost().await, format!("{} was unplugged", link.display()));
    let mut running = Running::session_of(&driver);
    assert!(timeout(PATIENCE, running.events.recv()).await.unwrap().is_none(), "nobody was heard");
    assert_eq!(running.lost().await, format!("no such port {}", link.display()));

    let mut adapter = Adapter::plug(&link);
    let mut running = Running::session_of(&driver);
    greeted(&mut adapter.gateway).await;
    says(&mut adapter.gateway, POSITION).await;
    running.node_is(true, None).await;
    running.position().await;
    running.stop.cancel();
    running.node_is(false, Some("the gateway is stopping")).await;
    running.ended().await.unwrap();
    adapter.unplug(&link);
}

#[tokio::test]
async fn a_port_that_another_program_holds_is_not_shared() {
    let link = link_for("held");
    let mut adapter = Adapter::plug(&link);
    let holder = Running::start(serial(&link));
    greeted(&mut adapter.gateway).await;
    assert_eq!(Running::start(serial(&link)).lost().await, format!("{} is in use by another program", link.display()));
    holder.stop.cancel();
    holder.ended().await.unwrap();
    adapter.unplug(&link);
}

#[tokio::test]
async fn an_ethernet_gateway_is_read_until_it_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut running = Running::start(tcp(&address));
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody connected").unwrap();
    let mut gateway: BufReader<TcpStream> = BufReader::new(stream);
    greeted(&mut gateway).await;
    says(&mut gateway, POSITION).await;
    running.position().await;
    drop(gateway);
    assert_eq!(running.lost().await, format!("{address} closed the connection"));
}

#[tokio::test]
async fn an_ethernet_gateway_that_is_not_there_is_lost_and_not_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let reason = Running::start(tcp(&address)).lost().await;
    assert!(reason.starts_with(&format!("{address} cannot be reached")), "{reason}");
}

/// A pipe in the place of a file: whoever opens it for writing waits for a reader.
fn hanging_disk(file: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
}

/// The next answer of the driver, its own questions for the version aside.
async fn answer(gateway: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        let read = timeout(PATIENCE, gateway.read_line(&mut line)).await.expect("no answer came").unwrap();
        assert!(read > 0, "the link has ended");
        if line != "0;255;3;0;2;\n" {
            return line;
        }
    }
}

#[tokio::test]
async fn a_node_gets_its_number_when_the_disk_has_it_and_a_disk_that_hangs_holds_nothing_else_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("garden.nodes.new");
    hanging_disk(&pipe);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = LinkSettings { controller: Role::Local, ..tcp(&address) };
    let driver = MySensors::new("garden".into(), settings).remembering(dir.path().join("garden.nodes"));
    let running = Running::session_of(&Arc::new(driver));
    let mut gateway = BufReader::new(listener.accept().await.unwrap().0);
    gateway.write_all(b"255;17;3;0;3;\n7;255;0;0;17;2.3.2\n7;255;3;0;6;0\n").await.unwrap();
    assert_eq!(answer(&mut gateway).await, "7;255;3;0;6;M\n", "the number is held back, the units are not");
    let silent = timeout(Duration::from_millis(500), answer(&mut gateway)).await;
    assert!(silent.is_err(), "{silent:?}");

    // The pipe takes the text and cannot be synced, so it is written again at the next occasion.
    drop(std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap());
    let _ = std::fs::remove_file(&pipe);
    gateway.write_all(b"255;18;3;0;3;\n").await.unwrap();
    assert_eq!(answer(&mut gateway).await, "255;17;3;0;4;1\n");
    assert_eq!(answer(&mut gateway).await, "255;18;3;0;4;2\n");
    let kept = std::fs::read_to_string(dir.path().join("garden.nodes")).unwrap();
    assert!(kept.contains("\"node\":1,") && kept.contains("\"node\":2,"), "{kept}");
    running.stop.cancel();
    running.ended().await.unwrap();
}
