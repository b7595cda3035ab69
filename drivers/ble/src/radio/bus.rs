//! Our own connection to the bus, beside btleplug's.
//!
//! It tells what btleplug does not: that the bus has died, that the daemon has gone or come, that the
//! adapter was pulled out. It switches the adapter on and off, and it starts and stops the scan: btleplug always asks for both
//! kinds of Bluetooth, and an adapter that has both then listens for the one we need only half of the
//! time.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dbus::Path;
use dbus::arg::{AppendAll, PropMap, ReadAll, RefArg, Variant};
use dbus::message::MatchRule;
use dbus::nonblock::{MsgMatch, Proxy, SyncConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::advert::Address;

/// The daemon's name on the bus.
pub(super) const BLUEZ: &str = "org.bluez";

const ADAPTER: &str = "org.bluez.Adapter1";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const OBJECTS: &str = "org.freedesktop.DBus.ObjectManager";
pub(super) const BUS: &str = "org.freedesktop.DBus";

/// A connection to the system bus.
pub(super) struct Bus {
    pub connection: Arc<SyncConnection>,
    pub call: Duration,
    /// Whether the daemon is there; nothing before anybody has said.
    present: watch::Receiver<Option<bool>>,
    /// The adapters that were pulled out since it was opened: two may go at once.
    removed: watch::Receiver<HashSet<String>>,
    /// As long as these are kept, the two above are told.
    _matches: [MsgMatch; 2],
}

/// Ends when the connection does, and ends it when it is dropped.
pub(super) struct Lifeline(JoinHandle<String>);

/// Why a call failed, by what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is being done already, perhaps for somebody who has gone.
    InProgress,
    /// The object or interface is not there: the adapter was pulled out, or the daemon lacks the feature.
    Unknown(String),
    /// Nobody answered in time.
    Timeout,
    /// Anything else, in the daemon's words.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProgress => f.write_str("another scan is being ended"),
            Self::Unknown(text) | Self::Other(text) => f.write_str(text),
            Self::Timeout => f.write_str("bluetoothd did not answer in time"),
        }
    }
}

impl From<dbus::Error> for Fault {
    fn from(error: dbus::Error) -> Self {
        let text = error.message().unwrap_or("no reason given").to_owned();
        match error.name().unwrap_or_default() {
            "org.bluez.Error.InProgress" => Self::InProgress,
            "org.freedesktop.DBus.Error.UnknownObject"
            | "org.freedesktop.DBus.Error.UnknownMethod"
            | "org.freedesktop.DBus.Error.UnknownInterface" => Self::Unknown(text),
            "org.freedesktop.DBus.Error.Timeout" | "org.freedesktop.DBus.Error.NoReply" => Self::Timeout,
            _ => Self::Other(text),
        }
    }
}

/// Waits for a call of btleplug's, but not for ever.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, btleplug::Error>>,
) -> Result<T, Fault> {
    match timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::Other(error.to_string())),
        Err(_) => Err(Fault::Timeout),
    }
}

impl Bus {
    /// Connects. This blocks while the bus is slow, so it belongs on a thread where that may be.
    pub(super) async fn open(call: Duration) -> Result<(Self, Lifeline), Fault> {
        let (resource, connection) = dbus_tokio::connection::new_system_sync()?;
        let lifeline = Lifeline(tokio::spawn(async move { resource.await.to_string() }));
        connection.set_signal_match_mode(true);
        let (tell, present) = watch::channel(None);
        let owners = MatchRule::new_signal(BUS, "NameOwnerChanged").with_sender(BUS);
        let heard = tell.clone();
        let matched = timeout(call, connection.add_match(owners)).await.map_err(|_| Fault::Timeout)??;
        let owners = matched.cb(move |_, (name, _, owner): (String, String, String)| {
            if name == BLUEZ {
                heard.send_replace(Some(!owner.is_empty()));
            }
            true
        });
        let (tell_removed, removed) = watch::channel(HashSet::new());
        let removals = MatchRule::new_signal(OBJECTS, "InterfacesRemoved").with_sender(BLUEZ);
        let matched = timeout(call, connection.add_match(removals)).await.map_err(|_| Fault::Timeout)??;
        let removals = matched.cb(move |_, (place, faces): (Path<'static>, Vec<String>)| {
            if faces.iter().any(|face| face == ADAPTER) {
                tell_removed.send_if_modified(|removed| removed.insert(place.to_string()));
            }
            true
        });
        let bus = Self { connection, call, present, removed, _matches: [owners, removals] };
        let (owned,): (bool,) = bus.ask(BUS, "/org/freedesktop/DBus", BUS, "NameHasOwner", (BLUEZ,)).await?;
        is_answered(&tell, owned);
        Ok((bus, lifeline))
    }

    /// Waits until the daemon is there.
    pub(super) async fn daemon(&self) {
        if self.present.clone().wait_for(|present| *present == Some(true)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the daemon is there.
    pub(super) fn has_daemon(&self) -> bool {
        *self.present.borrow() == Some(true)
    }

    /// Waits until the daemon is not there any more.
    pub(super) async fn daemon_gone(&self) {
        if self.present.clone().wait_for(|present| *present == Some(false)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until an adapter has been pulled out.
    pub(super) async fn adapter_gone(&self, adapter: &str) {
        let place = path(adapter);
        if self.removed.clone().wait_for(|removed| removed.contains(&place)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Switches an adapter on or off.
    pub(super) async fn power(&self, adapter: &str, on: bool) -> Result<(), Fault> {
        self.ask(BLUEZ, &path(adapter), PROPERTIES, "Set", (ADAPTER, "Powered", Variant(on))).await
    }

    /// Starts a scan for Low Energy devices that tells of repetitions too. The daemon ends it with
    /// this connection.
    pub(super) async fn start_scan(&self, adapter: &str) -> Result<(), Fault> {
        let value = |value: Box<dyn RefArg>| Variant(value);
        let filter: PropMap = HashMap::from([
            ("Transport".to_owned(), value(Box::new("le".to_owned()))),
            ("DuplicateData".to_owned(), value(Box::new(true))),
        ]);
        let path = path(adapter);
        let () = self.ask(BLUEZ, &path, ADAPTER, "SetDiscoveryFilter", (filter,)).await?;
        self.ask(BLUEZ, &path, ADAPTER, "StartDiscovery", ()).await
    }

    /// Stops it.
    pub(super) async fn stop_scan(&self, adapter: &str) -> Result<(), Fault> {
        self.ask(BLUEZ, &path(adapter), ADAPTER, "StopDiscovery", ()).await
    }

    /// One call to anybody.
    pub(super) async fn ask<A, R>(&self, to: &str, path: &str, face: &str, method: &str, with: A) -> Result<R, Fault>
    where
        A: AppendAll,
        R: ReadAll + 'static,
    {
        let proxy = Proxy::new(to, path, self.call, Arc::clone(&self.connection));
        match timeout(self.call, proxy.method_call(face, method, with)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Fault::Timeout),
        }
    }
}

impl Lifeline {
    /// Waits until the connection has died, and says of what.
    pub(super) async fn cut(&mut self) -> String {
        (&mut self.0).await.unwrap_or_else(|_| "its task ended".to_owned())
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The bus has answered whether the daemon is there. What it has told by itself is at least as new: it was
/// asked to tell first, and tells in order; and an answer may be looked at long after it came.
fn is_answered(present: &watch::Sender<Option<bool>>, owned: bool) {
    present.send_if_modified(|present| {
        let is_first = present.is_none();
        present.get_or_insert(owned);
        is_first
    });
}

/// Where an adapter is on the bus.
pub(super) fn path(adapter: &str) -> String {
    format!("/org/bluez/{adapter}")
}

/// The address in a device's place on the bus: `/org/bluez/hci0/dev_C0_00_00_00_00_01`.
pub(super) fn address_in(path: &str) -> Option<Address> {
    let (_, device) = path.rsplit_once("/dev_")?;
    device.replace('_', ":").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_came_before_the_answer_was_looked_at_is_not_waited_for() {
        let present = watch::Sender::new(None);
        is_answered(&present, false);
        assert_eq!(*present.borrow(), Some(false), "nobody has told anything else");
        let present = watch::Sender::new(None);
        present.send_replace(Some(true));
        is_answered(&present, false);
        assert_eq!(*present.borrow(), Some(true));
    }
}
