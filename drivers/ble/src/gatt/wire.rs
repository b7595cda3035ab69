//! The thin edge to btleplug: one device, called from where its connection lives, with a limit to
//! every wait.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use btleplug::api::{CharPropFlags, Characteristic, Peripheral as _, WriteType};
use btleplug::platform::Peripheral;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use wharf_contract::port::{Counts, Outcome, Traffic};

use crate::advert::{Address, Uuid};
use crate::radio::Reach;

/// How many values a device may tell before they are looked at. What does not fit is let go: newer ones
/// follow.
const TOLD: usize = 64;

/// The longest answer of bluetoothd's that is passed on.
const LONGEST_REASON: usize = 200;

/// What may be behind an exchange that was not answered. Where a device wants a bond, the daemon tries to
/// make one by itself, and where nobody answers its questions the kernel never sends on what was asked.
const MAYBE_UNPAIRED: &str = "; if the device wants to be paired with, say how with `pair`";

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Pairing, with connecting.
    pub pair: Duration,
    /// Connecting, with finding out what the device has.
    pub connect: Duration,
    /// A value read or written.
    pub exchange: Duration,
    /// Ending the connection.
    pub disconnect: Duration,
}

/// Why something failed, by what that means for the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection is not there any more, or could not be made.
    #[error("{0}")]
    Lost(String),
    /// Nobody answered in time, and perhaps for want of a bond. An attribute protocol that is waited for in vain is of no more use
    /// (Bluetooth Core 5.4, Vol 3, Part F, 3.3.3).
    #[error("no answer within {} s{}", .0.as_secs_f32(), if *.1 { MAYBE_UNPAIRED } else { "" })]
    Silent(Duration, bool),
    /// The device said no.
    #[error("{0}")]
    Refused(String),
    /// It answers only those it has a bond with, and does not know ours, or there is none.
    #[error("{0}")]
    Unpaired(String),
    /// Something else, in the daemon's words; the connection may still do.
    #[error("{0}")]
    Broken(String),
}

/// Where a characteristic is found: by service and its own UUID.
pub(crate) type Spot = (Uuid, Uuid);

/// A value that the device told.
pub(crate) type Told = (Spot, Vec<u8>);

/// Where it is counted what a device is asked, and what it tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// What is asked on the link, and what of the device.
    pub(crate) traffic: [Traffic; 2],
    /// What else there is to count on the link.
    pub(crate) counts: Counts,
}

/// A device that can be connected to, connected or not.
#[derive(Debug)]
pub(crate) struct Wire {
    reach: Reach,
    waits: Waits,
    ledger: Ledger,
    found: HashMap<Spot, Characteristic>,
    /// What the device tells. One stream for all its connections: each that is dropped may cost the
    /// daemon's bus a rule for good.
    told: Option<mpsc::Receiver<Told>>,
}

impl Wire {
    pub(crate) fn new(reach: Reach, waits: Waits, ledger: Ledger) -> Self {
        Self { reach, waits, ledger, found: HashMap::new(), told: None }
    }

    /// Whether there is a stream that would be lost with it.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.told.as_ref().is_some_and(|told| !told.is_closed())
    }

    async fn call<T, F>(&self, limit: Duration, call: impl FnOnce(Peripheral) -> F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, btleplug::Error>> + Send + 'static,
    {
        let call = call(self.reach.peripheral.clone());
        let task = self.reach.runtime.spawn(async move { tokio::time::timeout(limit, call).await });
        // The limit is kept there; here it is kept once more, in case that thread is held up.
        match tokio::time::timeout(limit + Duration::from_secs(1), task).await {
            Ok(Ok(Ok(Ok(value)))) => Ok(value),
            Ok(Ok(Ok(Err(error)))) => match Fault::from(&error) {
                Fault::Unpaired(reason) => Err(self.without_bond(&reason).await),
                fault => Err(fault),
            },
            Ok(Ok(Err(_))) | Err(_) => Err(Fault::Silent(limit, false)),
            Ok(Err(_)) => Err(Fault::Lost("the connection to bluetoothd was given up".to_owned())),
        }
    }

    /// Something is asked of a device that is connected, and counted.
    async fn exchange<T, F>(&self, call: impl FnOnce(Peripheral) -> F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, btleplug::Error>> + Send + 'static,
    {
        let mut answer = self.call(self.waits.exchange, call).await;
        let outcome = match &answer {
            Ok(_) | Err(Fault::Refused(_) | Fault::Unpaired(_)) => Outcome::Answered,
            Err(Fault::Silent(..)) => Outcome::Silent,
            Err(Fault::Lost(_) | Fault::Broken(_)) => Outcome::Damaged,
        };
        self.ledger.traffic.iter().for_each(|traffic| traffic.count(outcome));
        if let Err(Fault::Silent(_, is_unpaired)) = &mut answer {
            *is_unpaired = self.reach.is_paired().await == Ok(false);
        }
        answer
    }

    /// What to do about a device that wants a bond. One that is there is not removed by ourselves: perhaps
    /// somebody else pretends to be the device.
    async fn without_bond(&self, reason: &str) -> Fault {
        match self.reach.is_paired().await {
            Ok(true) => Fault::Unpaired(format!(
                "the device does not accept the bond there is with it ({reason}): it was reset, or paired with \
                 another; {}",
                self.remedy()
            )),
            Ok(false) | Err(_) => Fault::Unpaired(format!(
                "the device wants to be paired with ({reason}): say how with `pair`, or use `bluetoothctl`"
            )),
        }
    }

    /// The same for a connection that could not be made. Daemons before 5.83 at least do not tell a device
    /// that has hung up for want of a key from one that went away.
    async fn perhaps_without_bond(&self, reason: String) -> Fault {
        match self.reach.is_paired().await {
            Ok(true) => Fault::Broken(format!("{reason}; if it stays so, its bond may be lost: {}", self.remedy())),
            Ok(false) | Err(_) => Fault::Broken(reason),
        }
    }

    fn remedy(&self) -> String {
        let address = Address(self.reach.peripheral.address().into_inner());
        format!("remove it with `bluetoothctl remove {address}` and pair again")
    }

    /// Connects and finds out what there is.
    pub(crate) async fn connect(&mut self) -> Result<(), Fault> {
        if let Some(told) = &mut self.told {
            while told.try_recv().is_ok() {}
        }
        let connect = |device: Peripheral| async move {
            device.connect().await?;
            device.discover_services().await?;
            Ok(device.services())
        };
        let services = match self.call(self.waits.connect, connect).await {
            Err(Fault::Broken(reason)) => return Err(self.perhaps_without_bond(reason).await),
            other => other?,
        };
        let all = services.into_iter().flat_map(|service| service.characteristics);
        self.found = all.map(|found| (spot(found.service_uuid, found.uuid), found)).collect();
        Ok(())
    }

    /// Where a characteristic is, in this service or in whichever has it.
    pub(crate) fn find(&self, characteristic: Uuid, service: Option<Uuid>) -> Option<Spot> {
        let fits = |spot: &&Spot| spot.1 == characteristic && service.is_none_or(|service| service == spot.0);
        self.found.keys().filter(fits).min_by_key(|spot| spot.0.0).copied()
    }

    /// Whether it can be read.
    pub(crate) fn is_readable(&self, spot: Spot) -> bool {
        self.has(spot, CharPropFlags::READ)
    }

    /// Whether it can be written, with an answer or without.
    pub(crate) fn is_writable(&self, spot: Spot) -> bool {
        self.has(spot, CharPropFlags::WRITE | CharPropFlags::WRITE_WITHOUT_RESPONSE)
    }

    /// Whether the device answers what is written there.
    pub(crate) fn answers_writes(&self, spot: Spot) -> bool {
        self.has(spot, CharPropFlags::WRITE)
    }

    fn has(&self, spot: Spot, any: CharPropFlags) -> bool {
        self.found.get(&spot).is_some_and(|found| found.properties.intersects(any))
    }

    fn found(&self, spot: Spot) -> Result<Characteristic, Fault> {
        let found = self.found.get(&spot).cloned();
        found.ok_or_else(|| Fault::Refused(format!("the device has no characteristic {}", spot.1)))
    }

    /// Asks the device to tell of a characteristic.
    pub(crate) async fn subscribe(&mut self, spot: Spot) -> Result<(), Fault> {
        let found = self.found(spot)?;
        if !found.properties.intersects(CharPropFlags::NOTIFY | CharPropFlags::INDICATE) {
            return Err(Fault::Refused(format!("the device does not tell of {} by itself", spot.1)));
        }
        if !self.is_worth_keeping() {
            let (tell, told) = mpsc::channel(TOLD);
            let counts = self.ledger.counts.clone();
            let stream = |device: Peripheral| async move {
                let mut values = device.notifications().await?;
                // It is dropped where it was made, whoever ends first.
                tokio::spawn(async move {
                    loop {
                        let value = tokio::select! {
                            () = tell.closed() => break,
                            value = values.next() => value,
                        };
                        let Some(value) = value else { break };
                        let told = (spot_of(&value), value.value);
                        if let Err(mpsc::error::TrySendError::Full(_)) = tell.try_send(told) {
                            counts.add("told_dropped", 1);
                            tracing::debug!(uuid = %value.uuid, "a device tells more than can be taken in");
                        }
                    }
                });
                Ok(())
            };
            self.call(self.waits.exchange, stream).await?;
            self.told = Some(told);
        }
        self.exchange(|device| async move { device.subscribe(&found).await }).await
    }

    /// Reads a value.
    pub(crate) async fn read(&self, spot: Spot) -> Result<Vec<u8>, Fault> {
        let found = self.found(spot)?;
        self.exchange(|device| async move { device.read(&found).await }).await
    }

    /// Writes one, with an answer where the device gives one.
    pub(crate) async fn write(&self, spot: Spot, bytes: Vec<u8>) -> Result<(), Fault> {
        let found = self.found(spot)?;
        let kind = if self.answers_writes(spot) { WriteType::WithResponse } else { WriteType::WithoutResponse };
        self.exchange(|device| async move { device.write(&found, &bytes, kind).await }).await
    }

    /// What the device tells next; pending for ever if it tells nothing. Safe to drop in a `select!`.
    pub(crate) async fn told(&mut self) -> Told {
        if let Some(told) = &mut self.told
            && let Some(value) = told.recv().await
        {
            return value;
        }
        std::future::pending().await
    }

    /// What it has told already.
    pub(crate) fn told_already(&mut self) -> Option<Told> {
        self.told.as_mut()?.try_recv().ok()
    }

    /// Whether the daemon says that it is connected.
    pub(crate) async fn is_connected(&self) -> bool {
        let asked = self.call(self.waits.exchange, |device| async move { device.is_connected().await });
        asked.await.unwrap_or(false)
    }

    /// Ends the connection, or what has become of one that was being made.
    pub(crate) async fn disconnect(&self) -> Result<(), Fault> {
        self.call(self.waits.disconnect, |device| async move { device.disconnect().await }).await
    }
}

impl From<&btleplug::Error> for Fault {
    /// btleplug passes on what the daemon says, and the name of the error only for debugging.
    fn from(error: &btleplug::Error) -> Self {
        Self::of(&format!("{error:?}"), &error.to_string())
    }
}

impl Fault {
    fn of(all: &str, words: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| all.contains(word));
        let reason: String = words.chars().take(LONGEST_REASON).collect();
        if says(&["AuthenticationFailed", "AuthenticationRejected", "connection-key-missing", "Not paired"]) {
            Self::Unpaired(reason)
        } else if says(&[
            "NotPermitted",
            "NotAuthorized",
            "NotSupported",
            "InvalidValueLength",
            "InvalidOffset",
            "ATT error",
        ]) {
            Self::Refused(reason)
        } else if says(&[
            "NotConnected",
            "Not connected",
            "UnknownObject",
            "UnknownMethod",
            "ServiceUnknown",
            "NotReady",
        ]) {
            Self::Lost(reason)
        } else {
            Self::Broken(reason)
        }
    }
}

fn spot(service: uuid::Uuid, characteristic: uuid::Uuid) -> Spot {
    (Uuid(service.as_u128()), Uuid(characteristic.as_u128()))
}

fn spot_of(value: &btleplug::api::ValueNotification) -> Spot {
    spot(value.service_uuid, value.uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_says_is_told_by_what_can_be_done_about_it() {
        let check = |name: &str, words: &str, expected: fn(String) -> Fault| {
            let all = format!("Other(DbusError(D-Bus error: {words} ({name})))");
            assert_eq!(Fault::of(&all, words), expected(words.to_owned()));
        };
        check("org.bluez.Error.NotPermitted", "Read not permitted", Fault::Refused);
        check("org.bluez.Error.NotPermitted", "Not paired", Fault::Unpaired);
        check("org.bluez.Error.AuthenticationFailed", "Authentication Failed", Fault::Unpaired);
        check("org.bluez.Error.Failed", "le-connection-key-missing", Fault::Unpaired);
        check("org.bluez.Error.Failed", "br-connection-canceled", Fault::Broken);
        check("org.bluez.Error.Failed", "Operation failed with ATT error: 0x80", Fault::Refused);
        check("org.bluez.Error.Failed", "Not connected", Fault::Lost);
        check("org.freedesktop.DBus.Error.UnknownObject", "Method does not exist", Fault::Lost);
        check("org.bluez.Error.Failed", "le-connection-abort-by-local", Fault::Broken);
        assert!(Fault::of("", &"x".repeat(1000)).to_string().len() <= LONGEST_REASON);
    }
}
