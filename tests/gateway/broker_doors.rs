//! The local broker's doors, with the clients people use: plain, encrypted, with certificates, through web sockets.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lab::ca::Ca;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::{PATIENCE, free_port, wait_for};

/// One of Mosquitto's tools; killed when dropped.
struct Tool(Option<Child>);

impl Tool {
    fn start(name: &str, args: &[&str]) -> Self {
        let child = Command::new(name).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(Some(child.unwrap()))
    }

    /// What it said by the time it ended, and whether that went well.
    fn end(mut self) -> (bool, String) {
        let mut child = self.0.take().unwrap();
        wait_for("the tool to end", PATIENCE, || child.try_wait().unwrap());
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(broker: &str) -> (Site, Gateway) {
    let site = Site::new(&format!("gateway: gw1\nbroker:\n{broker}"));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    (site, gateway)
}

#[test]
fn mosquittos_tools_speak_to_each_other_in_both_versions_at_every_qos() {
    let port = free_port().to_string();
    let (_site, gateway) = start(&format!("  listen: [127.0.0.1:{port}]\n"));
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("{version}/{qos}");
            let client = format!("sub-{version}-{qos}");
            let filter = format!("{version}/#");
            let sub =
                ["-p", &port, "-V", version, "-i", &client, "-q", qos, "-t", &filter, "-C", "1000", "-F", "%t %q %p"];
            let sub = Tool::start("mosquitto_sub", &sub);
            gateway.wait_log(&format!("client={client}"));
            let lines: String = (0..1000).map(|line| format!("{line}\n")).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &lines).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let publish = Command::new("mosquitto_pub")
                .args(["-p", &port, "-V", version, "-q", qos, "-t", &topic, "-l"])
                .stdin(std::fs::File::open(file.path()).unwrap())
                .status();
            assert!(publish.unwrap().success());
            let (well, said) = sub.end();
            let expected: String = (0..1000).map(|line| format!("{topic} {qos} {line}\n")).collect();
            assert!(well && said == expected, "{topic}: {} of 1000 lines", said.lines().count());
        }
    }
}

#[test]
fn what_the_broker_counts_is_on_sys_and_in_the_status() {
    let port = free_port().to_string();
    let (site, gateway) = start(&format!("  listen: [127.0.0.1:{port}]\n"));
    let client = || Client::subscribe(port.parse().unwrap(), &["#"]);
    let (_one, another) = (client(), client());
    let sub = |topic: &str| Tool::start("mosquitto_sub", &["-p", &port, "-t", topic, "-C", "1", "-W", "25"]).end();
    assert!(sub("$SYS/broker/uptime").1.trim_end().ends_with("seconds"));
    let connected = || sub("$SYS/broker/clients/connected").1.trim_end().parse::<u64>().ok();
    // Who asks may be counted as well, if it is just told then.
    wait_for("two clients on $SYS", PATIENCE, || connected().filter(|count| *count >= 2));
    drop(another);
    // What is the broker's own is not for those who want everything of the others.
    let everything = Tool::start("mosquitto_sub", &["-p", &port, "-t", "#", "-W", "2", "-v"]).end();
    assert!(everything.1.contains("gw1-sys/state online") && !everything.1.contains("$SYS"), "{}", everything.1);
    let status = || site.wharf(&["status"], &["--json"]).json();
    // Those who have just left may be counted for a moment.
    let status =
        wait_for("one client in the status", PATIENCE, || Some(status()).filter(|s| s["broker"]["clients"] == 1));
    assert_eq!(status["broker"]["missed"], 0);
    drop(gateway);
}

#[test]
fn listeners_are_as_the_site_file_wants_them() {
    let site = Site::new("gateway: gw1\n");
    let dir = site.path().to_owned();
    let ca = Ca::new("the site's CA");
    ca.write(&dir.join("ca.pem"));
    for name in ["broker", "plc-1", "plc-2"] {
        ca.issue(name, &dir);
    }
    let [plain, secure, strict, web] = [(); 4].map(|()| free_port().to_string());
    std::fs::write(
        site.file(),
        format!(
            "gateway: gw1
broker:
  listen:
    - 127.0.0.1:{plain}
    - {{ address: 127.0.0.1:{secure}, tls: {{ cert: broker.pem, key: broker.key }} }}
    - address: 127.0.0.1:{strict}
      tls: {{ cert: broker.pem, key: broker.key, client_ca: ca.pem }}
    - {{ address: 127.0.0.1:{web}, web_socket: true }}
  anonymous: loopback
  anonymous_may: {{ publish: [open/#], subscribe: [open/#] }}
  users:
    plc: {{ certificate: \"CN=plc-1\", publish: [plant/%c], subscribe: [plant/#] }}
"
        ),
    )
    .unwrap();
    let gateway = site.run();
    gateway.wait_log("wharf starts");
    for scheme in ["mqtt", "mqtts", "ws"] {
        gateway.wait_log(&format!("listener=\"{scheme}://127.0.0.1"));
    }
    let file = |name: &str| dir.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("plc-1.pem"), file("plc-1.key"));
    let publish =
        |args: &[&str]| Tool::start("mosquitto_pub", &[&["-V", "mqttv5", "-q", "1", "-m", "x"], args].concat()).end();

    assert!(publish(&["-p", &plain, "-t", "open/a"]).0);
    let refused = publish(&["-p", &plain, "-t", "plant/a"]);
    assert!(refused.1.contains("Not authorized") || !refused.0, "{refused:?}");
    assert!(publish(&["-p", &secure, "--cafile", &ca, "-h", "localhost", "-t", "open/a"]).0);
    assert!(!publish(&["-p", &secure, "-t", "open/a"]).0, "that door is for TLS");

    let known = ["-p", &strict, "--cafile", &ca, "-h", "localhost", "--cert", &cert, "--key", &key];
    let hears = Tool::start("mosquitto_sub", &[&known[..], &["-t", "plant/#", "-C", "1", "-i", "ear"]].concat());
    gateway.wait_log("client=ear");
    std::thread::sleep(Duration::from_millis(500));
    publish(&[&known[..], &["-t", "plant/other", "-i", "pump"]].concat());
    assert!(publish(&[&known[..], &["-t", "plant/pump", "-i", "pump"]].concat()).0);
    assert_eq!(hears.end().1, "x\n", "it hears what its certificate allows");
    assert!(
        !publish(&["-p", &strict, "--cafile", &ca, "-h", "localhost", "-t", "open/a"]).0,
        "it shows no certificate"
    );
}
