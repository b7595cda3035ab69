//! From a profile's name to the profile: beside the site file, or among the built-in ones. Each is
//! read once, however many devices use it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use wharf_contract::settings::{Node, Problem, suggest};

use super::super::sources::Sources;
use super::understand::understand;
use super::{FOLDER, Profile, builtin, text};

/// The largest profile. One with a hundred points has about 10 kB.
const LARGEST: u64 = 1 << 20;

/// How many profiles of its own a site's folder is searched for a suggestion.
const MOST_SUGGESTED: usize = 1_000;

/// The profiles used so far.
pub(super) struct Library<'s> {
    folder: PathBuf,
    sources: &'s mut Sources,
    /// By name; `None` for one that is of no use, which was said.
    read: HashMap<String, Option<Rc<Profile>>>,
}

impl<'s> Library<'s> {
    /// The profiles of a site file in that directory.
    pub(super) fn new(directory: &Path, sources: &'s mut Sources) -> Self {
        Self { folder: directory.join(FOLDER), sources, read: HashMap::new() }
    }

    /// The profile that is `named`, or `None` and a problem. `path` leads to where it is named.
    pub(super) fn find(&mut self, named: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<Rc<Profile>> {
        // What is no text is the decoder's to report.
        let name = named.text().filter(|_| !named.is_null())?;
        if !is_name(name) {
            problems.push(self.unknown(named, name, path));
            return None;
        }
        if let Some(known) = self.read.get(name) {
            return known.clone();
        }
        let profile = self.read(named, name, path, problems).map(Rc::new);
        self.read.insert(name.to_owned(), profile.clone());
        profile
    }

    fn read(&mut self, named: &Node, name: &str, path: &str, problems: &mut Vec<Problem>) -> Option<Profile> {
        let own = self.folder.join(format!("{name}.yaml"));
        let built_in = builtin::get(name);
        let is_own = own.exists();
        let (file, text) = if is_own {
            if built_in.is_some() {
                let message = format!("{} is used in place of the built-in profile of that name", own.display());
                problems.push(Problem::warning(named.span, path, message));
            }
            match text::of_file(&own, LARGEST) {
                Ok(text) => (own, text.into()),
                Err(why) => {
                    problems.push(Problem::new(named.span, path, why));
                    return None;
                }
            }
        } else if let Some(text) = built_in {
            (PathBuf::from(format!("built-in/{name}.yaml")), Cow::Borrowed(text))
        } else {
            problems.push(self.unknown(named, name, path));
            return None;
        };
        let understand = |root| {
            let (profile, mut wrong) = understand(root, name);
            // What a built-in profile says in an odd way is meant so; nobody here could change it.
            wrong.retain(|problem| is_own || !problem.is_warning());
            (profile, wrong)
        };
        text::read(file, &text, understand, self.sources, problems)
    }

    fn unknown(&self, named: &Node, name: &str, path: &str) -> Problem {
        let own = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().take(MOST_SUGGESTED);
        let own = own.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".yaml")?.to_owned()));
        let mut names: Vec<String> = own.chain(builtin::names().map(str::to_owned)).collect();
        names.sort();
        names.dedup();
        let mut problem = Problem::new(named.span, path, format!("there is no profile {}", named.describe()));
        problem.help(match suggest(name, names.iter().map(String::as_str)).or_else(|| part(name, &names)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "`wharf profiles` lists the built-in ones; one of your own is {}",
                self.folder.join("NAME.yaml").display()
            ),
        });
        problem
    }
}

/// The shortest name that has the word in it: `sdm120` means `eastron-sdm120`.
fn part<'a>(word: &str, names: &'a [String]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let having = names.iter().filter(|name| word.len() >= 3 && name.contains(&word));
    having.min_by_key(|name| name.len()).map(String::as_str)
}

/// Whether a text can be the name of a file in the folder, and of nothing outside of it.
pub(super) fn is_name(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && !text.starts_with('.') && text.chars().all(fine)
}
