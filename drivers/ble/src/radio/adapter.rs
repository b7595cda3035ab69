//! Which adapter is meant.

use std::time::Duration;

use btleplug::api::{Central as _, Manager as _, Peripheral as _};
use btleplug::platform::{Adapter, Manager};

use crate::advert::Address;

use super::bus::{Fault, within};
use super::{RadioState, Shared};

/// The longest pause between two looks for an adapter that is not there.
const LOOK: Duration = Duration::from_secs(10);

/// An adapter and what it is called.
pub(super) struct Named {
    pub adapter: Adapter,
    /// Such as `hci0`.
    pub name: String,
    pub address: Option<[u8; 6]>,
}

/// Waits until the adapter is there.
pub(super) async fn wait_for(shared: &Shared, manager: &Manager, last: Option<[u8; 6]>) -> Named {
    let settings = &shared.settings;
    let mut pause = settings.timeouts.retry;
    loop {
        match find(manager, settings.adapter.as_deref(), last, settings.timeouts.call).await {
            Ok(Some(found)) => return found,
            Ok(None) => shared.say(RadioState::Gone { adapter: settings.adapter.clone() }),
            Err(fault) => {
                shared.failed(&fault);
                shared.say(RadioState::Unanswered { reason: fault.to_string() });
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.max(settings.timeouts.retry));
    }
}

async fn find(
    manager: &Manager,
    wanted: Option<&str>,
    last: Option<[u8; 6]>,
    call: Duration,
) -> Result<Option<Named>, Fault> {
    let mut all = Vec::new();
    for adapter in within(call, manager.adapters()).await? {
        // An adapter may go while it is being asked. `hci0 (usb:v1D6Bp0246d0540)` is how it names itself.
        let Ok(info) = within(call, adapter.adapter_info()).await else { continue };
        let Some(name) = info.split_whitespace().next().map(str::to_owned) else { continue };
        let address = within(call, adapter.adapter_address()).await.ok().flatten().map(|address| address.into_inner());
        all.push(Named { adapter, name, address });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<(&str, Option<[u8; 6]>)> = all.iter().map(|named| (named.name.as_str(), named.address)).collect();
    let chosen = choose(wanted, last, &names);
    Ok(chosen.map(|index| all.swap_remove(index)))
}

/// Which of these adapters is meant by a name or address, or by nothing. One that has been used
/// before is known again by its address when it comes back under another name.
fn choose(wanted: Option<&str>, last: Option<[u8; 6]>, adapters: &[(&str, Option<[u8; 6]>)]) -> Option<usize> {
    let at = |address: [u8; 6]| adapters.iter().position(|(_, its)| *its == Some(address));
    match wanted {
        Some(wanted) => match wanted.parse::<Address>() {
            Ok(address) => at(address.0),
            Err(_) => adapters.iter().position(|(name, _)| *name == wanted).or_else(|| at(last?)),
        },
        None => last.and_then(at).or_else(|| (!adapters.is_empty()).then_some(0)),
    }
}

/// Cuts the links to devices of ours that an earlier process has left behind when it was killed: the
/// daemon keeps them, and a sensor that is connected does not advertise.
pub(super) async fn cut_links(adapter: &Adapter, ours: &[Address], call: Duration) {
    if ours.is_empty() {
        return;
    }
    let Ok(peripherals) = within(call, adapter.peripherals()).await else { return };
    for peripheral in peripherals {
        let address = Address(peripheral.address().into_inner());
        if ours.contains(&address) && within(call, peripheral.is_connected()).await == Ok(true) {
            match within(call, peripheral.disconnect()).await {
                Ok(()) => tracing::info!(%address, "a connection left behind by an earlier process was cut"),
                Err(fault) => tracing::warn!(%address, %fault, "a connection left behind could not be cut"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [0, 0x1a, 0x7d, 0, 0, 1];
    const B: [u8; 6] = [0, 0x1a, 0x7d, 0, 0, 2];

    #[test]
    fn an_adapter_is_found_by_name_or_address_or_as_the_first() {
        let both = [("hci0", Some(A)), ("hci1", Some(B))];
        assert_eq!(choose(Some("hci1"), None, &both), Some(1));
        assert_eq!(choose(Some("00:1A:7D:00:00:02"), None, &both), Some(1));
        assert_eq!(choose(None, None, &both), Some(0));
        assert_eq!(choose(Some("hci7"), None, &both), None);
        assert_eq!(choose(None, None, &[]), None);
    }

    #[test]
    fn an_adapter_that_comes_back_under_another_name_is_known_again() {
        let renamed = [("hci1", Some(B)), ("hci2", Some(A))];
        assert_eq!(choose(Some("hci0"), Some(A), &renamed), Some(1));
        assert_eq!(choose(None, Some(A), &renamed), Some(1));
        assert_eq!(choose(Some("hci1"), Some(A), &renamed), Some(0), "the name that was asked for comes first");
    }
}
