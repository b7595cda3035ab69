//! Secrets are opened from files and the environment, and never come out again.

use std::path::Path;

use wharf::config::load;

use crate::read;

fn site(password: &str) -> String {
    format!("gateway: g\nuplinks:\n  u: {{url: mqtt://a, username: u, password: {password}}}\n")
}

/// Loads a site from a directory of its own, in which `central` holds the secret.
fn load_with(password: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("central"), "hunter2\n").unwrap();
    std::fs::write(directory.path().join("empty"), "\n").unwrap();
    let path = directory.path().join("site.yaml");
    std::fs::write(&path, site(password)).unwrap();
    let site = load(&path).map_err(|errors| errors.to_string().replace(&directory.path().display().to_string(), ""))?;
    let uplink = site.uplinks.get("u").unwrap();
    assert!(!format!("{site:?}").contains("hunter2"), "{site:?}");
    Ok(uplink.password.as_ref().unwrap().expose().to_owned())
}

#[test]
fn a_secret_from_a_file_beside_the_site_file_loses_its_line_end() {
    assert_eq!(load_with("\"${file:central}\"").as_deref(), Ok("hunter2"));
}

#[test]
fn a_secret_that_cannot_be_opened_is_named() {
    let check = |password: &str, expected: &str| {
        let errors = load_with(password).unwrap_err();
        assert!(errors.contains(expected), "{errors}");
    };
    check("\"${file:absent}\"", "absent: no such file");
    check("\"${file:/}\"", "/: it is not a file");
    check("\"${file:empty}\"", "${file:empty} is empty");
    check("\"${env:WHARF_TEST_ABSENT}\"", "the environment variable WHARF_TEST_ABSENT is not set");
}

#[test]
fn a_literal_password_is_in_no_message_whatever_else_is_wrong() {
    let texts = [
        "gateway: g\nuplinks: {u: {password: hunter2, urll: x}}",
        "gateway: g\nuplinks: {u: {pasword: hunter2}}",
        "gateway: g\nuplinks: {u: {url: mqtt://u:hunter2@a}}",
        "gateway: g\nuplinks: {u: {url: [mqtt://u:hunter2@a]}}",
        "gateway: g\nuplinks: {u: {url: mqtt://a, password: [hunter2]}}",
        "gateway: g\nuplinks: {u: {url: mqtt://a, password: !secret hunter2}}",
        "gateway: g\nuplinks: {u: {url: mqtt://a, password: {x: hunter2}}}",
        "gateway: g\nuplinks: {u: {url: mqtt://a, password: \"x${hunter2\"}}",
        "gateway: g\nuplinks: {u: {url: mqtt://a, password: hunter2}}}",
        "gateway: g\nuplinks: {u: {url: mqtt://a, password: hunter2, password: hunter2}}",
        "gateway: g\nuplinks:\n  u:\n    url: mqtt://a\n    password: |\n     hunter2\n    foo: bar\n",
        "gateway: g\nuplinks:\n  u:\n    url: mqtt://a\n    password: \"hunter2\n     hunter2 hunter2\"\n    password: x\n",
        "gateway: g\nuplinks: hunter\n  password: hunter2: x\n",
    ];
    for text in texts {
        let errors = read(text).unwrap_err();
        let told = format!("{errors} {errors:?} {}", errors.to_json());
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_site_file_that_is_not_there_is_one_mistake_without_a_place() {
    let errors = load(Path::new("/nowhere/site.yaml")).unwrap_err();
    assert_eq!(errors.to_string(), "/nowhere/site.yaml: no such file\n\n1 mistake in /nowhere/site.yaml");
}
