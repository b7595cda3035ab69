//! TLS with a CA of one's own, in both directions, and what is said when it does not fit.

use std::path::Path;
use std::process::Command;

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::lab::broker::Mosquitto;
use crate::lab::ca::Ca;
use crate::lab::front::Front;
use crate::lab::gateway::Site;

/// A Mosquitto that wants client certificates of this CA.
fn strict_broker(ca: &Ca, certificates: &Path) -> Mosquitto {
    ca.write(&certificates.join("ca.pem"));
    ca.issue("broker", certificates);
    let dir = certificates.display();
    Mosquitto::with(&format!(
        "allow_anonymous false\ncafile {dir}/ca.pem\ncertfile {dir}/broker.pem\nkeyfile {dir}/broker.key\n\
         require_certificate true\nuse_identity_as_username true\n"
    ))
}

/// A site whose uplink uses these TLS settings.
fn site(port: u16, tls: &str, protocol: &str) -> Site {
    Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central:\n    url: mqtts://localhost:{port}\n    protocol: {protocol}\n    tls: {{ {tls} }}\nbroker: {{ listen: [] }}\n"
    ))
}

#[test]
fn a_client_certificate_of_the_sites_own_ca_opens_the_door() {
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let broker = strict_broker(&ca, certificates.path());
    for protocol in ["5", "3.1.1"] {
        let site = site(broker.port, "ca: ca.pem, cert: gw1.pem, key: gw1.key", protocol);
        ca.write(&site.path().join("ca.pem"));
        ca.issue("gw1", site.path());
        site.run().wait_log("uplink connected");
    }
}

#[test]
fn a_wrong_ca_is_refused_and_said() {
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let broker = strict_broker(&ca, certificates.path());
    for protocol in ["5", "3.1.1"] {
        let site = site(broker.port, "ca: ca.pem, cert: gw1.pem, key: gw1.key", protocol);
        Ca::new("someone else's CA").write(&site.path().join("ca.pem"));
        ca.issue("gw1", site.path());
        let gateway = site.run();
        let said = gateway.wait_log("uplink down");
        assert!(said.contains("not signed by a CA known here: check `tls: ca`"), "{said}");
        assert!(!gateway.log().contains("uplink connected"));
    }
}

#[test]
fn a_client_certificate_of_a_wrong_ca_is_refused_and_said() {
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let broker = strict_broker(&ca, certificates.path());
    let site = site(broker.port, "ca: ca.pem, cert: gw1.pem, key: gw1.key", "5");
    ca.write(&site.path().join("ca.pem"));
    Ca::new("someone else's CA").issue("gw1", site.path());
    let said = site.run().wait_log("uplink down");
    assert!(said.contains("client certificate"), "{said}");
}

#[test]
fn a_missing_client_certificate_is_said() {
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let broker = strict_broker(&ca, certificates.path());
    let site = site(broker.port, "ca: ca.pem", "5");
    ca.write(&site.path().join("ca.pem"));
    let said = site.run().wait_log("uplink down");
    assert!(said.contains("asks for a client certificate"), "{said}");
}

#[test]
fn a_certificate_file_that_is_not_there_stops_the_start_and_is_named() {
    let broker = Mosquitto::start();
    let site = site(broker.port, "ca: nowhere.pem", "5");
    let mut gateway = site.run();
    assert_eq!(gateway.wait().code(), Some(78));
    assert!(gateway.log().contains("nowhere.pem"), "{}", gateway.log());
    let check = Command::new(env!("CARGO_BIN_EXE_wharf")).args(["check", "--json"]).arg(site.file()).output().unwrap();
    assert_eq!(check.status.code(), Some(78));
    let verdict: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(verdict["ok"], false);
    assert!(verdict["mistakes"][0]["message"].as_str().unwrap().contains("nowhere.pem"), "{verdict}");
}

#[test]
fn a_wrong_password_is_said() {
    let broker = Mosquitto::with("allow_anonymous false\n");
    for protocol in ["5", "3.1.1"] {
        let site = Site::new(&format!(
            "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\", protocol: {protocol}, username: gw1, password: hunter2 }}\nbroker: {{ listen: [] }}\n",
            broker.port
        ));
        let gateway = site.run();
        let said = gateway.wait_log("uplink down");
        assert!(said.contains("user name"), "{said}");
        assert!(!gateway.log().contains("hunter2"));
    }
}

#[test]
fn tls_1_2_and_1_3_will_do_and_the_broker_is_told_its_name_and_what_is_spoken_inside() {
    let broker = Mosquitto::start();
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let front = Front::start(&ca, certificates.path(), version, broker.port);
        for protocol in ["5", "3.1.1"] {
            let site = site(front.port, "ca: ca.pem, alpn: [x-amzn-mqtt-ca]", protocol);
            ca.write(&site.path().join("ca.pem"));
            site.run().wait_log("uplink connected");
            let shown = front.shown().pop().unwrap();
            assert_eq!(shown.server_name.as_deref(), Some("localhost"));
            assert_eq!(shown.alpn.as_deref(), Some("x-amzn-mqtt-ca"));
            assert_eq!(shown.version, expected);
        }
    }
}

#[test]
fn a_broker_older_than_the_oldest_version_wanted_is_refused_and_said() {
    let broker = Mosquitto::start();
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let front = Front::start(&ca, certificates.path(), &TLS12, broker.port);
    let site = site(front.port, "ca: ca.pem, min_version: 1.3", "5");
    ca.write(&site.path().join("ca.pem"));
    let said = site.run().wait_log("uplink down");
    assert!(said.contains("no version of TLS in common") && said.contains("`tls: min_version`"), "{said}");
}

#[test]
fn a_broker_that_speaks_another_protocol_inside_is_said() {
    let broker = Mosquitto::start();
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let front = Front::start(&ca, certificates.path(), &TLS13, broker.port);
    let site = site(front.port, "ca: ca.pem, alpn: [http/1.1]", "5");
    ca.write(&site.path().join("ca.pem"));
    let said = site.run().wait_log("uplink down");
    assert!(said.contains("none of the protocols in `tls: alpn`"), "{said}");
}
