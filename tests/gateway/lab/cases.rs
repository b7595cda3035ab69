//! Behaviours as clients of other makers see them, case by case: see `tests/lab/mqtt`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use wharf_test_support::lab::{folder, python};

use super::wait_for;

/// How long all cases of a call may take together.
const LONGEST: Duration = Duration::from_secs(240);

/// Puts groups of cases to a broker, with paho-mqtt and aiomqtt as clients, and panics with all that fail. Returns what
/// is known to differ. Says so and does nothing where there is no such Python.
pub fn put(groups: &str, port: u16, rest: &[&str]) -> Vec<String> {
    let Some(python) = python("mqtt") else { return Vec::new() };
    let port = port.to_string();
    let mut command = Command::new(python);
    command.arg(lab().join("run.py")).args(["127.0.0.1", &port, "--groups", groups]).args(rest);
    judge(&mut command)
}

/// Puts its cases to a broker with the npm package mqtt through a web socket; the same otherwise.
pub fn put_web(url: &str, rest: &[&str]) -> Vec<String> {
    let Some(folder) = web_lab() else { return Vec::new() };
    judge(Command::new(folder.join("node")).arg(folder.join("web.mjs")).arg(url).args(rest))
}

fn lab() -> PathBuf {
    folder("mqtt")
}

/// The folder with Node.js and the npm package, which a script makes.
fn web_lab() -> Option<PathBuf> {
    let made = Command::new("sh").arg(lab().join("node.sh")).output().unwrap();
    if !made.status.success() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&made.stderr));
        return None;
    }
    Some(String::from_utf8(made.stdout).unwrap().trim().into())
}

fn judge(command: &mut Command) -> Vec<String> {
    let Output { stdout, stderr, .. } = output(command);
    let (said, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let (good, bad): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| !line.starts_with("FAIL"));
    assert!(bad.is_empty(), "{} of {} cases:\n{}", bad.len(), bad.len() + good.len(), bad.join("\n"));
    let passed = good.iter().filter(|line| line.starts_with("ok ")).count();
    assert!(passed > 0 && complaints.is_empty(), "{passed} cases passed; {complaints}");
    println!("{passed} cases passed");
    good.iter().filter(|line| line.starts_with("differs")).map(|line| (*line).to_owned()).collect()
}

fn output(command: &mut Command) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A few dozen lines, which the pipes hold; the cases have bounds of their own.
    wait_for("the cases to be done", LONGEST, || child.try_wait().unwrap());
    child.wait_with_output().unwrap()
}
