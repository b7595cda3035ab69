//! `wharf passwd`: gives a user of the local broker a password.

mod terminal;

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::exit::Exit;
use crate::broker::rights::{Hash, LARGEST_PASSWORD_FILE, LONGEST_PASSWORD, PasswordFile, check_name};
use crate::config::load::read_bounded;

/// Give a user of the local broker a password.
#[derive(Args)]
pub struct PasswdArgs {
    /// The user
    name: String,
    /// The file of passwords, which the site file names under `broker.passwords`. It is made if there is none.
    /// Without it, the line that belongs into such a file is printed
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take the user out of the file
    #[arg(long, requires = "file")]
    delete: bool,
}

/// Asks for the password and keeps its hash. Exit code 2 if there is no good password, or no such user to delete.
pub fn run(args: &PasswdArgs) -> Result<(), Exit> {
    let usage = |why: String| {
        super::exit::complain(&format_args!("wharf: {why}"));
        Exit::USAGE
    };
    check_name(&args.name).map_err(usage)?;
    // What is wrong with the file is told before anybody thinks of a password.
    let file = args.file.as_deref().map(open).transpose()?;
    if args.delete {
        let Some((path, mut file)) = file else { return Err(usage("--delete needs --file".into())) };
        if !file.remove(&args.name) {
            return Err(usage(format!("there is no `{}` in {}", args.name, path.display())));
        }
        return Ok(keep(&file, &path, &format!("`{}` is taken out of", args.name))?);
    }
    let password = ask()?;
    let hash = Hash::new(&password).map_err(usage)?;
    match file {
        None => super::say(&format!("{}:{}", args.name, hash.expose())),
        Some((path, mut file)) => {
            let done = if file.set(&args.name, hash) { "has another password in" } else { "has a password in" };
            Ok(keep(&file, &path, &format!("`{}` {done}", args.name))?)
        }
    }
}

/// The file as it is, empty if there is none; and where it is, behind all links.
fn open(path: &Path) -> anyhow::Result<(PathBuf, PasswordFile)> {
    if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok((path.to_owned(), PasswordFile::default()));
    }
    let path = path.canonicalize().with_context(|| format!("looking for {}", path.display()))?;
    let told = |why: String| anyhow!("{}: {why}", path.display());
    let bytes = read_bounded(&path, LARGEST_PASSWORD_FILE).map_err(told)?;
    let text = String::from_utf8(bytes).map_err(|_| told("it is not UTF-8 text".into()))?;
    let file = PasswordFile::parse(&text).map_err(told)?;
    Ok((path, file))
}

fn keep(file: &PasswordFile, path: &Path, done: &str) -> anyhow::Result<()> {
    file.write(path).with_context(|| format!("writing {}", path.display()))?;
    let path = path.display();
    super::exit::complain(&format_args!(
        "{done} {path}; a running gateway goes by it after SIGHUP (systemctl reload wharf)"
    ));
    Ok(())
}

/// The password: typed twice on a terminal, else the first line of standard input.
fn ask() -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        return first_line(&mut std::io::stdin().lock());
    }
    let password = terminal::read_hidden("Password: ")?;
    if !password.is_empty() && terminal::read_hidden("The same again: ")? != password {
        bail!("these were two different passwords; nothing has changed");
    }
    Ok(password)
}

fn first_line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = Vec::new();
    // One more than the longest and its line end, so that a longer one is seen to be longer.
    let most = LONGEST_PASSWORD as u64 + 3;
    input.by_ref().take(most).read_until(b'\n', &mut line).context("reading the password from standard input")?;
    let line = String::from_utf8(line).map_err(|_| anyhow!("the password is not UTF-8 text"))?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_without_its_end() {
        let read = |text: &str| first_line(&mut text.as_bytes()).unwrap();
        assert_eq!(read("hunter2\nmore\n"), "hunter2");
        assert_eq!(read("hunter2\r\n"), "hunter2");
        assert_eq!(read(" with blanks "), " with blanks ");
        assert_eq!(read(""), "");
        assert!(Hash::new(&read(&"x".repeat(5000))).unwrap_err().contains("1024"));
        assert!(first_line(&mut &b"\xff\n"[..]).is_err());
    }
}
