//! What Bluetooth needs: the bus, the daemon, an adapter that is allowed to send, and a way to all of
//! them out of a container.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use wharf_ble::LinkSettings;
use wharf_ble::config::{Adapter, Scan};
use wharf_ble::radio::{AdapterSeen, Look, look as look_at_bus};

use super::Finding;

/// How long a question to the bus may take.
const CALL: Duration = Duration::from_secs(5);

/// Where distributions keep the daemon.
const DAEMONS: [&str; 3] =
    ["/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd", "/usr/sbin/bluetoothd"];

/// What a link of the site needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    adapter: Option<String>,
    passive: bool,
}

impl Wanted {
    /// By its settings.
    pub fn of(link: &LinkSettings) -> Self {
        let adapter = link.adapter.as_ref().map(Adapter::as_str).map(str::to_owned);
        Self { adapter, passive: link.scan == Scan::Passive }
    }
}

/// What there is to know of a machine.
#[derive(Clone, Debug)]
struct Machine {
    /// Whether this is a container.
    contained: bool,
    /// The number of the user that this runs as.
    user: u32,
    /// The adapters that the kernel has.
    kernel: Vec<String>,
    /// Whether software, or a switch, keeps Bluetooth from sending.
    blocked: (bool, bool),
    /// The daemon's version, if its program is here.
    version: Option<String>,
    bus: Look,
}

/// Looks at this machine, if any link needs it.
pub fn look(wanted: &[Wanted]) -> Vec<Finding> {
    if wanted.is_empty() {
        return Vec::new();
    }
    judge(&Machine::look(Path::new("/"), look_at_bus(CALL)), wanted)
}

impl Machine {
    fn look(root: &Path, bus: Look) -> Self {
        let names = |folder: &str| {
            let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let mut kernel = names("sys/class/bluetooth");
        // hci0:11 is a connection.
        kernel.retain(|name| name.starts_with("hci") && !name.contains(':'));
        kernel.sort();
        let is = |switch: &str, file: &str, value: &str| {
            let path = root.join("sys/class/rfkill").join(switch).join(file);
            fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
        };
        let switches = names("sys/class/rfkill");
        let blocked = |how: &str| switches.iter().any(|switch| is(switch, "type", "bluetooth") && is(switch, how, "1"));
        Self {
            contained: [".dockerenv", "run/.containerenv"].iter().any(|file| root.join(file).exists()),
            user: fs::metadata("/proc/self").map_or(0, |own| own.uid()),
            kernel,
            blocked: (blocked("soft"), blocked("hard")),
            version: DAEMONS.iter().find_map(|daemon| version(Path::new(daemon))),
            bus,
        }
    }
}

fn version(daemon: &Path) -> Option<String> {
    let output = Command::new(daemon).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text.len() < 20)
}

/// What follows. Where one thing is ill, what rests on it is not looked at.
fn judge(machine: &Machine, wanted: &[Wanted]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let contained = machine.contained;
    let bus = env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| "/run/dbus/system_bus_socket".to_owned());
    let adapters = match &machine.bus {
        Look::NoBus(words) => {
            let fix = if contained {
                "start the container with -v /run/dbus:/run/dbus"
            } else {
                "sudo apt install dbus && sudo systemctl start dbus"
            };
            findings.push(Finding::ill("D-Bus", format!("no way to {bus}: {words}"), fix));
            &[][..]
        }
        Look::Mute => {
            let fix = if contained {
                format!(
                    "the bus has to know the user: on the host `sudo useradd --system --uid {0} wharf`, or another name; \
                     where user {0} is known there: sudo systemctl restart dbus",
                    machine.user
                )
            } else {
                "sudo systemctl restart dbus, or restart the machine".to_owned()
            };
            let found = format!("{bus} takes the connection of user {} and answers nothing", machine.user);
            findings.push(Finding::ill("D-Bus", found, fix));
            &[][..]
        }
        Look::NoDaemon => {
            findings.push(Finding::well("D-Bus", bus));
            let fix = "sudo apt install bluez && sudo systemctl enable --now bluetooth";
            let fix = if contained { format!("on the host: {fix}") } else { fix.to_owned() };
            findings.push(Finding::ill("bluetoothd", "does not run", fix));
            &[][..]
        }
        Look::Refused(words) => {
            findings.push(Finding::well("D-Bus", bus));
            let fix = if contained {
                "start the container with --group-add and the number of the host's group that may use Bluetooth \
                 (`getent group bluetooth`); where AppArmor guards containers, with --security-opt apparmor=unconfined too"
            } else {
                "sudo usermod -aG bluetooth wharf, for the user that wharf runs as; then start it again"
            };
            findings.push(Finding::ill("bluetoothd", format!("does not speak with this user: {words}"), fix));
            &[][..]
        }
        Look::Silent => {
            findings.push(Finding::well("D-Bus", bus));
            findings.push(Finding::ill("bluetoothd", "does not answer", "sudo systemctl restart bluetooth"));
            &[][..]
        }
        Look::Adapters(adapters) => {
            findings.push(Finding::well("D-Bus", bus));
            let version = machine.version.as_ref().map(|version| format!(", version {version}"));
            findings.push(Finding::well("bluetoothd", format!("runs{}", version.unwrap_or_default())));
            adapters.as_slice()
        }
    };
    findings.extend(radio_silence(machine));
    if matches!(machine.bus, Look::Adapters(_)) {
        findings.extend(wanted.iter().flat_map(|wanted| adapter(machine, adapters, wanted)));
    }
    findings
}

/// Whether something keeps Bluetooth from sending.
fn radio_silence(machine: &Machine) -> Option<Finding> {
    match machine.blocked {
        (_, true) => {
            Some(Finding::ill("rfkill", "a switch keeps Bluetooth off", "turn the switch, or allow it in the firmware"))
        }
        (true, _) => Some(Finding::ill("rfkill", "Bluetooth is blocked", "sudo rfkill unblock bluetooth")),
        (false, false) => None,
    }
}

/// The adapter that a link wants, and what it can.
fn adapter(machine: &Machine, adapters: &[AdapterSeen], wanted: &Wanted) -> Vec<Finding> {
    let is_it = |adapter: &&AdapterSeen| {
        wanted.adapter.as_ref().is_none_or(|name| adapter.name == *name || adapter.address.eq_ignore_ascii_case(name))
    };
    let Some(found) = adapters.iter().find(is_it) else { return vec![no_adapter(machine, adapters, wanted)] };
    let what = format!("adapter {}", found.name);
    let state = if found.powered { "on" } else { "off; wharf switches it on" };
    let mut findings = vec![Finding::well(&what, format!("{}, {state}", found.address))];
    if !found.monitors {
        let fix = "sudo systemctl edit bluetooth, and there: [Service], ExecStart=, \
                   ExecStart=/usr/libexec/bluetooth/bluetoothd --experimental; then sudo systemctl restart bluetooth";
        findings.push(if wanted.passive {
            Finding::ill(what, "cannot listen passively: bluetoothd offers no advertisement monitors", fix)
        } else {
            let found = "bluetoothd offers no advertisement monitors, so the adapter may swallow repeated values";
            Finding::hint(what, found, fix)
        });
    }
    findings
}

fn no_adapter(machine: &Machine, adapters: &[AdapterSeen], wanted: &Wanted) -> Finding {
    let what = wanted.adapter.as_ref().map_or("adapter".to_owned(), |name| format!("adapter {name}"));
    if !adapters.is_empty() {
        let known: Vec<String> = adapters.iter().map(|seen| format!("{} ({})", seen.name, seen.address)).collect();
        return Finding::ill(
            what,
            "there is no such one",
            format!("write in the site file one of {}", known.join(", ")),
        );
    }
    if !machine.kernel.is_empty() {
        let found = format!("the kernel has {}, and bluetoothd does not know it", machine.kernel.join(", "));
        return Finding::ill(what, found, "sudo systemctl restart bluetooth");
    }
    Finding::ill(
        what,
        "there is none",
        "plug one in; if there is one, `sudo dmesg | grep -i bluetooth` says why it is not used (on a Raspberry Pi: no \
         dtoverlay=disable-bt in /boot/firmware/config.txt)",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn seen(monitors: bool) -> AdapterSeen {
        AdapterSeen { name: "hci0".into(), address: "00:1A:7D:DA:71:13".into(), powered: true, monitors }
    }

    fn machine(bus: Look) -> Machine {
        Machine {
            contained: false,
            user: 65532,
            kernel: vec!["hci0".into()],
            blocked: (false, false),
            version: None,
            bus,
        }
    }

    /// What is not well, with what mends it.
    fn complaints(machine: &Machine, wanted: &Wanted) -> Vec<(Verdict, String, String)> {
        let findings = judge(machine, std::slice::from_ref(wanted));
        let ill = findings.into_iter().filter(|finding| finding.verdict != Verdict::Well);
        ill.map(|finding| (finding.verdict, finding.found, finding.fix.unwrap())).collect()
    }

    #[test]
    fn a_machine_that_has_everything_gets_no_advice() {
        assert_eq!(complaints(&machine(Look::Adapters(vec![seen(true)])), &Wanted::default()), []);
    }

    #[test]
    fn each_thing_that_is_missing_comes_with_what_mends_it() {
        let fix = |bus, contained| {
            let machine = Machine { contained, ..machine(bus) };
            let [(Verdict::Ill, _, fix)] = &complaints(&machine, &Wanted::default())[..] else { panic!("{machine:?}") };
            fix.clone()
        };
        assert!(fix(Look::NoBus("x".into()), false).contains("install dbus"));
        assert!(fix(Look::NoBus("x".into()), true).contains("-v /run/dbus"));
        assert!(fix(Look::Mute, true).contains("useradd --system --uid 65532"));
        assert!(fix(Look::Mute, false).contains("restart dbus"));
        assert!(fix(Look::Refused("x".into()), true).contains("--group-add"));
        assert!(fix(Look::NoDaemon, false).starts_with("sudo apt install bluez"));
        assert!(fix(Look::NoDaemon, true).starts_with("on the host"));
        assert!(fix(Look::Refused("x".into()), false).contains("usermod -aG bluetooth"));
        assert!(fix(Look::Silent, false).contains("restart bluetooth"));
        assert!(fix(Look::Adapters(Vec::new()), false).contains("restart bluetooth"), "the kernel has one");
    }

    #[test]
    fn without_monitors_passive_listening_is_impossible_and_active_listening_could_be_better() {
        let bus = || Look::Adapters(vec![seen(false)]);
        let passive = Wanted { passive: true, ..Wanted::default() };
        for (wanted, verdict) in [(passive, Verdict::Ill), (Wanted::default(), Verdict::Hint)] {
            let told = complaints(&machine(bus()), &wanted);
            assert_eq!((told.len(), told[0].0), (1, verdict));
            assert!(told[0].2.contains("--experimental"));
        }
    }

    #[test]
    fn an_adapter_may_be_named_by_its_address_and_a_wrong_name_gets_the_right_ones() {
        let bus = || Look::Adapters(vec![seen(true)]);
        let wanting = |name: &str| Wanted { adapter: Some(name.into()), ..Wanted::default() };
        assert_eq!(complaints(&machine(bus()), &wanting("00:1a:7d:da:71:13")), []);
        assert!(complaints(&machine(bus()), &wanting("hci1"))[0].2.contains("hci0 (00:1A:7D:DA:71:13)"));
    }

    #[test]
    fn the_kernels_folders_are_read_as_they_are() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("sys/class/bluetooth/hci0/address", "");
        put("sys/class/bluetooth/hci0:11/address", "");
        put("sys/class/rfkill/rfkill0/type", "wlan\n");
        put("sys/class/rfkill/rfkill0/soft", "1\n");
        put("sys/class/rfkill/rfkill1/type", "bluetooth\n");
        put("sys/class/rfkill/rfkill1/soft", "0\n");
        let look = || Machine::look(root.path(), Look::Adapters(vec![seen(true)]));
        assert_eq!((look().kernel, look().blocked, look().contained), (vec!["hci0".to_owned()], (false, false), false));
        put("sys/class/rfkill/rfkill1/soft", "1\n");
        put(".dockerenv", "");
        assert!(look().contained);
        assert!(complaints(&look(), &Wanted::default())[0].2.contains("rfkill unblock"));
    }
}
