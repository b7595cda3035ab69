//! A look at what there is, for whoever wants to know why nothing is heard: the bus, the daemon, the
//! adapters. It changes nothing. It blocks, within its time.

use std::time::Duration;

use dbus::Path;
use dbus::arg::{PropMap, prop_cast};
use dbus::blocking::Connection;

use super::bus::BLUEZ;

const MONITORS: &str = "org.bluez.AdvertisementMonitorManager1";
const ADAPTER: &str = "org.bluez.Adapter1";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is no way to the bus, in its words.
    NoBus(String),
    /// The bus takes connections of this user and answers nothing. So does one whose machine does not know
    /// the user's number, which is usual in containers.
    Mute,
    /// The daemon is not on the bus.
    NoDaemon,
    /// The daemon is there, and will not speak with us, in the bus's words.
    Refused(String),
    /// The daemon does not answer.
    Silent,
    /// These adapters.
    Adapters(Vec<AdapterSeen>),
}

/// An adapter that the daemon knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSeen {
    /// Its name, such as `hci0`.
    pub name: String,
    /// Its own address.
    pub address: String,
    /// Whether it is switched on.
    pub powered: bool,
    /// Whether the daemon offers advertisement monitors with it.
    pub monitors: bool,
}

/// Looks. No question to the bus may take longer than `call`, but for its welcome: libdbus itself waits 25 s
/// for that.
pub fn look(call: Duration) -> Look {
    let connection = match Connection::new_system() {
        Ok(connection) => connection,
        Err(error) => return no_bus(&error),
    };
    let bus = connection.with_proxy("org.freedesktop.DBus", "/org/freedesktop/DBus", call);
    match bus.method_call("org.freedesktop.DBus", "NameHasOwner", (BLUEZ,)) {
        Ok((true,)) => {}
        Ok((false,)) => return Look::NoDaemon,
        Err(error) => return no_bus(&error),
    }
    type Interfaces = std::collections::HashMap<String, PropMap>;
    type Objects = std::collections::HashMap<Path<'static>, Interfaces>;
    let daemon = connection.with_proxy(BLUEZ, "/", call);
    let asked = daemon.method_call("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", ());
    let objects: Objects = match asked {
        Ok((objects,)) => objects,
        Err(error) if error.name() == Some("org.freedesktop.DBus.Error.AccessDenied") => {
            return Look::Refused(words(&error));
        }
        Err(_) => return Look::Silent,
    };
    let seen = |(path, interfaces): (&Path<'static>, &Interfaces)| {
        let adapter = interfaces.get(ADAPTER)?;
        Some(AdapterSeen {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            address: prop_cast::<String>(adapter, "Address").cloned().unwrap_or_default(),
            powered: prop_cast::<bool>(adapter, "Powered").copied().unwrap_or_default(),
            monitors: interfaces.contains_key(MONITORS),
        })
    };
    let mut adapters: Vec<AdapterSeen> = objects.iter().filter_map(seen).collect();
    adapters.sort_by(|a, b| a.name.cmp(&b.name));
    Look::Adapters(adapters)
}

fn no_bus(error: &dbus::Error) -> Look {
    match error.name() {
        Some("org.freedesktop.DBus.Error.NoReply" | "org.freedesktop.DBus.Error.Timeout") => Look::Mute,
        _ => Look::NoBus(words(error)),
    }
}

fn words(error: &dbus::Error) -> String {
    error.message().unwrap_or("no reason given").to_owned()
}
