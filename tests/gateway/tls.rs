//! TLS with a CA of one's own, in both directions, and what is said when it does not fit.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::lab::broker::Mosquitto;
use crate::lab::gateway::Site;

/// A CA that exists for one test.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn write(&self, file: &Path) {
        fs::write(file, self.0.pem()).unwrap();
    }

    /// Issues a certificate for loopback and writes `name.pem` and `name.key`.
    fn issue(&self, name: &str, dir: &Path) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

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
fn site(broker: &Mosquitto, tls: &str, protocol: &str) -> Site {
    Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central:\n    url: mqtts://localhost:{}\n    protocol: {protocol}\n    tls: {{ {tls} }}\nbroker: {{ listen: [] }}\n",
        broker.port
    ))
}

#[test]
fn a_client_certificate_of_the_sites_own_ca_opens_the_door() {
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let broker = strict_broker(&ca, certificates.path());
    for protocol in ["5", "3.1.1"] {
        let site = site(&broker, "ca: ca.pem, cert: gw1.pem, key: gw1.key", protocol);
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
        let site = site(&broker, "ca: ca.pem, cert: gw1.pem, key: gw1.key", protocol);
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
    let site = site(&broker, "ca: ca.pem, cert: gw1.pem, key: gw1.key", "5");
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
    let site = site(&broker, "ca: ca.pem", "5");
    ca.write(&site.path().join("ca.pem"));
    let said = site.run().wait_log("uplink down");
    assert!(said.contains("asks for a client certificate"), "{said}");
}

#[test]
fn a_certificate_file_that_is_not_there_stops_the_start_and_is_named() {
    let broker = Mosquitto::start();
    let site = site(&broker, "ca: nowhere.pem", "5");
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
