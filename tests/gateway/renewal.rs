//! A password or a certificate is replaced while the gateway runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustls::version::TLS13;

use crate::lab::broker::Mosquitto;
use crate::lab::ca::Ca;
use crate::lab::client::Client;
use crate::lab::front::Front;
use crate::lab::garden::{Garden, TOPIC};
use crate::lab::gateway::{Gateway, Site};
use crate::lab::{PATIENCE, wait_for};

/// Sets a user's password in a file of Mosquitto's.
fn set_password(file: &Path, user: &str, password: &str) {
    let done = Command::new("mosquitto_passwd").arg("-b").arg(file).args([user, password]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn connects(gateway: &Gateway) -> usize {
    gateway.log().matches("uplink connected").count()
}

fn wait_connects(gateway: &Gateway, more_than: usize) {
    wait_for("another connection", PATIENCE, || (connects(gateway) > more_than).then_some(()));
}

/// Waits until every line up to `last` has arrived.
fn wait_all(upstream: &Client, last: u64) {
    wait_for(&format!("every line up to {last}"), PATIENCE, || {
        let heard: BTreeSet<u64> = upstream.on(TOPIC).iter().map(|heard| heard.payload.parse().unwrap()).collect();
        (heard == (1..=last).collect()).then_some(())
    });
}

#[test]
fn a_new_password_is_used_without_a_restart_whoever_hears_of_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    fs::write(&passwords, "").unwrap();
    set_password(&passwords, "gw1", "first-secret");
    set_password(&passwords, "test", "test");
    let broker = Mosquitto::with(&format!("allow_anonymous false\npassword_file {}\n", passwords.display()));
    let upstream = Client::subscribe_as(broker.port, &["#"], Some(("test", "test")));
    let mut garden = Garden::new();
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central:\n    url: mqtt://127.0.0.1:{}\n    username: gw1\n    password: ${{file:password}}\nbroker: {{ listen: [] }}\n{}",
        broker.port,
        garden.settings()
    ));
    let password = site.path().join("password");
    fs::write(&password, "first-secret\n").unwrap();
    let gateway = site.run();
    wait_all(&upstream, garden.tell(50));

    // The broker first: it may or may not throw the gateway out for it.
    set_password(&passwords, "gw1", "second-secret");
    broker.reload();
    garden.tell(50);
    let before = connects(&gateway);
    fs::write(&password, "second-secret\n").unwrap();
    wait_connects(&gateway, before);
    wait_all(&upstream, garden.tell(50));

    // The gateway first: it is refused until the broker has heard of it.
    let before = connects(&gateway);
    fs::write(&password, "third-secret\n").unwrap();
    gateway.wait_log("password or certificates have changed");
    wait_for("the refusal", PATIENCE, || (gateway.log().contains("user name")).then_some(()));
    garden.tell(50);
    set_password(&passwords, "gw1", "third-secret");
    broker.reload();
    wait_connects(&gateway, before);
    wait_all(&upstream, garden.tell(50));
    assert!(!gateway.log().contains("-secret"), "a password is in the log");
}

/// A gateway with a client certificate, and the site it runs in.
fn with_certificate(ca: &Ca, front: &Front, garden: &Garden, protocol: &str) -> (Site, Vec<u8>, Gateway) {
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central:\n    url: mqtts://localhost:{}\n    protocol: {protocol}\n    tls: {{ ca: ca.pem, cert: gw1.pem, key: gw1.key }}\nbroker: {{ listen: [] }}\n{}",
        front.port,
        garden.settings()
    ));
    ca.write(&site.path().join("ca.pem"));
    let certificate = ca.issue("gw1", site.path());
    let gateway = site.run();
    (site, certificate, gateway)
}

fn certificates(front: &Front) -> Vec<Vec<u8>> {
    front.shown().into_iter().filter_map(|shown| shown.certificate).collect()
}

#[test]
fn a_renewed_certificate_is_presented_without_a_restart_and_nothing_is_lost() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    for protocol in ["5", "3.1.1"] {
        let upstream = Client::subscribe(broker.port, &["#"]);
        let front = Front::start(&ca, folder.path(), &TLS13, broker.port);
        let mut garden = Garden::new();
        let (site, first, gateway) = with_certificate(&ca, &front, &garden, protocol);
        wait_all(&upstream, garden.tell(50));
        assert!(certificates(&front).iter().all(|shown| *shown == first));

        let renewed = ca.issue("gw1", site.path());
        assert_ne!(renewed, first);
        let before = connects(&gateway);
        // The node goes on talking while the gateway connects anew.
        wait_for("the renewed certificate", PATIENCE, || {
            garden.tell(5);
            (certificates(&front).last() == Some(&renewed)).then_some(())
        });
        wait_connects(&gateway, before);
        wait_all(&upstream, garden.tell(50));
        assert!(!gateway.log().contains("uplink down"), "it is an orderly change");
        gateway.terminate();
    }
}

#[test]
fn a_certificate_that_is_no_good_is_told_once_and_the_old_one_goes_on_being_used() {
    let mut broker = Mosquitto::with_memory();
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    let upstream = Client::subscribe(broker.port, &["#"]);
    let front = Front::start(&ca, folder.path(), &TLS13, broker.port);
    let mut garden = Garden::new();
    let (site, first, gateway) = with_certificate(&ca, &front, &garden, "5");
    wait_all(&upstream, garden.tell(50));

    fs::write(site.path().join("gw1.pem"), "-----BEGIN CERTIFICATE-----\nhalf of it").unwrap();
    let told = gateway.wait_log("are no good; the old ones are used");
    assert!(told.contains("gw1.pem"), "{told}");
    broker.terminate();
    gateway.wait_log("uplink down");
    garden.tell(50);
    broker.restart();
    wait_all(&upstream, garden.tell(50));
    assert!(certificates(&front).iter().all(|shown| *shown == first));
    assert_eq!(gateway.log().matches("are no good").count(), 1);

    let renewed = ca.issue("gw1", site.path());
    wait_for("the renewed certificate", PATIENCE, || (certificates(&front).last() == Some(&renewed)).then_some(()));
    wait_all(&upstream, garden.tell(50));
}
