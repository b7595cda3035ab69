//! `wharf passwd`: passwords of local clients.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::gateway::Answer;
use crate::lab::terminal::Terminal;
use crate::lab::{PATIENCE, wait_for};

/// Runs it, with something on standard input.
pub fn passwd(args: &[&str], input: &str) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let command = command.arg("passwd").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended already, for want of good arguments.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_password_is_kept_as_a_hash_that_its_owner_alone_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.passwd");
    let path = file.to_str().unwrap();
    for (name, password) in [("panel", "hunter2\n"), ("plc", "another"), ("panel", "hunter3\n")] {
        let answer = passwd(&["--file", path, name], password);
        assert_eq!((answer.code, answer.out.as_str()), (0, ""), "{answer:?}");
        assert!(answer.err.contains(name) && answer.err.contains("SIGHUP"), "{answer:?}");
    }
    let text = fs::read_to_string(&file).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.split_once(":$argon2id$v=19$m=19456,t=2,p=1$")).collect();
    assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["panel", "plc"], "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let answer = passwd(&["--file", path, "--delete", "plc"], "");
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(!fs::read_to_string(&file).unwrap().contains("plc:"));
    assert_eq!(passwd(&["--file", path, "--delete", "plc"], "").code, 2);
}

#[test]
fn without_a_file_the_line_is_printed() {
    let answer = passwd(&["panel"], "hunter2\n");
    assert!(answer.code == 0 && answer.out.starts_with("panel:$argon2id$") && answer.out.ends_with('\n'), "{answer:?}");
}

#[test]
fn what_is_no_name_and_no_password_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.passwd");
    let path = file.to_str().unwrap();
    for (args, input, why) in [
        (&["a:b"][..], "x\n", "`:`"),
        (&["a/b"], "x\n", "`/`"),
        (&["panel"], "\n", "empty"),
        (&["panel"], "", "empty"),
        (&["--delete", "panel"], "", "--file"),
    ] {
        let answer = passwd(args, input);
        assert!(answer.code == 2 && answer.err.contains(why), "{args:?}: {answer:?}");
    }
    fs::write(&file, "panel:hunter2\n").unwrap();
    let answer = passwd(&["--file", path, "plc"], "x\n");
    assert!(answer.code == 1 && answer.err.contains("line 1") && !answer.err.contains("hunter2"), "{answer:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "panel:hunter2\n");
}

#[test]
fn on_a_terminal_it_is_typed_twice_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.passwd");
    let typed = |first: &str, second: Option<&str>| {
        let mut terminal = Terminal::open();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        let command = command.args(["passwd", "--file", file.to_str().unwrap(), "panel"]);
        let mut child = command.stdin(terminal.stdio()).stdout(Stdio::null()).stderr(terminal.stdio()).spawn().unwrap();
        terminal.wait("Password: ");
        terminal.press(first);
        if let Some(second) = second {
            terminal.wait("The same again: ");
            terminal.press(second);
        }
        let status = wait_for("the end", PATIENCE, || child.try_wait().unwrap());
        // The terminal shows again what is typed.
        terminal.press("shown");
        terminal.wait("shown");
        assert!(!terminal.shown().contains("hunter"), "{}", terminal.shown());
        status.code()
    };
    assert_eq!(typed("hunter2\r", Some("hunter3\r")), Some(1));
    assert_eq!(typed("hunter2\x03", None), Some(1));
    assert!(!Path::exists(&file));
    assert_eq!(typed("hunter3\x7f2\r", Some("hunter2\r")), Some(0));
    assert!(fs::read_to_string(&file).unwrap().starts_with("panel:$argon2id$"));
}
