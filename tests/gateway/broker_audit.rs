//! What clients of the local broker do wrong and cannot see themselves: the log has it, with the cause.

use std::process::{Child, Command, Output, Stdio};

use crate::lab::ca::Ca;
use crate::lab::free_port;
use crate::lab::gateway::Site;
use crate::passwd::passwd;

/// Runs one of Mosquitto's programs to its end.
fn mosquitto(program: &str, port: u16, args: &[&str]) -> Output {
    Command::new(program).args(["-h", "localhost", "-p", &port.to_string()]).args(args).output().unwrap()
}

/// A client that stays until it is dropped.
struct Stays(Child);

impl Stays {
    fn with_id(port: u16, id: &str) -> Self {
        let port = port.to_string();
        let args = ["-h", "127.0.0.1", "-p", &port, "-i", id, "-t", "gw1-out/#", "-u", "panel", "-P", "panel"];
        Self(Command::new("mosquitto_sub").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_a_client_may_not_do_stands_in_the_log_because_mqtt_3_has_no_word_for_it() {
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1
broker:
  listen: [127.0.0.1:{port}]
  passwords: broker.passwd
  limits: {{ packet: 256KiB, retained_message: 64KiB }}
  users: {{ panel: {{ subscribe: [\"gw1-out/#\"] }}, zigbee: {{ publish: [\"r/#\"] }} }}
"
    ));
    let passwords = site.path().join("broker.passwd");
    for user in ["panel", "zigbee"] {
        assert_eq!(passwd(&["--file", passwords.to_str().unwrap(), user], user).code, 0);
    }
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let panel = ["-i", "panel-1", "-u", "panel", "-P", "panel"];
    let with = |args: &[&'static str]| [&panel[..], args].concat();
    assert!(
        mosquitto("mosquitto_pub", port, &with(&["-t", "gw1-in/tank/valve", "-m", "1", "-q", "1"])).status.success()
    );
    let line = gateway.wait_log("audit: publication refused");
    assert!(line.contains(r#"client="panel-1" user="panel" topic="gw1-in/tank/valve""#), "{line}");
    assert!(line.contains("no `publish` rule of this user has this topic"), "{line}");
    mosquitto("mosquitto_sub", port, &with(&["-t", "$share/g/secret/#", "-W", "1"]));
    let line = gateway.wait_log("audit: subscription refused");
    assert!(line.contains(r#"topic="secret/#""#), "{line}");
    mosquitto("mosquitto_sub", port, &["-i", "panel-2", "-u", "panel", "-P", "panel", "-t", "$SYS/#", "-W", "1"]);
    gateway.wait_log("`#` does not stand for those that begin with `$`");
    mosquitto(
        "mosquitto_pub",
        port,
        &with(&["-t", "x", "-m", "1", "--will-topic", "panel/off", "--will-payload", "1"]),
    );
    let line = gateway.wait_log("audit: will refused");
    assert!(line.contains(r#"topic="panel/off""#), "{line}");

    mosquitto("mosquitto_pub", port, &["-t", "x", "-m", "1", "-u", "panle", "-P", "panel"]);
    gateway.wait_log("there is no such user under `broker.users`");
    mosquitto("mosquitto_pub", port, &["-t", "x", "-m", "1", "-u", "panel", "-P", "wrong"]);
    gateway.wait_log("the password is wrong");

    let _both = [Stays::with_id(port, "twin"), Stays::with_id(port, "twin")];
    let line = gateway.wait_log("throw each other out");
    assert!(line.contains(r#"client="twin""#), "{line}");

    let big = site.path().join("big");
    let tell = |size: usize, args: &[&'static str]| {
        std::fs::write(&big, "x".repeat(size)).unwrap();
        let file = ["-t", "r/devices", "-q", "1", "-f", big.to_str().unwrap()];
        mosquitto("mosquitto_pub", port, &[&["-i", "zigbee", "-u", "zigbee", "-P", "zigbee"], args, &file].concat())
    };
    assert!(tell(80_000, &["-r"]).status.success());
    let line = gateway.wait_log("a message was not retained");
    assert!(line.contains(r#"topic="r/devices" bytes=80"#), "{line}");
    tell(300_000, &[]);
    let line = gateway.wait_log("a client was closed for what it sent");
    assert!(line.contains(r#"client="zigbee""#) && line.contains("a packet larger than is taken here"), "{line}");

    let other = Site::new(&format!("gateway: gw2\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    let answer = other.wharf(&["run"], &[]);
    assert!(answer.code == 1 && answer.err.contains(&format!("`ss -ltnp sport = :{port}` tells which")), "{answer:?}");
}

#[test]
fn who_comes_to_the_wrong_listener_or_trusts_no_certificate_is_told_apart() {
    let [plain, encrypted, socket] = [free_port(), free_port(), free_port()];
    let site = Site::new(&format!(
        "gateway: gw1
broker:
  listen:
    - 127.0.0.1:{plain}
    - {{ address: 127.0.0.1:{encrypted}, tls: {{ cert: localhost.pem, key: localhost.key }} }}
    - {{ address: 127.0.0.1:{socket}, web_socket: true }}
"
    ));
    let ca = Ca::new("Plant");
    ca.issue("localhost", site.path());
    Ca::new("Other").write(&site.path().join("other.pem"));
    let gateway = site.run();
    gateway.wait_log(&format!("ws://127.0.0.1:{socket}"));
    let other = site.path().join("other.pem");
    let other = other.to_str().unwrap();
    for (port, args, reason) in [
        (encrypted, &["--cafile", other][..], "it does not trust the broker's certificate"),
        (encrypted, &[], "it does not speak TLS"),
        (plain, &["--cafile", other], "it speaks TLS (mqtts://), and this listener does not"),
        (plain, &["-V", "mqttv31"], "it speaks another version of MQTT"),
        (socket, &[], "it does not ask for a web socket"),
    ] {
        let args = [args, &["-t", "x", "-m", "1"]].concat();
        assert!(!mosquitto("mosquitto_pub", port, &args).status.success(), "{args:?}");
        let line = gateway.wait_log(reason);
        assert!(line.contains("audit: a client did not get in") && line.contains(&format!(":{port}\"")), "{line}");
    }
    let asks = std::net::TcpStream::connect(("127.0.0.1", plain));
    std::io::Write::write_all(&mut asks.unwrap(), b"GET / HTTP/1.1\r\n\r\n").unwrap();
    gateway.wait_log("browsers need a listener with `web_socket: true`");
}
