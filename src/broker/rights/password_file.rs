//! The file with the hashes of passwords: lines `name:hash`. Empty lines and lines that begin with `#` are left as they are.

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::hash::Hash;

/// The largest file that is read, in bytes: some thousand users.
pub const LARGEST: u64 = 1 << 20;

/// What stands in such a file.
#[derive(Clone, Debug, Default)]
pub struct PasswordFile {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    User(String, Hash),
    Other(String),
}

impl PasswordFile {
    /// Reads what stands in a file; the error says in which line it is wrong, and nothing of what is in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut file = Self::default();
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                file.lines.push(Line::Other(line.to_owned()));
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}", index + 1);
            let (name, hash) = trimmed.split_once(':').ok_or_else(|| wrong("a line is written name:hash"))?;
            check_name(name).map_err(|why| wrong(&why))?;
            if file.get(name).is_some() {
                return Err(wrong(&format!("`{name}` is here twice")));
            }
            file.lines.push(Line::User(name.to_owned(), Hash::parse(hash).map_err(|why| wrong(&why))?));
        }
        Ok(file)
    }

    /// The users, and the hashes of their passwords.
    pub fn users(&self) -> impl Iterator<Item = (&str, &Hash)> {
        self.lines.iter().filter_map(|line| match line {
            Line::User(name, hash) => Some((name.as_str(), hash)),
            Line::Other(_) => None,
        })
    }

    /// The hash of a user's password.
    pub fn get(&self, name: &str) -> Option<&Hash> {
        self.users().find(|(known, _)| *known == name).map(|(_, hash)| hash)
    }

    /// Gives a user another password, or makes one. Whether there was one of that name.
    pub fn set(&mut self, name: &str, hash: Hash) -> bool {
        let mut hash = Some(hash);
        for line in &mut self.lines {
            if let Line::User(known, old) = line
                && known == name
                && let Some(new) = hash.take()
            {
                *old = new;
            }
        }
        match hash {
            Some(new) => {
                self.lines.push(Line::User(name.to_owned(), new));
                false
            }
            None => true,
        }
    }

    /// Takes a user out. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| !matches!(line, Line::User(known, _) if known == name));
        self.lines.len() < before
    }

    /// Replaces a file by this one: a power cut leaves the old one or the new one. Its owner alone may read it; who
    /// owned the one before keeps it, if that can be had.
    ///
    /// # Errors
    /// It cannot be written; the old one stands.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        // One that was left behind could belong to somebody else, or be a link to somewhere else.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let written = file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
        if let Ok(old) = std::fs::metadata(path) {
            // Written by root for the gateway's own user, it stays that user's.
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        std::fs::rename(&new, path)?;
        std::fs::File::open(folder)?.sync_all()
    }

    fn text(&self) -> String {
        let line = |line: &Line| match line {
            Line::User(name, hash) => format!("{name}:{}\n", hash.expose()),
            Line::Other(text) => format!("{text}\n"),
        };
        self.lines.iter().map(line).collect()
    }
}

/// Whether this can be the name of a user; the error says in words why not.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.contains(':') {
        return Err("the name of a user cannot contain `:`".into());
    }
    wharf_contract::settings::Name::new(name).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::hash::tests::cheap;
    use super::*;

    #[test]
    fn users_come_and_go_and_what_else_stands_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.passwd");
        let mut file = PasswordFile::parse("# who may\n\n").unwrap();
        assert!(!file.set("panel", cheap("1")) && !file.set("plc", cheap("2")) && file.set("panel", cheap("3")));
        std::fs::write(folder.path().join("broker.passwd.new"), "left behind").unwrap();
        file.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# who may\n\npanel:$argon2id$"), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut read = PasswordFile::parse(&text).unwrap();
        assert!(read.get("panel").unwrap().is_of(b"3") && read.get("plc").unwrap().is_of(b"2"));
        assert!(read.remove("panel") && !read.remove("panel") && read.users().count() == 1);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_not_quoted() {
        let good = format!("panel:{}", cheap("1").expose());
        for (text, why) in [
            ("panel", "line 1: a line is written name:hash".to_owned()),
            ("# x\npanel:hunter2", "line 2: this is not the hash of a password".to_owned()),
            ("a/b:x", "line 1: a name cannot contain `/`".to_owned()),
            (&format!("{good}\n{good}\n"), "line 2: `panel` is here twice".to_owned()),
        ] {
            let told = PasswordFile::parse(text).unwrap_err();
            assert!(told.starts_with(&why) && !told.contains("hunter2"), "{told}");
        }
        assert!(check_name("a:b").is_err() && check_name("").is_err() && check_name("panel-1").is_ok());
    }
}
