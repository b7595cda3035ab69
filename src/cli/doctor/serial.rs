//! Whether the serial ports of a site are there, may be opened, and are nobody else's. Nothing is opened to
//! find out: that resets the gateways behind most of them.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{Finding, GATEWAY};
use crate::config::site::Site;

/// How many ports are named where one is missing.
const MOST_NAMED: usize = 8;

/// What there is to know of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// It is not there.
    Missing,
    /// Something else has its name.
    NoPort,
    /// It is, and this user may not open it.
    Forbidden,
    /// It is, and these programs have it open.
    There(Vec<String>),
    /// A program makes it, so the one that has it open may be that.
    Made(Vec<String>),
}

/// The serial ports that a site names, each once.
pub fn ports(site: &Site) -> Vec<String> {
    let modbus = site.modbus.iter().map(|(_, link)| &link.serial);
    let mysensors = site.mysensors.iter().map(|(_, link)| &link.serial);
    let lines = site.lines.iter().map(|(_, link)| &link.serial);
    let named = modbus.chain(mysensors).chain(lines).flatten();
    let mut ports: Vec<String> = named.map(|path| path.as_str().to_owned()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Looks at these ports.
pub fn look(ports: &[String]) -> Vec<Finding> {
    ports.iter().map(|port| judge(port, &see(port), &there_are())).collect()
}

fn see(port: &str) -> Seen {
    match fs::metadata(port) {
        Err(_) => Seen::Missing,
        Ok(found) if !found.file_type().is_char_device() => Seen::NoPort,
        Ok(_) if access(port, Access::READ_OK | Access::WRITE_OK).is_err() => Seen::Forbidden,
        Ok(_) => {
            let device = fs::canonicalize(port).unwrap_or_else(|_| port.into());
            match holders(&device) {
                some if !some.is_empty() && device.starts_with("/dev/pts") => Seen::Made(some),
                holders => Seen::There(holders),
            }
        }
    }
}

fn judge(port: &str, seen: &Seen, others: &[String]) -> Finding {
    let what = format!("serial port {port}");
    match seen {
        Seen::Missing if others.is_empty() => {
            Finding::ill(what, "not there, and no other is", "plug it in; in a container, hand it in as a device")
        }
        Seen::Missing => Finding::ill(what, "not there", format!("plug it in, or name one of: {}", others.join(", "))),
        Seen::NoPort => Finding::ill(what, "no serial port but something else", "name the port"),
        Seen::Forbidden => Finding::ill(
            what,
            "this user may not open it",
            "sudo usermod -aG dialout \"$USER\", and log in again; in a container, group_add the number of that group",
        ),
        Seen::There(holders) if holders.is_empty() => Finding::well(what, "there, and may be opened"),
        Seen::There(holders) => {
            let found = format!("in use by {}", holders.join(", "));
            Finding::ill(what, found, "end it: two programs on one port take the answers from each other")
        }
        Seen::Made(holders) => {
            let found = format!("there, and may be opened; a pseudo terminal, which {} has open", holders.join(", "));
            Finding::hint(what, found, "nothing to mend if that is what makes the port; else end it")
        }
    }
}

/// The ports of this machine, best by their lasting names.
fn there_are() -> Vec<String> {
    let names = |folder: &str, is_one: fn(&str) -> bool| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
            .map(|entry| entry.path().display().to_string())
            .collect();
        names.sort_unstable();
        names.truncate(MOST_NAMED);
        names
    };
    let lasting = names("/dev/serial/by-id", |_| true);
    if lasting.is_empty() {
        names("/dev", |name| ["ttyUSB", "ttyACM", "ttyAMA"].iter().any(|kind| name.starts_with(kind)))
    } else {
        lasting
    }
}

/// The programs that have this device open, other than a gateway, as far as this user may see: `minicom (412)`.
fn holders(device: &Path) -> Vec<String> {
    let others = processes_with(|open| open == device).into_iter().filter(|(name, _)| name != GATEWAY);
    others.map(|(name, number)| format!("{name} ({number})")).collect()
}

/// The programs that have something open, with their numbers, as far as this user may see.
pub(super) fn processes_with(is_it: impl Fn(&Path) -> bool) -> Vec<(String, String)> {
    let numbered = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter(numbered);
    let has_open = |process: &PathBuf| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|open| is_it(&open))
    };
    let named = |process: PathBuf| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        (name.trim().to_owned(), process.file_name().unwrap_or_default().to_string_lossy().into_owned())
    };
    processes.map(|entry| entry.path()).filter(has_open).map(named).collect()
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::super::Verdict;
    use super::*;

    fn found(port: &str) -> (Verdict, String) {
        let finding = judge(port, &see(port), &["/dev/ttyUSB0".to_owned()]);
        (finding.verdict, finding.found + &finding.fix.map(|fix| format!("; {fix}")).unwrap_or_default())
    }

    #[test]
    fn a_port_that_is_missing_or_none_is_told_with_those_there_are() {
        let missing = (Verdict::Ill, "not there; plug it in, or name one of: /dev/ttyUSB0".to_owned());
        assert_eq!(found("/dev/no-such-port"), missing);
        assert_eq!(found("/etc/passwd").0, Verdict::Ill);
    }

    #[test]
    fn a_port_that_another_program_holds_is_told_with_its_name() {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let port = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
        assert_eq!(found(&port), (Verdict::Well, "there, and may be opened".to_owned()));
        let _held = fs::OpenOptions::new().read(true).write(true).open(&port).unwrap();
        let (verdict, words) = found(&port);
        assert_eq!(verdict, Verdict::Hint, "it may be what makes the port");
        assert!(words.contains(&format!("({})", std::process::id())), "{words}");
        let held = judge("/dev/ttyUSB0", &Seen::There(vec!["minicom (412)".into()]), &[]);
        assert_eq!((held.verdict, held.found.as_str()), (Verdict::Ill, "in use by minicom (412)"));
    }

    #[test]
    fn what_this_user_may_not_open_comes_with_the_command_that_mends_it() {
        let finding = judge("/dev/ttyUSB0", &Seen::Forbidden, &[]);
        assert!(finding.fix.unwrap().contains("usermod -aG dialout"));
    }
}
