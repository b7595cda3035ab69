//! From the settings of users to the rules the broker goes by. Here the hashes of passwords are read.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use wharf_contract::settings::{Problem, Secret, Spanned};

use super::{Grants, TopicRule, User};
use crate::broker::rights::{self as broker, Granted, Hash, LARGEST_PASSWORD_FILE, PasswordFile, Rules, Subject};
use crate::config::Site;
use crate::config::load::read_bounded;
use crate::mapping::Glob;

/// What mends a password that is no hash.
pub const WRITE_HASH: &str = "leave `password:` out, name a file: `passwords: broker.passwd`, and have `wharf passwd --file broker.passwd NAME` ask for it";

/// The rules, and all that is wrong with the passwords. Who has none that is good is left out.
pub fn rights(site: &Site) -> (Rules, Vec<Problem>) {
    let (settings, spoken_for) = (&site.broker, site.users_of_links());
    let mut problems = Vec::new();
    let mut rules = Rules { loopback: settings.lets_loopback_in(), ..Rules::default() };
    rules.ids_of_links = site.ids_of_links();
    rules.anonymous = match &settings.anonymous_may {
        Some(may) => grants(may),
        None if settings.users.is_empty() => broker::Grants { publish: Granted::All, subscribe: Granted::All },
        None => broker::Grants::default(),
    };
    let file = settings.passwords.as_ref().and_then(|path| match read(path.as_path()) {
        Ok(file) => Some((path, file)),
        Err(why) => {
            let mut problem = Problem::new(path.span, path.path.clone(), format!("{path}: {why}", path = path.value));
            match File::open(path.as_path()).map_err(|error| error.kind()) {
                Err(ErrorKind::PermissionDenied) => {
                    problem.help(format!(
                        "it has to belong to the user that the gateway runs as: `chown USER {}`",
                        path.value
                    ));
                }
                Err(ErrorKind::NotFound) => {
                    problem.help(format!("`wharf passwd --file {} NAME` writes it", path.value));
                }
                _ => {}
            }
            problems.push(problem);
            None
        }
    });
    for entry in settings.users.entries() {
        let (name, user) = (&entry.name, &entry.value);
        let filed = file.as_ref().and_then(|(_, file)| file.get(name.as_str()).cloned());
        let password = match (&user.password, filed) {
            (Some(written), Some(_)) => {
                let message = format!("`{}` has another password in the file `passwords`", name.value);
                problems.push(Problem::new(written.span, written.path.clone(), message));
                continue;
            }
            (Some(written), None) => match hash(written) {
                Ok(hash) => Some(hash),
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            },
            (None, filed) => filed,
        };
        if password.is_none() && user.certificate.is_none() && !spoken_for.contains(name.as_str()) {
            // Without a file that could be read there is a mistake already.
            if let Some((path, _)) = &file {
                let message = format!("`{}` has no password in {}, so nobody can log in", name.value, path.value);
                let mut problem = Problem::new(name.span, name.path.clone(), message);
                problem.help(format!("`wharf passwd --file {} {}`", path.value, name.value));
                problems.push(problem);
            }
            continue;
        }
        rules.users.insert(Arc::from(name.as_str()), compiled(user, password));
    }
    if let Some((path, file)) = &file {
        for (stranger, _) in file.users().filter(|(name, _)| settings.users.get(name).is_none()) {
            let message = format!("`{stranger}` has a password there and is no user here, so it cannot log in");
            let mut problem = Problem::warning(path.span, path.path.clone(), message);
            problem.help(format!(
                "users: {{ {stranger}: {{ … }} }}, or `wharf passwd --file {} --delete {stranger}`",
                path.value
            ));
            problems.push(problem);
        }
    }
    (rules, problems)
}

fn compiled(user: &User, password: Option<Hash>) -> broker::User {
    broker::User {
        password,
        certificate: user.certificate.as_ref().and_then(|subject| Subject::parse(subject).ok()),
        client_ids: user.client_ids.iter().map(Glob::new).collect(),
        may: broker::Grants { publish: granted(&user.publish), subscribe: granted(&user.subscribe) },
        clients: user.clients.iter().map(|(glob, may)| (Glob::new(glob.as_str()), grants(may))).collect(),
    }
}

fn grants(may: &Grants) -> broker::Grants {
    broker::Grants { publish: granted(&may.publish), subscribe: granted(&may.subscribe) }
}

fn granted(rules: &[Spanned<TopicRule>]) -> Granted {
    Granted::Of(rules.iter().map(|rule| rule.value.to_string()).collect())
}

fn hash(written: &Spanned<Secret>) -> Result<Hash, Problem> {
    let named = written.value.file().map(|file| format!("{}: ", file.display())).unwrap_or_default();
    // `wharf passwd` prints lines for the file of passwords; one of them does here as well.
    let text = written.expose().trim();
    let text = text.split_once(':').map_or(text, |(_, hash)| hash);
    Hash::parse(text).map_err(|why| {
        let mut problem = Problem::new(written.span, written.path.clone(), format!("{named}{why}"));
        problem.help(WRITE_HASH);
        problem
    })
}

fn read(path: &Path) -> Result<PasswordFile, String> {
    let bytes = read_bounded(path, LARGEST_PASSWORD_FILE)?;
    PasswordFile::parse(std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text")?)
}
