//! What is wrong between the local broker and the links of the gateway that use it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wharf_contract::settings::{NamedEntry, Problem, Spanned};
use wharf_mqttsn::config::own_id;

use crate::config::Site;
use crate::mapping::Glob;

impl Site {
    /// Whether there is a broker inside the gateway: one that is listened on, or that links use.
    pub fn has_own_broker(&self) -> bool {
        !self.broker.listen.is_empty() || self.own_links().next().is_some() || self.spoken_for().next().is_some()
    }

    /// The MQTT-SN links that use it.
    fn spoken_for(&self) -> impl Iterator<Item = &NamedEntry<wharf_mqttsn::LinkSettings>> {
        self.mqttsn.entries().iter().filter(|entry| entry.value.broker.is_none())
    }

    /// The users as whom MQTT-SN clients come. They may do without a password.
    pub fn users_of_links(&self) -> HashSet<&str> {
        self.spoken_for().filter_map(|entry| Some(entry.value.username.as_ref()?.value.as_str())).collect()
    }

    /// The client ids that those links have there for themselves, with the link of each.
    pub fn ids_of_links(&self) -> HashMap<Arc<str>, Arc<str>> {
        self.spoken_for().map(|entry| (own_id(entry.name.as_str()).into(), entry.name.as_str().into())).collect()
    }

    /// The links that hear their devices there.
    fn own_links(&self) -> impl Iterator<Item = OwnLink<'_>> {
        let mqtt = self.mqtt.entries().iter().filter(|entry| entry.value.broker.is_none()).map(|entry| OwnLink {
            name: &entry.name,
            path: entry.name.path.clone(),
            username: entry.value.username.as_ref(),
        });
        let mysensors = self.mysensors.entries().iter().filter_map(|entry| {
            let mqtt = entry.value.mqtt.as_ref().filter(|mqtt| mqtt.broker.is_none())?;
            let path = format!("{}.mqtt", entry.name.path);
            Some(OwnLink { name: &entry.name, path, username: mqtt.username.as_ref() })
        });
        mqtt.chain(mysensors)
    }
}

/// A link whose devices are heard at the local broker.
struct OwnLink<'s> {
    name: &'s Spanned<wharf_contract::settings::Name>,
    path: String,
    username: Option<&'s Spanned<String>>,
}

/// Links that would hear nobody, or whose clients would be nobody; users as whom nobody could log in.
pub fn links(site: &Site, problems: &mut Vec<Problem>) {
    let comes_down = site.bridge.as_ref().is_some_and(|bridge| !bridge.down.is_empty());
    let is_reached = !site.broker.listen.is_empty() || comes_down || site.spoken_for().next().is_some();
    for link in site.own_links() {
        if !is_reached {
            let message = "nobody can attach to the gateway's own broker, so the devices of this link need another";
            let mut problem = Problem::new(link.name.span, link.path, message);
            problem.help("name it with `broker:`, or say under `broker.listen` where they attach");
            problems.push(problem);
        }
        problems.extend(link.username.map(|user| no_effect(user.span, &user.path)));
    }
    for entry in site.spoken_for() {
        clients(site, entry, problems);
    }
    let spoken_for = site.users_of_links();
    for (name, user) in site.broker.users.entries().iter().map(|entry| (&entry.name, &entry.value)) {
        let has_login = user.password.is_some() || user.certificate.is_some() || site.broker.passwords.is_some();
        if !has_login && !spoken_for.contains(name.as_str()) {
            let message = format!("`{}` has neither a password nor a certificate, so nobody can log in", name.value);
            let mut problem = Problem::new(name.span, name.path.clone(), message);
            problem
                .help(format!("`wharf passwd --file broker.passwd {}`, and here passwords: broker.passwd", name.value));
            problems.push(problem);
        }
    }
}

/// As whom the clients of an MQTT-SN link come.
fn clients(site: &Site, entry: &NamedEntry<wharf_mqttsn::LinkSettings>, problems: &mut Vec<Problem>) {
    let (link, settings) = (&entry.name, &entry.value);
    let Some(username) = &settings.username else {
        if !site.broker.users.is_empty() || !site.broker.lets_loopback_in() {
            let message = "the local broker asks who its clients are, and those of this link cannot say";
            let mut problem = Problem::new(link.span, link.path.clone(), message);
            problem.help(format!(
                "username: {link}, and under broker.users what each may do: {link}: {{ publish: [\"%c/#\"] }}",
                link = link.value
            ));
            problems.push(problem);
        }
        return;
    };
    let at_username = |message: String| Problem::new(username.span, username.path.clone(), message);
    let Some(user) = site.broker.users.get(username.as_str()) else {
        let mut problem = at_username(format!("the local broker has no user `{}`", username.value));
        problem.help(format!("broker: {{ users: {{ {}: {{ publish: [\"%c/#\"] }} }} }}", username.value));
        problems.push(problem);
        return;
    };
    let own_id = own_id(link.as_str());
    let may_use = user.client_ids.is_empty() || user.client_ids.iter().any(|glob| Glob::new(glob).matches(&own_id));
    if settings.speaks_for_clients() && !may_use {
        let message = format!("`{}` may not use the client id `{own_id}`, which this link has", username.value);
        let mut problem = at_username(message);
        problem.help("add it to the `client_ids` of that user");
        problems.push(problem);
    }
    if settings.password.is_some() {
        problems.push(no_effect(username.span, &format!("{}.password", link.path)));
    }
}

fn no_effect(span: wharf_contract::settings::Span, path: &str) -> Problem {
    let mut problem = Problem::warning(span, path.to_owned(), "the gateway's own broker asks this link for no login");
    problem.help("leave it out");
    problem
}
