//! Reading a password from a terminal, without showing it.

use std::io::{self, Read, Write};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::broker::rights::LONGEST_PASSWORD;

/// Control characters, as terminals send them.
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const ERASE_LINE: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        // Ctrl-C comes as a character: the process must not end before the terminal shows again what is typed.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        // What was typed before the question has been shown, and is no password.
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nobody could be told.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Asks on standard error and reads a line.
pub fn read_hidden(question: &str) -> anyhow::Result<String> {
    let quiet = Quiet::begin().context("setting up the terminal")?;
    let mut told = io::stderr().lock();
    write!(told, "{question}").and_then(|()| told.flush()).context("asking for the password")?;
    let line = read_line(&mut io::stdin().lock());
    let _ = writeln!(told);
    drop(quiet);
    line
}

/// A line, key by key.
fn read_line(keys: &mut impl Read) -> anyhow::Result<String> {
    let mut line = Vec::new();
    loop {
        let mut key = [0];
        if keys.read(&mut key).context("reading the password")? == 0 {
            bail!("no password was typed");
        }
        match key[0] {
            b'\n' | b'\r' => return String::from_utf8(line).context("the password is not UTF-8 text"),
            INTERRUPT | END => bail!("no password was typed"),
            ERASE_LINE => line.clear(),
            // A character may be several bytes.
            BACKSPACE | DELETE => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            byte if line.len() <= LONGEST_PASSWORD => line.push(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_a_line() {
        let read = |keys: &str| read_line(&mut keys.as_bytes());
        assert_eq!(read("hunter2\n").unwrap(), "hunter2");
        assert_eq!(read("hunter3\x7f2\r").unwrap(), "hunter2");
        assert_eq!(read("\x7fäö\x7f\x08x\n").unwrap(), "x");
        assert_eq!(read("wrong\x15right\n").unwrap(), "right");
        assert_eq!(read("\n").unwrap(), "");
        for keys in ["hunter2\x03\n", "\x04", "hunter2"] {
            assert!(read(keys).unwrap_err().to_string().contains("no password"), "{keys:?}");
        }
        assert_eq!(read(&format!("{}\n", "x".repeat(5000))).unwrap().len(), LONGEST_PASSWORD + 1);
    }
}
