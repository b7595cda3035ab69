//! What the demo shows: a header with lines to try, then messages as they come.
//!
//! Printing blocks when nobody reads. That holds up the demo's own task and nothing else: the
//! gateway runs on other threads, and what it would show meanwhile is not shown.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{curve, site};
use crate::message::Message;

/// How many readings are shown in a second. What people do, and what comes of it, is always shown.
const LINES_PER_SECOND: u32 = 10;
/// The same for the beginning, when every device says who it is and every point is read at once.
const LINES_AT_FIRST: u32 = 60;
const SECOND: Duration = Duration::from_secs(1);
/// How much of a payload is shown, in characters.
const LONGEST_PAYLOAD: usize = 160;
/// Topics are padded to this, so that payloads stand below each other.
const TOPIC_WIDTH: usize = 32;

/// What runs where.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Where the local broker should have listened.
    pub wanted: SocketAddr,
    /// Where it does.
    pub broker: SocketAddr,
    /// Where the simulated Modbus link is.
    pub modbus: SocketAddr,
    /// Where the simulated MySensors gateway is.
    pub serial: &'a Path,
}

/// The header: what runs, and what to try.
pub fn header(places: &Places<'_>) -> String {
    let Places { wanted, broker, modbus, serial } = places;
    let serial = serial.display();
    let mut text = format!(
        "\
wharf demo: the whole product, without hardware. A day takes {} minutes. Ctrl-C ends it.

  Modbus TCP    {modbus}, simulated: an energy meter (unit 1) and a boiler (unit 2)
  MySensors     {serial}, simulated: greenhouse (1), goat (2), bed (3)
  MQTT broker   {broker}, the embedded one
",
        curve::DAY.as_secs() / 60,
    );
    if wanted != broker && wanted.port() != 0 {
        let _ = writeln!(text, "                {wanted} is taken by another program, so this port was chosen");
    }
    text.push_str("\nTry from another terminal (mosquitto-clients has these commands):\n\n");
    let (host, port, name) = (broker.ip(), broker.port(), site::GATEWAY);
    let mut example = |what: &str, command: &str, rest: &str| {
        let _ = writeln!(text, "  # {what}\n  {command} -h {host} -p {port} {rest}\n");
    };
    let watch = format!("-v -t '{name}-out/#' -t '{name}-sys/#'");
    example("watch everything", "mosquitto_sub", &watch);
    let mut write = |what: &str, rest: &str| example(what, "mosquitto_pub", &format!("-t {name}-in/{rest}"));
    write("heat the water to 65 °C, and see the temperature follow", "boiler/setpoint -m 65");
    write("hotter than the site file allows: refused", "boiler/setpoint -m 95");
    write("switch the pump on, and see the level rise", "boiler/pump -m on");
    write("read the meter now", "meter/power/get -n");
    write("open the valve, in the classic form of MySensors: node/child/command/ack/type", "3/3/1/1/2 -m 1");
    write("the same by name, closed again", "bed/valve -m off");
    let _ = writeln!(text, "Each command is answered on {name}-sys/answer/<device>/<point>.");
    let _ = writeln!(text, "MySensors readings keep their classic topics: {name}-out/3/3/1/0/2 is the valve.");
    text.push_str("`wharf demo --print-site` shows the site file behind all this. What is published now:\n\n");
    text
}

/// Shows messages until their senders are gone.
///
/// # Errors
///
/// The output takes no more.
pub async fn run(out: &mut impl Write, mut messages: mpsc::Receiver<Message>) -> io::Result<()> {
    let mut pacer = Pacer::new(Instant::now());
    while let Some(message) = messages.recv().await {
        let skipped = pacer.turn(Instant::now());
        if skipped > 0 {
            writeln!(out, "  … and {skipped} more readings")?;
        }
        if !is_reading(&message) || pacer.admit() {
            writeln!(out, "{}", line(&message))?;
            out.flush()?;
        }
    }
    Ok(())
}

fn is_reading(message: &Message) -> bool {
    message.topic.strip_prefix(site::GATEWAY).is_some_and(|rest| rest.starts_with("-out/"))
}

/// One message as a line. A terminal obeys control characters, so none get through.
fn line(message: &Message) -> String {
    let payload = String::from_utf8_lossy(&message.payload);
    let mut shown: String = payload.chars().take(LONGEST_PAYLOAD).collect();
    if shown.len() < payload.len() {
        shown.push('…');
    }
    let line = format!("{:TOPIC_WIDTH$} {shown}", message.topic);
    line.replace(char::is_control, "\u{fffd}")
}

/// Counts readings, second by second.
#[derive(Debug)]
struct Pacer {
    begun: Instant,
    /// How many more may be shown in this second.
    left: u32,
    skipped: u64,
}

impl Pacer {
    fn new(now: Instant) -> Self {
        Self { begun: now, left: LINES_AT_FIRST, skipped: 0 }
    }

    /// Begins another second if it is time. Returns how many readings the one before has skipped.
    fn turn(&mut self, now: Instant) -> u64 {
        if now.saturating_duration_since(self.begun) < SECOND {
            return 0;
        }
        let next = Self { begun: now, left: LINES_PER_SECOND, skipped: 0 };
        std::mem::replace(self, next).skipped
    }

    /// Whether one more reading may be shown in this second.
    fn admit(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.skipped += 1,
        }
        self.skipped == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shown(messages: Vec<(Duration, Message)>) -> Vec<String> {
        let (sender, receiver) = mpsc::channel(1);
        let sending = async move {
            for (pause, message) in messages {
                tokio::time::sleep(pause).await;
                sender.send(message).await.unwrap();
            }
        };
        let mut out = Vec::new();
        let (result, ()) = tokio::join!(run(&mut out, receiver), sending);
        result.unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    /// That many readings, the first after a pause and the others at once.
    fn readings(pause: Duration, count: usize) -> Vec<(Duration, Message)> {
        let pauses = std::iter::once(pause).chain(std::iter::repeat(Duration::ZERO));
        pauses.take(count).map(|pause| (pause, Message::new("demo-out/a/b", "1"))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_readings_is_thinned_and_what_was_left_out_is_counted() {
        let lines = shown([readings(SECOND, 500), readings(SECOND, 1)].concat()).await;
        assert_eq!(lines.len(), 12, "{lines:?}");
        assert_eq!(lines[10], "  … and 490 more readings");
    }

    #[tokio::test(start_paused = true)]
    async fn what_every_device_says_at_first_is_shown_in_full() {
        let lines = shown([readings(Duration::ZERO, 50), readings(SECOND, 11), readings(SECOND, 1)].concat()).await;
        assert_eq!(lines.len(), 50 + 10 + 1 + 1, "{lines:?}");
        assert_eq!(lines[60], "  … and 1 more readings");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_shown_however_many_readings_there_are() {
        let answer = (Duration::ZERO, Message::new("demo-sys/answer/a/b", "{}"));
        let lines = shown([readings(SECOND, 50), vec![answer]].concat()).await;
        assert_eq!(lines.len(), 11);
        assert!(lines[10].starts_with("demo-sys/answer/a/b "), "{lines:?}");
    }

    #[test]
    fn a_payload_cannot_command_the_terminal_or_fill_it() {
        let line = line(&Message::new("demo-out/a/b\u{9b}", format!("\x1b[2J\n{}", "x".repeat(5_000))));
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.chars().count() < 250 && line.ends_with('…'));
    }

    #[test]
    fn the_header_names_the_port_to_use_and_says_when_it_is_another() {
        let address = |text: &str| text.parse().unwrap();
        let (wanted, modbus) = (address("127.0.0.1:1883"), address("127.0.0.1:40001"));
        let places = |broker| Places { wanted, broker, modbus, serial: Path::new("/tmp/demo/ttyDemo") };
        let usual = header(&places(wanted));
        assert!(usual.contains("mosquitto_sub -h 127.0.0.1 -p 1883 -v -t 'demo-out/#' -t 'demo-sys/#'"), "{usual}");
        assert!(usual.contains("mosquitto_pub -h 127.0.0.1 -p 1883 -t demo-in/boiler/setpoint -m 65"), "{usual}");
        assert!(!usual.contains("is taken"));
        let other = header(&places(address("127.0.0.1:40002")));
        assert!(other.contains("-p 40002") && !other.contains("-p 1883"), "{other}");
        assert!(other.contains("127.0.0.1:1883 is taken"), "{other}");
    }
}
