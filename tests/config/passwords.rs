//! Passwords of local clients: the file that has them, and what is wrong with it.

use std::fs;
use std::path::Path;

use wharf::broker::rights::{Hash, PasswordFile};
use wharf::config::{load, load_sealed, load_with_warnings};

/// A folder with a site whose broker has these settings.
fn folder(broker: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("site.yaml"), format!("gateway: g\nbroker:\n{broker}")).unwrap();
    folder
}

fn told(folder: &Path) -> Vec<String> {
    let errors = load(&folder.join("site.yaml")).unwrap_err();
    errors.problems().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

fn file(users: &[&str]) -> String {
    let mut file = PasswordFile::default();
    users.iter().for_each(|name| assert!(!file.set(name, Hash::new("hunter2").unwrap())));
    let folder = tempfile::tempdir().unwrap();
    file.write(&folder.path().join("file")).unwrap();
    fs::read_to_string(folder.path().join("file")).unwrap()
}

const TWO: &str = "  passwords: broker.passwd\n  users:\n    panel: { subscribe: [a] }\n    plc: { subscribe: [a] }\n";

#[test]
fn a_file_of_passwords_that_is_missing_or_wrong_is_told_where_it_is_named() {
    let folder = folder(TWO);
    let path = folder.path().join("broker.passwd");
    assert_eq!(told(folder.path()), [format!("broker.passwords: {}: no such file", path.display())]);
    fs::write(&path, "panel:hunter2\n").unwrap();
    let wrong = told(folder.path());
    assert!(wrong.len() == 1 && wrong[0].contains("line 1: this is not the hash"), "{wrong:?}");
    assert!(!wrong[0].contains("hunter2"));
    load_sealed(&folder.path().join("site.yaml")).expect("whoever only looks need not know the passwords");
}

#[test]
fn a_user_without_a_password_is_told_and_a_password_without_a_user_is_warned_of() {
    let folder = folder(TWO);
    let path = folder.path().join("broker.passwd");
    fs::write(&path, file(&["panel", "gone"])).unwrap();
    let wrong = told(folder.path());
    let missing = format!("broker.users.plc: `plc` has no password in {}, so nobody can log in", path.display());
    assert!(wrong.contains(&missing), "{wrong:?}");
    fs::write(&path, file(&["panel", "plc", "gone"])).unwrap();
    let (_, warnings) = load_with_warnings(&folder.path().join("site.yaml")).unwrap();
    assert!(warnings.to_string().contains("warning: `gone` has a password there and is no user here"), "{warnings}");
}

#[test]
fn a_password_may_stand_in_a_file_of_its_own_and_in_one_place_only() {
    let users = "  users:\n    panel: { password: \"${file:panel.hash}\", subscribe: [a] }\n";
    let folder = folder(users);
    fs::write(folder.path().join("panel.hash"), "hunter2\n").unwrap();
    let wrong = told(folder.path());
    assert!(wrong.len() == 1 && wrong[0].starts_with("broker.users.panel.password: "), "{wrong:?}");
    assert!(wrong[0].contains("panel.hash: this is not the hash") && !wrong[0].contains("hunter2"), "{wrong:?}");
    // A line of the other kind of file does as well: it is what `wharf passwd` prints.
    fs::write(folder.path().join("panel.hash"), file(&["panel"])).unwrap();
    load(&folder.path().join("site.yaml")).unwrap();
    fs::write(folder.path().join("broker.passwd"), file(&["panel"])).unwrap();
    let both = format!("gateway: g\nbroker:\n  passwords: broker.passwd\n{users}");
    fs::write(folder.path().join("site.yaml"), both).unwrap();
    assert_eq!(
        told(folder.path()),
        ["broker.users.panel.password: `panel` has another password in the file `passwords`"]
    );
}

#[test]
fn a_user_who_may_do_nothing_and_a_listener_that_is_not_encrypted_are_warned_of() {
    let folder = folder("  listen: [0.0.0.0:1883]\n  passwords: broker.passwd\n  users:\n    panel: {}\n");
    fs::write(folder.path().join("broker.passwd"), file(&["panel"])).unwrap();
    let (_, warnings) = load_with_warnings(&folder.path().join("site.yaml")).unwrap();
    let warnings = warnings.to_string();
    assert!(warnings.contains("warning: over 0.0.0.0:1883 passwords and messages go unencrypted"), "{warnings}");
    assert!(warnings.contains("warning: `panel` may do nothing"), "{warnings}");
}
