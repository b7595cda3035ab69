//! A site file on disk → a [`Site`], or everything that is wrong with it. Secrets are opened here.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use wharf_contract::settings::{Context, Entry, Node, NodeKind, Problem, SecretResolver, Setting, Severity, Span};

use super::sections::Sections;
use super::sources::Sources;
use super::{Site, SiteErrors, check, profiles, tree};

/// The largest site file. One with a thousand devices has about 300 kB.
const LARGEST_FILE: u64 = 4 << 20;

/// The largest secret: a key in PEM form fits several times over.
const LARGEST_SECRET: u64 = 64 << 10;

/// The largest file with certificates: a system's whole list has a quarter of that.
pub(crate) const LARGEST_PEM: u64 = 1 << 20;

/// Reads, decodes and checks a site file, and sees whether the files it names can be read.
pub fn load(path: &Path) -> Result<Site, SiteErrors> {
    load_with_warnings(path).map(|(site, _)| site)
}

/// Like [`load()`], with what is allowed and most likely not meant beside the site.
pub fn load_with_warnings(path: &Path) -> Result<(Site, SiteErrors), SiteErrors> {
    load_in_full(path).map(|(site, warnings, _)| (site, warnings))
}

/// Like [`load_with_warnings`], with what tells the file's sections from those of another.
pub fn load_in_full(path: &Path) -> Result<(Site, SiteErrors, Sections), SiteErrors> {
    let directory = path.parent().unwrap_or(Path::new(""));
    load_with(path, &|reference| open_secret(reference, directory), check::files)
}

/// What stands for a secret that was left where it is. It has the form of a sensor's key, the one secret
/// that has to have one.
const SEALED: &str = "00000000000000000000000000000000";

/// Like [`load()`], but leaves the secrets where they are: for those who only look at a gateway and
/// may not know them. What was a reference to a secret is a stand-in, and certificates are not
/// looked at either.
pub fn load_sealed(path: &Path) -> Result<Site, SiteErrors> {
    load_with(path, &|_| Ok(SEALED.into()), no_files).map(|(site, ..)| site)
}

/// Where a site file says that state is, be the rest of it as wrong as it may; `None` if it does not say, or cannot
/// be read so far.
pub fn state_dir_of(path: &Path) -> Option<PathBuf> {
    let text = String::from_utf8(read_bounded(path, LARGEST_FILE).ok()?).ok()?;
    let root = tree::parse(&tree::normalise(&text)).root?;
    let entry = root.entries().iter().find(|entry| entry.key == "state_dir")?;
    Some(path.parent().unwrap_or(Path::new("")).join(entry.value.text()?))
}

/// What is wrong with the files a site names.
type Files = fn(&Site) -> Vec<Problem>;

fn no_files(_: &Site) -> Vec<Problem> {
    Vec::new()
}

fn load_with(path: &Path, secrets: SecretResolver, files: Files) -> Result<(Site, SiteErrors, Sections), SiteErrors> {
    let bytes = read_bounded(path, LARGEST_FILE).map_err(|why| SiteErrors::unreadable(path, why))?;
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))?;
    read_with(&text, path, secrets, files)
}

/// Decodes and checks the text of a site file. `path` is where it is said to stand: messages name
/// it, and relative file names count from its directory.
pub fn read(text: &str, path: &Path, secrets: SecretResolver) -> Result<Site, SiteErrors> {
    read_with_warnings(text, path, secrets).map(|(site, _)| site)
}

/// Like [`read`], with what is allowed and most likely not meant beside the site. A file with
/// mistakes comes to its mistakes and warnings together.
pub fn read_with_warnings(text: &str, path: &Path, secrets: SecretResolver) -> Result<(Site, SiteErrors), SiteErrors> {
    read_with(text, path, secrets, no_files).map(|(site, warnings, _)| (site, warnings))
}

fn read_with(
    text: &str,
    path: &Path,
    secrets: SecretResolver,
    files: Files,
) -> Result<(Site, SiteErrors, Sections), SiteErrors> {
    let text = tree::normalise(text);
    let tree = tree::parse(&text);
    let mut problems = tree.problems;
    let mut sources = Sources::new(path, text);
    let Some(mut root) = tree.root else {
        return Err(SiteErrors::of_sources(sources, problems, None));
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    problems.extend(profiles::join(&mut root, directory, &mut sources));
    let mut cx = Context::new(directory, secrets);
    let site = Site::decode(&root, &mut cx);
    hide_what_sounds_secret(root.entries(), &mut cx);
    hide_what_sounds_secret(&tree.refused, &mut cx);
    let (found, hidden) = cx.finish();
    let whole = |look: Files| site.as_ref().map(look).unwrap_or_default();
    // What a profile says in an odd way is its maker's to know, not that of everyone who uses it.
    let found = found.into_iter().filter(|problem| !problem.is_warning() || sources.is_site(problem.span)).collect();
    let names = check::names(&root);
    let sections = Sections::of(&root);
    // The tree of a large site takes much memory, and the drivers that the next check builds find room in it.
    drop(root);
    let later = [found, names, whole(check::site), whole(files)];
    // What the tree refused would be a puzzle to the decoder too; one message is enough.
    let refused: HashSet<Span> = problems.iter().map(|problem| problem.span).collect();
    problems.extend(later.into_iter().flatten().filter(|problem| !refused.contains(&problem.span)));
    // What two of them have seen is one mistake.
    let mut told = HashSet::new();
    problems.retain(|problem| told.insert((problem.span, problem.message.clone())));
    let flawless = problems.iter().all(Problem::is_warning);
    let told = SiteErrors::of_sources(sources, problems, Some(hidden));
    match site {
        Some(site) if flawless => Ok((site, told, sections)),
        _ => Err(told),
    }
}

/// Hides literal values whose key says that they are secrets, and URLs with a login or a query in them,
/// wherever they stand: what is wrong with the file may be that they stand in a wrong place.
fn hide_what_sounds_secret(entries: &[Entry], cx: &mut Context) {
    for entry in entries {
        let key = entry.key.to_lowercase();
        // Behind `passwords` stands the name of a file.
        let secret = ["pas", "pwd", "secret", "token"].iter().any(|word| key.contains(word)) && key != "passwords";
        if secret && !entry.value.text().is_some_and(is_reference) {
            cx.hide_all(&entry.value);
        }
        hide_inside(&entry.value, cx);
    }
}

fn hide_inside(value: &Node, cx: &mut Context) {
    match &value.kind {
        NodeKind::Mapping(entries) => hide_what_sounds_secret(entries, cx),
        NodeKind::Sequence(items) => items.iter().for_each(|item| hide_inside(item, cx)),
        NodeKind::Scalar { text, .. } if text.contains("://") && text.contains(['@', '?']) => cx.hide(value.span),
        NodeKind::Scalar { .. } => {}
    }
}

/// Whether a text only says where a secret is.
fn is_reference(text: &str) -> bool {
    text.starts_with("${file:") || text.starts_with("${env:")
}

/// Opens `file:name` or `env:NAME`. The error names it, and never says what was in it.
fn open_secret(reference: &str, directory: &Path) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("file", name)) => read_secret(&directory.join(name)),
        Some(("env", name)) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("the environment variable {name} is not set"),
            std::env::VarError::NotUnicode(_) => format!("the environment variable {name} is not UTF-8 text"),
        }),
        _ => Err("a secret is written ${file:name} or ${env:NAME}".into()),
    }
}

/// Reads a secret's file. The error names it, and never says what was in it.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let bytes = read_bounded(path, LARGEST_SECRET).map_err(|why| format!("{}: {why}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8 text", path.display()))?;
    // Editors and `echo` end a file with a line end that is no part of the secret.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Reads a file of at most `largest` bytes. The error says why not, without the file's name.
pub(crate) fn read_bounded(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let words = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission to read it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    };
    // Opening a pipe without a writer would wait for ever.
    if !std::fs::metadata(path).map_err(words)?.is_file() {
        return Err("it is not a file".into());
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(words)?.take(largest + 1).read_to_end(&mut bytes).map_err(words)?;
    if bytes.len() as u64 > largest {
        return Err(format!("it is larger than {} KiB", largest >> 10));
    }
    Ok(bytes)
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> SiteErrors {
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let good = tree::normalise(&String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]));
    let (line, column) = match good.rsplit_once('\n') {
        Some((before, last)) => (before.matches('\n').count() + 2, last.chars().count() + 1),
        None => (1, good.chars().count() + 1),
    };
    let problem = Problem {
        severity: Severity::Mistake,
        span: Span { line, column, length: 1 },
        path: String::new(),
        message: "this is not UTF-8 text".into(),
        help: Some("save the file as UTF-8".into()),
    };
    SiteErrors::new(PathBuf::from(path), tree::normalise(&text), vec![problem], None)
}
