//! The users of the broker and what each may do, as the site file says it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::allowed::{Allowed, Topics};
use super::hash::Hash;
use super::subject::Subject;
use super::visitor::{Visitor, is_inside, is_nobody};
use crate::mapping::Glob;

/// Everybody who may log in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The users, by name. Without any, whoever is let in without a login may do what `anonymous` says.
    pub users: HashMap<Arc<str>, User>,
    /// Whether clients on this machine need no login.
    pub loopback: bool,
    /// What those may do who have not logged in.
    pub anonymous: Grants,
    /// The client ids that links of the gateway have for themselves, with the link of each. Nobody else gets one, so that
    /// nobody who may log in keeps a link and all behind it out.
    pub ids_of_links: HashMap<Arc<str>, Arc<str>>,
}

/// One user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// The hash of its password. Without it, its certificate is enough.
    pub password: Option<Hash>,
    /// What the subject of its certificate has to say. With a password too, both are needed.
    pub certificate: Option<Subject>,
    /// The client ids it may use; empty: any.
    pub client_ids: Vec<Glob>,
    /// What it may do.
    pub may: Grants,
    /// What it may do beyond that with certain client ids.
    pub clients: Vec<(Glob, Grants)>,
}

/// What is allowed: filters in which a level `%u` stands for the user and `%c` for the client id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// What may be published.
    pub publish: Granted,
    /// What may be heard of.
    pub subscribe: Granted,
}

/// Topics that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// All.
    All,
    /// Those that one of these filters matches.
    Of(Vec<String>),
}

impl Default for Granted {
    /// None.
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

/// The levels of a rule that stand for names.
pub const USER: &str = "%u";
/// The client id.
pub const CLIENT: &str = "%c";

impl Rules {
    /// For a broker that nobody has set up: clients on this machine may do everything.
    pub fn open() -> Self {
        let everything = Grants { publish: Granted::All, subscribe: Granted::All };
        Self { loopback: true, anonymous: everything, ..Self::default() }
    }

    /// What a client may do that has logged in as that user, or without. `None`: it may not be here.
    pub fn allowed(&self, client: &str, user: Option<&str>) -> Option<Arc<Allowed>> {
        let Some(name) = user else {
            let is_let_in = self.loopback || self.users.is_empty();
            return is_let_in.then(|| compile([&self.anonymous].into_iter(), client, None));
        };
        if is_nobody(name) {
            // Without users it depends on what anybody may; with them, nobody may do anything.
            let is_let_in = self.loopback && self.users.is_empty();
            return is_let_in.then(|| compile([&self.anonymous].into_iter(), client, None));
        }
        if is_inside(name) {
            return Some(Arc::new(Allowed::everything()));
        }
        let user = self.users.get(name)?;
        if !user.client_ids.is_empty() && !user.client_ids.iter().any(|glob| glob.matches(client)) {
            return None;
        }
        let of_client = user.clients.iter().filter(|(glob, _)| glob.matches(client)).map(|(_, grants)| grants);
        Some(compile([&user.may].into_iter().chain(of_client), client, Some(name)))
    }

    /// Whether an id is that of a link, and who comes with it is not: it comes by a socket, or for another link.
    pub fn is_kept_from(&self, client: &str, visitor: Option<&Visitor>) -> bool {
        self.ids_of_links.get(client).is_some_and(|link| match visitor {
            None => true,
            Some(Visitor::Part(_)) => false,
            Some(Visitor::Client { link: its, .. }) => its != link,
        })
    }

    /// The user for whom this certificate is enough, if there is one.
    pub fn certified(&self, shown: &Subject) -> Option<Arc<str>> {
        let is_enough =
            |user: &User| user.password.is_none() && user.certificate.as_ref().is_some_and(|asked| asked.fits(shown));
        // Of several, always the same one, whatever the order of the table.
        self.users.iter().filter(|(_, user)| is_enough(user)).map(|(name, _)| name).min().cloned()
    }

    /// The users of these rules who log in by another password or certificate than in those before.
    pub fn others_than(&self, before: &Self) -> HashSet<Arc<str>> {
        let is_other = |(name, user): &(&Arc<str>, &User)| {
            let old = before.users.get(*name);
            old.is_some_and(|old| (&old.password, &old.certificate) != (&user.password, &user.certificate))
        };
        self.users.iter().filter(is_other).map(|(name, _)| name.clone()).collect()
    }
}

fn compile<'a>(grants: impl Iterator<Item = &'a Grants> + Clone, client: &str, user: Option<&str>) -> Arc<Allowed> {
    let topics = |granted: &mut dyn Iterator<Item = &'a Granted>| {
        let mut filters = Vec::new();
        for granted in granted {
            match granted {
                Granted::All => return Topics::All,
                Granted::Of(rules) => filters.extend(rules.iter().filter_map(|rule| fill(rule, client, user))),
            }
        }
        Topics::Of(filters)
    };
    let publish = topics(&mut grants.clone().map(|grants| &grants.publish));
    let hear = topics(&mut grants.map(|grants| &grants.subscribe));
    Arc::new(Allowed::new(publish, hear))
}

/// The rule with its names filled in. `None` if one of them would be more than the text of one level: then the rule is for nothing.
fn fill(rule: &str, client: &str, user: Option<&str>) -> Option<Box<str>> {
    if !rule.contains('%') {
        return Some(rule.into());
    }
    let level = |level| match level {
        CLIENT => Some(client).filter(|name| is_a_level(name)),
        USER => user.filter(|name| is_a_level(name)),
        other => Some(other),
    };
    let levels: Option<Vec<&str>> = rule.split('/').map(level).collect();
    levels.map(|levels| levels.join("/").into())
}

/// Whether a name is nothing but the text of one level. One that begins with `$` could reach the broker's own topics.
fn is_a_level(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('$') && !name.contains(['/', '+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grants(publish: &[&str], subscribe: &[&str]) -> Grants {
        let of = |rules: &[&str]| Granted::Of(rules.iter().map(ToString::to_string).collect());
        Grants { publish: of(publish), subscribe: of(subscribe) }
    }

    fn rules(users: Vec<(&str, User)>) -> Rules {
        Rules { users: users.into_iter().map(|(name, user)| (name.into(), user)).collect(), ..Rules::default() }
    }

    fn tasmota() -> Rules {
        let may = grants(&["tele/%c/#", "stat/%c/#", "%u/all"], &["cmnd/%c/#"]);
        rules(vec![("tasmota", User { may, ..User::default() })])
    }

    #[test]
    fn names_are_filled_in() {
        let plug = tasmota().allowed("plug-1", Some("tasmota")).unwrap();
        assert!(plug.may_publish("tele/plug-1/SENSOR") && plug.may_publish("tasmota/all"));
        assert!(!plug.may_publish("tele/plug-2/SENSOR") && !plug.may_publish("tele/%c/SENSOR"));
        assert!(plug.may_hear("cmnd/plug-1/POWER") && !plug.may_subscribe("cmnd/plug-2/#"));
    }

    #[test]
    fn a_name_that_is_more_than_a_level_opens_nothing() {
        for name in ["", "+", "#", "a/b", "plug+", "#1", "$SYS", "a\0"] {
            let client = tasmota().allowed(name, Some("tasmota")).unwrap();
            assert!(!client.may_subscribe("#") && !client.may_publish("tele//x"), "{name}");
            let system = rules(vec![("u", User { may: grants(&[], &["%c/#"]), ..User::default() })]);
            assert!(!system.allowed(name, Some("u")).unwrap().may_subscribe("$SYS/#"), "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_is_called_it_gets_no_topic_of_another(name in "[a+/#$%cu]{0,6}") {
            let client = tasmota().allowed(&name, Some("tasmota")).unwrap();
            let other = ["plug-1", "b", ""].map(|other| format!("cmnd/{other}/POWER"));
            prop_assert!(other.iter().all(|topic| !client.may_hear(topic)));
        }
    }

    #[test]
    fn a_user_may_do_more_with_certain_clients_and_use_only_its_own() {
        let panel = User {
            may: grants(&[], &["gw1-out/#"]),
            clients: vec![(Glob::new("panel-*"), grants(&["gw1-in/#"], &[]))],
            client_ids: vec![Glob::new("panel-*"), Glob::new("watch")],
            ..User::default()
        };
        let rules = rules(vec![("panel", panel)]);
        let of = |client| rules.allowed(client, Some("panel"));
        assert!(
            of("panel-1").unwrap().may_publish("gw1-in/tank/valve") && of("panel-1").unwrap().may_hear("gw1-out/a")
        );
        assert!(!of("watch").unwrap().may_publish("gw1-in/tank/valve") && of("watch").unwrap().may_hear("gw1-out/a"));
        assert_eq!(of("plug"), None);
    }

    #[test]
    fn without_a_login_it_depends_on_whether_there_are_users() {
        assert_eq!(*Rules::open().allowed("a", None).unwrap(), Allowed::everything());
        assert_eq!(tasmota().allowed("a", None), None);
        let with_loopback = Rules { loopback: true, anonymous: grants(&[], &["gw1-out/#"]), ..tasmota() };
        let anonymous = with_loopback.allowed("a", None).unwrap();
        assert!(anonymous.may_hear("gw1-out/x") && !anonymous.may_publish("gw1-in/x"));
        assert_eq!(tasmota().allowed("a", Some("stranger")), None);
        assert_eq!(*tasmota().allowed("a", Some("$modbus")).unwrap(), Allowed::everything());
        // Whom a link speaks for is not on this machine, whatever may be done there.
        assert_eq!(*Rules::open().allowed("a", Some("$nobody/meadow")).unwrap(), Allowed::everything());
        for rules in [&tasmota(), &with_loopback, &Rules { loopback: false, ..Rules::open() }] {
            assert_eq!(rules.allowed("a", Some("$nobody/meadow")), None);
        }
    }

    #[test]
    fn whose_password_is_another_one_is_found() {
        let with =
            |password: &str| User { password: Some(super::super::hash::tests::cheap(password)), ..User::default() };
        let before = rules(vec![("a", with("1")), ("b", with("2")), ("gone", with("3"))]);
        let mut after = before.clone();
        after.users.remove("gone");
        after.users.insert("b".into(), with("new"));
        after.users.insert("c".into(), with("new"));
        assert_eq!(after.others_than(&before), HashSet::from(["b".into()]));
    }
}
