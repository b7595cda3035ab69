//! Users of the local broker: who gets in, who hears what, and a site file that changes meanwhile.

use std::fs;
use std::process::{Command, Stdio};

use crate::lab::ca::Ca;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site, wharf};
use crate::lab::terminal::Terminal;
use crate::lab::{PATIENCE, free_port, wait_for};
use crate::passwd::passwd;

/// A site whose users have these settings, each with its name as its password.
fn site(port: u16, users: &[(&str, &str)]) -> Site {
    let site = Site::new("");
    write(&site, port, users, "");
    for (name, _) in users {
        set_password(&site, name, name);
    }
    site
}

fn write(site: &Site, port: u16, users: &[(&str, &str)], more: &str) {
    let users: String = users.iter().map(|(name, settings)| format!("    {name}: {settings}\n")).collect();
    let broker = format!("broker:\n  listen: [127.0.0.1:{port}]\n  passwords: broker.passwd\n  users:\n{users}");
    fs::write(site.file(), format!("gateway: gw1\n{broker}{more}")).unwrap();
}

fn set_password(site: &Site, name: &str, password: &str) {
    let file = site.path().join("broker.passwd");
    let answer = passwd(&["--file", file.to_str().unwrap(), name], password);
    assert_eq!(answer.code, 0, "{answer:?}");
}

/// Whether somebody gets in, by mosquitto_pub.
fn gets_in(port: u16, how: &[&str]) -> bool {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "hello", "-m", "x", "-q", "1"]).args(how);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

const PANEL: (&str, &str) =
    ("panel", "{ publish: [gw1-in/#, hello, \"by/%u/%c\"], subscribe: [\"gw1-sys/#\", \"shared/#\"] }");
const GUEST: (&str, &str) = ("guest", "{ publish: [shared/a, hello], subscribe: [\"#\"] }");

#[test]
fn users_do_what_they_may_and_the_audit_log_says_who_was_refused_and_who_commands() {
    let port = free_port();
    let site = site(port, &[PANEL, GUEST]);
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    assert!(gets_in(port, &["-u", "panel", "-P", "panel"]));
    for how in [&[][..], &["-u", "panel", "-P", "guest"], &["-u", "nobody", "-P", "panel"], &["-u", "panel"]] {
        assert!(!gets_in(port, how), "{how:?}");
    }
    for user in ["panel", "nobody"] {
        let refused = gateway.wait_log(&format!(r#"user="{user}" address=127.0.0.1:"#));
        assert!(refused.contains("WARN audit: login refused"), "{refused}");
    }

    // Asks for more than it may hear of, and gets what it may.
    let panel = Client::subscribe_as(port, &["#"], Some(("panel", "panel")));
    let guest = Client::subscribe_as(port, &["#"], Some(("guest", "guest")));
    guest.publish("shared/b", "not allowed");
    guest.publish("shared/a", "allowed");
    panel.publish("gw1-in/tank/valve", "1");
    assert_eq!(panel.wait_on("shared/a").payload, "allowed");
    guest.wait_on("gw1-in/tank/valve");
    panel.wait_on("gw1-sys/answer/tank/valve");
    for topic in ["gw1-in/tank/valve", "shared/b"] {
        assert!(panel.on(topic).is_empty(), "{topic}");
    }
    assert!(guest.on("shared/b").is_empty());
    let command = gateway.wait_log("audit: command");
    assert!(command.contains(r#"user="panel" topic="gw1-in/tank/valve""#), "{command}");
    let log = gateway.log();
    assert!(!log.contains("argon2"), "{log}");
}

#[test]
fn a_user_is_let_in_by_its_certificate() {
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1
broker:
  listen: [{{ address: 127.0.0.1:{port}, tls: {{ cert: gw1.pem, key: gw1.key, client_ca: ca.pem, client_certificates: optional }} }}]
  users:
    plc: {{ certificate: CN=plc-1, publish: [hello] }}
"
    ));
    let ca = Ca::new("Plant");
    ca.write(&site.path().join("ca.pem"));
    for name in ["gw1", "plc-1", "plc-2"] {
        ca.issue(name, site.path());
    }
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let file = |name: &str| site.path().join(name).to_str().unwrap().to_owned();
    let with = |name: &str| {
        let [ca, cert, key] = [file("ca.pem"), file(&format!("{name}.pem")), file(&format!("{name}.key"))];
        gets_in(port, &["--cafile", &ca, "--cert", &cert, "--key", &key])
    };
    assert!(with("plc-1"));
    assert!(!with("plc-2"));
    assert!(!gets_in(port, &["--cafile", &file("ca.pem")]));
    assert!(!gets_in(port, &["--cafile", &file("ca.pem"), "-u", "plc", "-P", ""]));
}

/// Has the site file read anew, and waits until the status says what became of it. Asks by another file that has its state in the same
/// place, because the site file itself may be wrong.
pub fn reload(gateway: &Gateway, site: &Site) -> serde_json::Value {
    let other = site.path().join("other.yaml");
    fs::write(&other, "gateway: gw1\n").unwrap();
    let last = || wharf(&["status", other.to_str().unwrap(), "--json"]).json()["reload"].clone();
    let before = last();
    gateway.hang_up();
    wait_for("the reload", PATIENCE, || Some(last()).filter(|last| *last != before))
}

#[test]
fn a_changed_site_file_is_gone_by_and_whose_rights_are_the_same_notices_nothing() {
    let port = free_port();
    let site = site(port, &[PANEL, GUEST]);
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let panel = Client::subscribe_as(port, &["#"], Some(("panel", "panel")));
    let guest = Client::subscribe_as(port, &["#"], Some(("guest", "guest")));

    // The guest may say something else, and nobody is thrown out for that.
    let other = ("guest", "{ publish: [shared/b, hello], subscribe: [\"#\"] }");
    write(&site, port, &[PANEL, other], "modbus: {}\n");
    let told = reload(&gateway, &site);
    assert_eq!((told["ok"].clone(), told["restart_for"].clone()), (true.into(), serde_json::json!(["modbus"])));
    gateway.wait_log("takes effect with a restart");
    guest.publish("shared/a", "not any more");
    guest.publish("shared/b", "now");
    assert_eq!(panel.wait_on("shared/b").payload, "now");
    assert!(panel.on("shared/a").is_empty());

    // A file with a mistake changes nothing, and neither does what hangs on it.
    write(&site, port, &[PANEL, ("guest", "{ publish: [a/#/b] }")], "");
    let told = reload(&gateway, &site);
    assert_eq!(told["ok"], false, "{told}");
    assert!(told["error"].as_str().unwrap().contains("1 mistake in"), "{told}");
    gateway.wait_log("`#` stands at the end alone");
    guest.publish("shared/b", "still");
    panel.wait("what the guest says", |heard| heard.payload == "still");

    // Another password: who is in by the old one is sent away, and comes back with the new one only.
    assert_eq!((panel.subscribed(), guest.subscribed()), (1, 1));
    write(&site, port, &[PANEL, other], "");
    set_password(&site, "guest", "new");
    assert_eq!(reload(&gateway, &site)["ok"], true);
    gateway.wait_log(r#"user="guest" address=127.0.0.1:"#);
    drop(guest);
    wait_for("the new password", PATIENCE, || gets_in(port, &["-u", "guest", "-P", "new"]).then_some(()));
    assert!(!gets_in(port, &["-u", "guest", "-P", "guest"]));

    // Without the user nobody comes in as it.
    write(&site, port, &[PANEL], "");
    assert_eq!(reload(&gateway, &site)["ok"], true);
    assert!(!gets_in(port, &["-u", "guest", "-P", "new"]));
    panel.publish("gw1-in/tank/valve", "1");
    panel.wait_on("gw1-sys/answer/tank/valve");
    assert_eq!(panel.subscribed(), 1, "it was never away");
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn under_a_terminal_a_hangup_is_its_end() {
    let port = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    let terminal = Terminal::open();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let command = command.arg("run").arg(site.file()).env_remove("STATE_DIRECTORY");
    let mut child = command.stdin(terminal.stdio()).stdout(Stdio::null()).stderr(terminal.stdio()).spawn().unwrap();
    terminal.wait("local broker listening");
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    let status = wait_for("the end", PATIENCE, || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn certificates_that_cannot_be_used_are_found_before_anything_starts() {
    let site = Site::new(
        "gateway: gw1\nbroker: { listen: [{ address: 127.0.0.1:1, tls: { cert: gw1.pem, key: gw1.key, client_ca: ca.pem } }] }\n",
    );
    let ca = Ca::new("Plant");
    ca.write(&site.path().join("ca.pem"));
    ca.issue("gw1", site.path());
    assert_eq!(site.wharf(&["check"], &[]).code, 0);
    fs::write(site.path().join("ca.pem"), "no certificate").unwrap();
    let answer = site.wharf(&["check"], &[]);
    assert!(answer.code == 78 && answer.err.contains("ca.pem holds no certificate"), "{answer:?}");
}
