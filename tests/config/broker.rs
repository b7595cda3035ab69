//! The local broker's settings: what is most often wrong with them, and the remedy that is told.

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use wharf::config::load_with_warnings;

/// What is told of a site with that broker, in a folder where certificates may stand; well or not.
fn told(folder: &Path, broker: &str) -> String {
    let site = folder.join("site.yaml");
    fs::write(&site, format!("gateway: g\nbroker:\n{broker}")).unwrap();
    match load_with_warnings(&site) {
        Ok((_, warnings)) => warnings.to_string(),
        Err(errors) => errors.to_string(),
    }
}

fn check(broker: &str, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let told = told(folder.path(), broker);
    for word in words {
        assert!(told.contains(word), "{broker}\n{told}");
    }
}

#[test]
fn an_address_that_is_none_is_told_what_was_meant() {
    check("  listen: [1883]\n", &["127.0.0.1:1883 for this machine alone, 0.0.0.0:1883 for others too"]);
    check("  listen: [\"*:1883\"]\n", &["0.0.0.0:1883 for others too"]);
    check("  listen: [127.0.0.1]\n", &["with its port: 127.0.0.1:1883"]);
    check("  listen: [localhost:1883]\n", &["as a number: 127.0.0.1:1883"]);
    check("  listen: [gw1.local:1883]\n", &["names are not looked up here"]);
    check("  listen: [\"mqtts://127.0.0.1:8883\"]\n", &["encryption is `tls:`"]);
}

#[test]
fn two_listeners_of_which_one_has_every_address_cannot_share_a_port() {
    check("  listen: [127.0.0.1:1883, \"0.0.0.0:1883\"]\n", &["0.0.0.0:1883 is every address of this machine"]);
    let users = "  users: { panel: { certificate: CN=p, subscribe: [a] } }\n";
    let folder = tempfile::tempdir().unwrap();
    let told = told(folder.path(), &format!("  listen: [127.0.0.1:1883, \"0.0.0.0:1884\", \"[::]:1883\"]\n{users}"));
    assert!(!told.contains("cannot both be"), "{told}");
}

#[test]
fn a_rule_with_a_word_that_stands_for_nothing_is_warned_of_and_one_in_want_of_quotes_gets_them() {
    let rule = |rule: &str| format!("  anonymous: loopback\n  anonymous_may: {{ subscribe: [{rule}] }}\n");
    for odd in ["%U", "%i", "{user}"] {
        let words = format!("warning: `{odd}` stands for nothing but itself");
        check(&rule(&format!("\"tele/{odd}/#\"")), &[&words, "%u stands for the user, %c for the client id"]);
    }
    check(&rule("#"), &["a topic filter that is `#` alone stands in quotes: \"#\""]);
    check("  anonymous_may:\n    subscribe:\n      - #\n", &["`#` alone begins a comment: write \"#\""]);
}

#[test]
fn a_password_in_clear_is_one_mistake_with_its_remedy_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let told = told(folder.path(), "  users: { panel: { password: hunter2, subscribe: [a] } }\n");
    assert!(told.contains("1 mistake") && told.contains("wharf passwd --file broker.passwd NAME"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

/// A certificate and its key, as the site of [`with_tls`] names them.
fn issue(folder: &Path, name: &str, names: &[&str], (from, until): (i32, i32)) {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn with_tls(folder: &Path, cert: &str, key: &str) -> String {
    told(folder, &format!("  listen: [{{ address: 127.0.0.1:8883, tls: {{ cert: {cert}, key: {key} }} }}]\n"))
}

#[test]
fn what_is_wrong_with_a_certificate_or_its_key_is_told_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    issue(folder, "good", &["gw1.local"], (2020, 2090));
    issue(folder, "other", &["gw1.local"], (2020, 2090));
    let well = with_tls(folder, "good.pem", "good.key");
    assert!(!well.contains("good."), "{well}");

    let foreign = with_tls(folder, "good.pem", "other.key");
    assert!(
        foreign.contains("broker.listen[0].tls.key") && foreign.contains("other.key is not the key of"),
        "{foreign}"
    );
    let swapped = with_tls(folder, "good.key", "good.pem");
    assert!(swapped.contains("2 mistakes") && swapped.matches("may be swapped").count() == 2, "{swapped}");
    fs::write(
        folder.join("locked.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let locked = with_tls(folder, "good.pem", "locked.key");
    assert!(locked.contains("locked with a passphrase") && locked.contains("openssl pkey -in"), "{locked}");
    fs::write(
        folder.join("asked.pem"),
        "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n",
    )
    .unwrap();
    assert!(with_tls(folder, "asked.pem", "good.key").contains("a CA has yet to sign"));
    fs::write(folder.join("good.der"), [0x30, 0x82, 1, 1]).unwrap();
    assert!(with_tls(folder, "good.der", "good.key").contains("openssl x509 -inform der"));
}

#[test]
fn a_certificate_out_of_its_time_is_warned_of_for_the_clock_may_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, names, time, words) in [
        ("old", &["gw1.local"][..], (2020, 2021), "warning: "),
        ("new", &["gw1.local"], (2089, 2090), "is not valid yet by the clock of this machine"),
        ("nameless", &[], (2020, 2090), "names no host or address (subjectAltName)"),
    ] {
        issue(folder, name, names, time);
        let told = with_tls(folder, &format!("{name}.pem"), &format!("{name}.key"));
        assert!(told.contains("1 warning in") && told.contains(words), "{told}");
    }
    assert!(with_tls(folder, "old.pem", "old.key").contains("old.pem has expired"));
}

#[test]
fn a_bridge_rule_that_is_never_reached_or_makes_one_topic_of_many_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let bridge = |rules: &str| {
        let uplinks = "uplinks:\n  a: { url: mqtt://h }\n  b: { url: mqtt://i }\n";
        told(folder.path(), &format!("  listen: [127.0.0.1:1883]\n{uplinks}bridge:\n{rules}"))
    };
    let hidden =
        bridge("  up:\n    - { topic: tele/#, uplinks: [a] }\n    - { topic: \"tele/{p}/S\", uplinks: [b] }\n");
    assert!(hidden.contains("bridge.up[1].topic") && hidden.contains("`tele/#` above it has all of that"), "{hidden}");
    let down = "  down:\n    - { topic: cmnd/#, uplinks: [a] }\n    - { topic: \"cmnd/{p}/S\", uplinks: [b] }\n";
    assert!(!bridge(down).contains("never reached"), "what comes down comes from one uplink");
    let merged =
        bridge("  up:\n    - { topic: tele/+/S, to: x/S }\n    - { topic: \"stat/{p}/S\", to: \"x/{p}/S\" }\n");
    assert!(merged.contains("1 warning") && merged.contains("many of them become one"), "{merged}");
}
