//! Whether the local broker of a site can be what the site file says: its addresses are this machine's and nobody else's, its
//! certificates good, its secrets not open to everybody. Nothing listens to find out: a client could come meanwhile.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use super::Finding;
use super::serial::processes_with;
use crate::broker::{Listener, Of};
use crate::config::Site;

/// The state of a socket that listens, as the kernel writes it.
const LISTENS: &str = "0A";

/// Looks at what the local broker needs.
pub fn look(site: &Site) -> Vec<Finding> {
    let listeners: Vec<Listener> = site.broker.listen.iter().map(|listen| listen.listener()).collect();
    let mut findings: Vec<Finding> = listeners.iter().map(|listener| address(listener.address)).collect();
    for (listener, tls) in listeners.iter().filter_map(|listener| Some((listener, listener.tls.as_ref()?))) {
        let what = format!("certificate of {}", listener.address);
        let faults = tls.faults(SystemTime::now());
        if faults.is_empty() {
            findings.push(Finding::well(&what, "good, and the key is its own"));
        }
        for fault in faults {
            let file = if fault.of == Of::Cert { &tls.cert } else { &tls.key };
            let found = format!("{} {}", file.display(), fault.words);
            findings.push(Finding::ill(&what, found, fault.fix.unwrap_or_else(|| "`wharf check` says where".into())));
        }
        findings.extend(secret("key", &tls.key));
    }
    findings.extend(site.broker.passwords.as_ref().and_then(|file| secret("file of passwords", file.as_path())));
    findings
}

/// Whether an address can be listened on.
fn address(address: SocketAddr) -> Finding {
    let what = format!("local broker on {address}");
    if let Err(error) = TcpListener::bind((address.ip(), 0)) {
        return Finding::ill(
            what,
            format!("{}: {error}", address.ip()),
            "`ip address` shows the addresses of this machine",
        );
    }
    let Some(socket) = listens_there(address) else { return Finding::well(what, "the port is free") };
    let is_it = |open: &Path| open.to_string_lossy() == format!("socket:[{socket}]");
    match processes_with(is_it).as_slice() {
        [] => Finding::ill(
            what,
            "another user's program listens there",
            format!("is it the gateway itself? `sudo ss -ltnp sport = :{}` tells", address.port()),
        ),
        [(name, number), ..] if name == super::GATEWAY => {
            Finding::well(what, format!("a running gateway listens there ({number})"))
        }
        [(name, number), ..] => Finding::ill(
            what,
            format!("{name} ({number}) listens there"),
            "end it, or give one of the two another port",
        ),
    }
}

/// The number of the socket that listens on an address, or on all with its port.
fn listens_there(wanted: SocketAddr) -> Option<u64> {
    let table = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (four, six) = (table("/proc/net/tcp"), table("/proc/net/tcp6"));
    four.lines().chain(six.lines()).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let (ip, port) = local.split_once(':')?;
        let is_port = u16::from_str_radix(port, 16).ok()? == wanted.port();
        let ip = address_of(ip)?;
        let meets = ip == wanted.ip() || ip.is_unspecified() || wanted.ip().is_unspecified();
        (state == LISTENS && is_port && meets).then(|| fields.nth(5)?.parse().ok())?
    })
}

/// An address as the kernel writes it: words of 32 bits in the machine's order, in hexadecimal.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |index: usize| u32::from_str_radix(text.get(8 * index..8 * index + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// A file with something secret in it that everybody on this machine may read.
fn secret(kind: &str, file: &Path) -> Option<Finding> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let fix = format!("chmod o-r {}", file.display());
    (mode & 0o004 != 0)
        .then(|| Finding::hint(format!("{kind} {}", file.display()), "everybody on this machine may read it", fix))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_port_that_another_program_has_is_told_with_its_name() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = taken.local_addr().unwrap();
        let finding = address(there);
        assert_eq!(finding.verdict, Verdict::Ill, "{finding:?}");
        assert!(finding.found.contains(&format!("({})", std::process::id())), "{finding:?}");
        // Who wants all addresses wants this one too.
        assert_eq!(address(SocketAddr::new([0, 0, 0, 0].into(), there.port())).verdict, Verdict::Ill);
        drop(taken);
        assert_eq!(address(there).verdict, Verdict::Well);
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let finding = address("192.0.2.1:1883".parse().unwrap());
        assert!(finding.verdict == Verdict::Ill && finding.fix.unwrap().contains("ip address"));
    }

    #[test]
    fn the_kernels_addresses_are_read() {
        let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
        assert_eq!(address_of(&format!("{loopback:08X}")), Some([127, 0, 0, 1].into()));
        let mapped =
            [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), loopback].map(|word| format!("{word:08X}")).concat();
        assert_eq!(address_of(&mapped), Some([127, 0, 0, 1].into()));
        assert_eq!(address_of("xyz"), None);
    }

    #[test]
    fn a_file_of_passwords_that_everybody_may_read_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(secret("file of passwords", file.path()), None);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(secret("file of passwords", file.path()).unwrap().fix.unwrap().starts_with("chmod o-r "));
    }
}
