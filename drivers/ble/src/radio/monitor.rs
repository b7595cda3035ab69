//! An advertisement monitor beside the scan.
//!
//! The kernel lets the controller leave out what it has told already, and some controllers take that
//! to mean: one report per device every ten seconds, whatever it says. While a monitor is registered
//! the kernel switches that off. A monitor alone makes the daemon scan passively. Daemons offer
//! monitors from 5.55 on, some of them with `--experimental` only; that one does not is normal, and
//! said once.
//!
//! (`org.bluez.AdvertisementMonitorManager1`, doc/advertisement-monitor-api.txt in BlueZ.)

use std::collections::HashMap;
use std::sync::Arc;

use dbus::arg::{PropMap, Variant};
use dbus::channel::{MatchingReceiver, Sender, Token};
use dbus::message::{MatchRule, Message, MessageType};
use dbus::nonblock::SyncConnection;
use dbus::{MethodErr, Path};
use tokio::sync::mpsc;

use crate::advert::Address;

use super::bus::{BLUEZ, Bus, Fault, address_in, path};

const MANAGER: &str = "org.bluez.AdvertisementMonitorManager1";
const MONITOR: &str = "org.bluez.AdvertisementMonitor1";
/// Where our monitors are on the bus.
const ROOT: &str = "/wharf/monitors";

/// How many patterns a monitor may have. Daemons up to 5.8x reckon a monitor's length in eight bits: an
/// eighth pattern overwrites their memory, and they crash.
const PATTERNS: usize = 7;

/// The types of pieces that are looked at (Assigned Numbers, 2.3).
const FLAGS: u8 = 0x01;
const SERVICE_DATA: u8 = 0x16;

/// How many devices that were found may wait to be looked at.
const FOUND: usize = 256;

/// Where in a piece of an advertisement, of which type, which bytes are to be found.
type Pattern = (u8, u8, Vec<u8>);

/// What patterns a monitor has to match, in all of its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nothing that is ever sent: it is there for the kernel alone, and the scan hears everything.
    Token,
    /// As much as patterns can say: it is all that is heard.
    Everything,
}

/// Registered monitors. They are there as long as the connection is, or until this is dropped.
pub(super) struct Monitor {
    connection: Arc<SyncConnection>,
    receiver: Option<Token>,
    found: mpsc::Receiver<Address>,
}

impl Monitor {
    /// Registers monitors with an adapter.
    ///
    /// `Fault::Unknown` means that the daemon does not offer them.
    pub(super) async fn register(bus: &Bus, adapter: &str, scope: Scope) -> Result<Self, Fault> {
        let patterns = match scope {
            Scope::Token => vec![(0, FLAGS, vec![0xff])],
            Scope::Everything => everything(),
        };
        let objects = Objects { patterns: patterns.chunks(PATTERNS).map(<[Pattern]>::to_vec).collect() };
        let (tell, found) = mpsc::channel(FOUND);
        let receiver = bus.connection.start_receive(
            MatchRule::new().with_type(MessageType::MethodCall).with_namespaced_path(ROOT),
            Box::new(move |call, connection: &SyncConnection| {
                if let Some(address) = found_in(&call) {
                    // What does not fit is a repetition that nobody misses.
                    let _ = tell.try_send(address);
                }
                if let Some(answer) = objects.answer(&call) {
                    // One that cannot be sent means that the connection is dead, which is noticed elsewhere.
                    let _ = connection.send(answer);
                }
                true
            }),
        );
        let monitor = Self { connection: Arc::clone(&bus.connection), receiver: Some(receiver), found };
        let root = Path::from(ROOT);
        let () = bus.ask(BLUEZ, &path(adapter), MANAGER, "RegisterMonitor", (root,)).await?;
        Ok(monitor)
    }

    /// The next device of which the daemon says that it was heard, whether or not that has changed
    /// anything. Never, of a token.
    pub(super) async fn found(&mut self) -> Address {
        match self.found.recv().await {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }

    /// Takes the monitors away.
    pub(super) async fn unregister(self, bus: &Bus, adapter: &str) -> Result<(), Fault> {
        bus.ask(BLUEZ, &path(adapter), MANAGER, "UnregisterMonitor", (Path::from(ROOT),)).await
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.connection.stop_receive(receiver);
        }
    }
}

/// Whom the daemon says it has found, if that is what a call says.
fn found_in(call: &Message) -> Option<Address> {
    call.member().filter(|member| &**member == "DeviceFound")?;
    address_in(&call.read1::<Path<'_>>().ok()?)
}

/// The objects the daemon looks at.
struct Objects {
    patterns: Vec<Vec<Pattern>>,
}

impl Objects {
    /// What to answer. Nothing to what wants no answer, as bluetoothd tells of each device that it found: the
    /// bus would refuse it, and write a line into the machine's log each time.
    fn answer(&self, call: &Message) -> Option<Message> {
        if call.get_no_reply() {
            return None;
        }
        let face = call.interface();
        let method = call.member();
        Some(match (face.as_deref().unwrap_or_default(), method.as_deref().unwrap_or_default()) {
            ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects") => call.method_return().append1(self.managed()),
            ("org.freedesktop.DBus.Properties", "GetAll") => match self.properties_at(call) {
                Some(properties) => call.method_return().append1(properties),
                None => MethodErr::failed("no such object").to_message(call),
            },
            // Told when it begins, for each advertisement, and when the daemon lets go of it.
            (MONITOR, "Activate" | "Release" | "DeviceFound" | "DeviceLost") => call.method_return(),
            ("org.freedesktop.DBus.Peer", "Ping") => call.method_return(),
            (_, method) => MethodErr::no_method(method).to_message(call),
        })
    }

    fn managed(&self) -> HashMap<Path<'static>, HashMap<String, PropMap>> {
        let object = |(index, patterns): (usize, &Vec<Pattern>)| {
            (object_path(index), HashMap::from([(MONITOR.to_owned(), properties(patterns))]))
        };
        self.patterns.iter().enumerate().map(object).collect()
    }

    fn properties_at(&self, call: &Message) -> Option<PropMap> {
        let at = call.path()?;
        let (_, patterns) = self.patterns.iter().enumerate().find(|(index, _)| object_path(*index) == at)?;
        Some(properties(patterns))
    }
}

fn object_path(index: usize) -> Path<'static> {
    Path::from(format!("{ROOT}/monitor{index}"))
}

fn properties(patterns: &[Pattern]) -> PropMap {
    HashMap::from([
        ("Type".to_owned(), Variant(Box::new("or_patterns".to_owned()) as Box<dyn dbus::arg::RefArg>)),
        ("Patterns".to_owned(), Variant(Box::new(patterns.to_vec()))),
    ])
}

/// Patterns that sensors' advertisements match. A pattern has at least one byte, so what is asked for
/// is one of all combinations of the flags, which most advertisements begin with; else the upper byte
/// of the service's number, which comes second. There is none for manufacturer data: with one,
/// daemons before 5.83 crash when an advertisement has more of it than was possible before
/// extended advertising.
fn everything() -> Vec<Pattern> {
    const SERVICES: [u8; 8] = [0x00, 0x18, 0x1a, 0xef, 0xfc, 0xfd, 0xfe, 0xff];
    let flags = (0x00..=0x1f).map(|flags| (0, FLAGS, vec![flags]));
    let services = SERVICES.iter().map(|upper| (1, SERVICE_DATA, vec![*upper]));
    flags.chain(services).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_monitors_are_needed_than_a_kernel_has_room_for() {
        let all = everything();
        assert!(all.chunks(PATTERNS).len() <= 32 / 2, "others may have some too");
        assert!(all.iter().all(|(_, kind, bytes)| *kind != 0xff && bytes.len() == 1));
    }

    #[test]
    fn the_daemon_is_shown_all_patterns_and_strangers_are_refused() {
        let objects = Objects { patterns: everything().chunks(PATTERNS).map(<[Pattern]>::to_vec).collect() };
        let managed = objects.managed();
        assert_eq!(managed.len(), 6);
        assert!(managed.values().all(|faces| faces[MONITOR].contains_key("Patterns")));
        let mut call = Message::new_method_call(":1.1", ROOT, "some.Interface", "Whatever").unwrap();
        call.set_serial(7);
        assert_eq!(objects.answer(&call).unwrap().msg_type(), MessageType::Error);
    }

    #[test]
    fn what_wants_no_answer_gets_none() {
        let objects = Objects { patterns: Vec::new() };
        let mut call = Message::new_method_call(":1.1", ROOT, MONITOR, "DeviceFound").unwrap();
        call.set_serial(7);
        assert!(objects.answer(&call).is_some());
        call.set_no_reply(true);
        assert!(objects.answer(&call).is_none());
    }
}
