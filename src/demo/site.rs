//! The demo's site file: a real one, with the addresses of the simulators filled in.

use std::net::SocketAddr;
use std::path::Path;

/// The gateway's name in the demo's topics.
pub const GATEWAY: &str = "demo";

const TEMPLATE: &str = include_str!("site.yaml");
const LISTEN: &str = "127.0.0.1:1883";
const MODBUS: &str = "127.0.0.1:502";
const SERIAL: &str = "/dev/ttyDemo";

/// The site file as an example, with addresses that a real site might have.
pub fn example(listen: SocketAddr) -> String {
    TEMPLATE.replace(LISTEN, &quoted(&listen.to_string()))
}

/// The site file of a running demo. `serial` is the full path of a port.
pub fn text(listen: SocketAddr, modbus: SocketAddr, serial: &Path) -> String {
    // A path that is no text would be one that the file cannot name; the port is then reported
    // as not there.
    let serial = quoted(&serial.to_string_lossy());
    example(listen).replace(MODBUS, &quoted(&modbus.to_string())).replace(SERIAL, &serial)
}

/// As YAML, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Site};

    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 4321);

    fn load(text: &str) -> Site {
        let no_secrets = |name: &str| Err(format!("no secret {name}"));
        config::read(text, Path::new("site.yaml"), &no_secrets).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn the_example_is_a_site_file_without_mistakes() {
        assert_eq!(load(TEMPLATE).gateway.as_str(), GATEWAY);
        let site = load(&example(ADDRESS));
        assert_eq!(site.broker.listen.iter().map(|listen| listen.address.0).collect::<Vec<_>>(), [ADDRESS]);
    }

    #[test]
    fn each_address_stands_in_the_example_once() {
        for address in [LISTEN, MODBUS, SERIAL] {
            assert_eq!(TEMPLATE.matches(address).count(), 1, "{address}");
        }
    }

    #[test]
    fn the_simulators_addresses_are_filled_in_whatever_the_path() {
        let path = "/tmp/it's # {a} \"test\": °C/ttyDemo";
        let site = load(&text(ADDRESS, ADDRESS, Path::new(path)));
        let modbus = site.modbus.iter().next().unwrap().1;
        let address = &modbus.tcp.as_ref().unwrap()[0];
        assert_eq!((address.host(), address.port(false)), ("::1", 4321));
        let mysensors = site.mysensors.iter().next().unwrap().1;
        assert_eq!(mysensors.serial.as_ref().unwrap().as_str(), path);
    }
}
