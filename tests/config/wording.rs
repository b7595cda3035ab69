//! The exact words in which mistakes are told, reviewed like code.

use std::path::Path;

use crate::{files, read};

/// Every broken file of the corpus has a snapshot of what its writer is told.
#[test]
fn every_broken_file_is_explained() {
    for folder in ["bad", "meaning", "unreadable"] {
        for (path, text) in files(&format!("tests/config/{folder}")) {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let errors = wharf::config::read(&text, Path::new(path.file_name().unwrap()), &|reference| {
                Err(format!("{reference} cannot be opened"))
            })
            .expect_err(&name);
            insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(format!("{folder}-{name}"), errors.to_string());
            });
        }
    }
}

#[test]
fn programs_get_the_same_mistakes_as_json() {
    let errors = read("gateway: g\nbroker: {lisen: []}\n").unwrap_err();
    let expected = serde_json::json!([{
        "file": "site.yaml",
        "line": 2,
        "column": 10,
        "path": "broker.lisen",
        "message": "`lisen` is not known here",
        "help": "did you mean `listen`?",
    }]);
    assert_eq!(errors.to_json(), expected);
}

#[test]
fn a_warning_is_told_with_its_place_and_leaves_the_site_as_it_is() {
    let text = "gateway: g\nmodbus: {l: {tcp: a, devices: {d: {unit: 1, points: {p: {holding: 40101}}}}}}\n";
    let (site, warnings) =
        wharf::config::read_with_warnings(text, Path::new("site.yaml"), &|_| Err(String::new())).unwrap();
    assert_eq!(site.modbus.len(), 1);
    let told = warnings.to_string();
    assert!(told.starts_with("site.yaml:2:67: modbus.l.devices.d.points.p.holding\n"), "{told}");
    assert!(told.contains("^^^^^ warning: 40101 looks like a number from a manual\n"), "{told}");
    assert!(told.ends_with("1 warning in site.yaml"), "{told}");
    assert_eq!(warnings.to_json(), serde_json::json!([]));
    assert_eq!(warnings.warnings_to_json()[0]["line"], 2);
    let (_, none) =
        wharf::config::read_with_warnings("gateway: g\n", Path::new("site.yaml"), &|_| Err(String::new())).unwrap();
    assert!(none.is_empty());
}

#[test]
fn a_long_line_is_cut_around_the_mistake() {
    let padding = "x".repeat(300);
    let errors = read(&format!("gateway: g\nbroker: {{listen: [{padding}, 5]}}\n")).unwrap_err().to_string();
    assert!(errors.lines().all(|line| line.chars().count() < 250), "{errors}");
    let caret = errors.lines().find(|line| line.contains("found 5")).unwrap();
    let quoted = errors.lines().nth(errors.lines().position(|line| line == caret).unwrap() - 1).unwrap();
    assert_eq!(quoted.chars().nth(caret.find('^').unwrap()), Some('5'), "{errors}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "gateway: \"a\\eb\"\n\"\\e[2J\": 1\nstate_dir: [\"\u{7f}\"]\n\
                uplinks: {u: {url: mqtt://a, password: \"${file:a\\eb}\"}}\n";
    let errors = wharf::config::read(text, Path::new("site.yaml"), &|name| Err(format!("{name} is absent")));
    let told = errors.unwrap_err().to_string();
    assert!(told.contains("b is absent"), "{told}");
    assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
}

#[test]
fn a_file_that_is_not_text_is_refused_at_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.yaml");
    std::fs::write(&path, b"gateway: g\r\nstate_dir: \"stra\xdfe\"\n").unwrap();
    let errors = wharf::config::load(&path).unwrap_err();
    let problem = &errors.problems()[0];
    assert_eq!((problem.span.line, problem.span.column), (2, 17));
    assert_eq!(problem.message, "this is not UTF-8 text");
}

#[test]
fn a_file_too_large_to_be_a_site_is_refused_unread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.yaml");
    std::fs::File::create(&path).unwrap().set_len(5 << 20).unwrap();
    let errors = wharf::config::load(&path).unwrap_err();
    assert_eq!(errors.problems()[0].message, "it is larger than 4096 KiB");
}

#[test]
fn a_certificate_that_cannot_be_read_is_pointed_out_where_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.yaml");
    std::fs::write(directory.path().join("ca.pem"), "anything").unwrap();
    let tls = "{ ca: ca.pem, cert: absent.pem, key: . }";
    let text = format!("gateway: g\nuplinks:\n  u:\n    url: mqtts://a\n    tls: {tls}\n    keep_alive: 0s\n");
    std::fs::write(&path, &text).unwrap();
    let errors = wharf::config::load(&path).unwrap_err();
    assert_eq!(errors.problems().len(), 1, "a site that cannot be decoded names no files: {errors}");
    std::fs::write(&path, text.replace("0s", "30s")).unwrap();
    let errors = wharf::config::load(&path).unwrap_err();
    let told: Vec<_> = errors
        .problems()
        .iter()
        .map(|problem| (problem.span.line, problem.span.column, problem.path.as_str(), problem.message.clone()))
        .collect();
    let message = |name: &str, why: &str| format!("{}: {why}", directory.path().join(name).display());
    assert_eq!(
        told,
        [
            (5, 30, "uplinks.u.tls.cert", message("absent.pem", "no such file")),
            (5, 47, "uplinks.u.tls.key", message(".", "it is not a file")),
        ]
    );
    wharf::config::load_sealed(&path).expect("whoever only looks need not know the certificates");
}

#[test]
fn of_very_many_mistakes_the_first_hundred_are_shown() {
    let text: String = (0..20_000).map(|index| format!("k{index}: 1\n")).collect();
    let errors = read(&text).unwrap_err();
    assert_eq!(errors.problems().len(), 20_001);
    assert!(errors.to_string().ends_with("20001 mistakes in site.yaml, the first 100 shown"));
}

#[test]
fn a_bus_that_has_more_to_do_than_it_can_is_warned_of_and_starts_all_the_same() {
    // 125 registers take 270 characters at 9600 baud: 281 ms, four times a second.
    let text = "gateway: g\nmodbus:\n  bus:\n    serial: /dev/ttyUSB0\n    baud: 9600\n    every: 250ms\n    devices:\n      \
                meter: { unit: 1, points: { all: { holding: 0, type: string, length: 125 } } }\n";
    let (site, warnings) =
        wharf::config::read_with_warnings(text, Path::new("site.yaml"), &|_| Err("none".into())).unwrap();
    assert_eq!(site.modbus.len(), 1);
    let told = warnings.to_string();
    assert!(told.contains("/dev/ttyUSB0 needs at least 112 % of its time at 9600 baud 8N1"), "{told}");
    assert!(told.contains("help: raise `every` of meter from 250ms to 400ms or more"), "{told}");
}
