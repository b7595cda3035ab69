//! The way to single devices, for those that connect to them.

use std::sync::{Arc, PoisonError};

use btleplug::api::Central as _;
use btleplug::platform::Peripheral;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::advert::Address;

use super::bus::{Fault, path, within};
use super::pair::Counterpart;
use super::{Current, Cuts, Shared};

/// A device on the current connection to the daemon.
///
/// All calls on it belong on `runtime`: btleplug ends streams by starting a task, and that may panic
/// or outlive the connection elsewhere. The connection ends with the runtime, and what was started on
/// it is cancelled; then ask the radio again.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The device.
    pub peripheral: Peripheral,
    /// Where to call it from.
    pub runtime: Handle,
    /// The same device, for what btleplug does not do.
    pub(super) counterpart: Counterpart,
}

/// Why a device cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// There is no connection to an adapter.
    #[error("{0}")]
    Radio(String),
    /// The daemon does not know the device: it has not been heard for a while.
    #[error("{0} has not been heard")]
    NotHeard(Address),
    /// The daemon did not say.
    #[error("bluetoothd did not answer: {0}")]
    NoAnswer(String),
}

/// Finds devices on whatever connection the radio has at the moment.
#[derive(Clone, Debug)]
pub struct Finder(pub(super) Arc<Shared>);

impl Finder {
    /// A device to connect to, on the current connection. It must be one of the settings' `connectable`.
    ///
    /// # Errors
    /// If there is no adapter at the moment, or the device has not been heard.
    pub async fn peripheral(&self, address: Address) -> Result<Reach, Unreachable> {
        let shared = &self.0;
        let current = shared.current.borrow().clone();
        let Some(Current { adapter, runtime, connection }) = current else {
            return Err(Unreachable::Radio(shared.state.borrow().to_string()));
        };
        let id = shared.reachable.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned();
        let id = id.ok_or(Unreachable::NotHeard(address))?;
        let call = shared.settings.timeouts.call;
        let counterpart = Counterpart { connection, device: path(&id.to_string()), call };
        let found = runtime.spawn(async move { within(call, adapter.peripheral(&id)).await });
        match found.await {
            Ok(Ok(peripheral)) => Ok(Reach { peripheral, runtime, counterpart }),
            // The daemon forgets devices that it has not heard for half a minute.
            Ok(Err(Fault::Other(_))) => Err(Unreachable::NotHeard(address)),
            Ok(Err(fault)) => Err(Unreachable::NoAnswer(fault.to_string())),
            Err(_) => Err(Unreachable::NoAnswer("the connection was given up".to_owned())),
        }
    }

    /// How often the links of the devices we connect to were cut: a number that has grown is a link
    /// that was lost. The stream of a device's values does not tell: it just falls silent.
    pub fn cuts(&self) -> watch::Receiver<Cuts> {
        self.0.cuts.subscribe()
    }
}
