//! What is wrong with the local broker's settings beyond a single value.

use std::collections::HashMap;

use wharf_contract::settings::{Context, NamedEntry, Node, Problem, Spanned};

use super::{Anonymous, Broker, Listen, User};
use crate::broker::rights::{Hash, Subject, check_name};
use crate::config::Site;

/// What the macro calls for `broker:` as a whole.
pub fn broker(this: &Broker, node: &Node, cx: &mut Context) {
    let mut addresses = HashMap::new();
    for listen in &this.listen {
        if addresses.insert(listen.address.0, ()).is_some() {
            at(listen, cx, format!("{} is here twice", listen.address.0));
        }
        open_to_others(this, listen, cx);
    }
    without_login(this, node, cx);
    let mut certified: HashMap<&str, &str> = HashMap::new();
    for entry in this.users.entries() {
        login(this, entry, cx);
        let Some(certificate) = entry.value.certificate.as_ref().filter(|_| entry.value.password.is_none()) else {
            continue;
        };
        if let Some(first) = certified.insert(&certificate.value, entry.name.as_str()) {
            at(certificate, cx, format!("`{first}` has this certificate already: which of the two would it be?"));
        }
    }
    if this.users.is_empty() && this.passwords.is_some() {
        cx.field_problem(node, "passwords", "passwords are for users, and there are none")
            .help("users: { panel: { subscribe: [\"gw1-out/#\"] } }");
    }
}

/// What the macro calls for each user.
pub fn user(this: &User, node: &Node, cx: &mut Context) {
    if let Some(certificate) = &this.certificate
        && let Err(why) = Subject::parse(certificate)
    {
        cx.field_problem(node, "certificate", why);
    }
    // What a reference leads to is looked at when it is opened for good.
    let literal = node.get("password").and_then(|entry| entry.value.text()).filter(|text| !text.starts_with("${"));
    if let Some(why) = literal.and_then(|text| Hash::parse(text).err()) {
        cx.field_problem(node, "password", why);
    }
    let own = this.publish.iter().chain(this.clients.iter().flat_map(|(_, grants)| &grants.publish));
    for rule in own.filter(|rule| rule.starts_with('$')) {
        at(rule, cx, "no client publishes on topics that begin with `$`");
    }
}

/// Links that use the local broker as clients, and have no login where one is needed.
pub fn strangers(site: &Site, problems: &mut Vec<Problem>) {
    let needs_login = !site.broker.users.is_empty() && !site.broker.lets_loopback_in();
    for (name, link) in site.mysensors.iter().filter(|_| needs_login && !site.broker.listen.is_empty()) {
        let Some(mqtt) = link.mqtt.as_ref().filter(|mqtt| mqtt.broker.is_none() && mqtt.username.is_none()) else {
            continue;
        };
        let message = "the local broker, which this link uses, needs a login";
        let mut problem = Problem::new(mqtt.prefix.span, format!("mysensors.{name}.mqtt"), message);
        problem.help("username: NAME, password: ${file:name}, and that user under broker.users");
        problems.push(problem);
    }
}

/// An address that others can reach needs to know who they are.
fn open_to_others(this: &Broker, listen: &Spanned<Listen>, cx: &mut Context) {
    let address = listen.address.0;
    if address.ip().to_canonical().is_loopback() {
        return;
    }
    if this.users.is_empty() && !listen.requires_certificates() {
        at(listen, cx, format!("{address} can be reached from outside, and anyone could log in"))
            .help("name `users:` and hash their passwords with `wharf passwd`, or require certificates: tls: { …, client_ca: clients.pem }");
    } else if listen.tls.is_none() {
        let problem = at(listen, cx, format!("over {address} passwords and messages go unencrypted"));
        problem.severity = wharf_contract::settings::Severity::Warning;
        problem.help("where others could listen in: tls: { cert: broker.pem, key: broker.key }");
    }
}

fn without_login(this: &Broker, node: &Node, cx: &mut Context) {
    let loopback = this.lets_loopback_in();
    let certified = this.listen.iter().any(|listen| listen.requires_certificates());
    let written = this.anonymous.as_ref().map(|anonymous| anonymous.value);
    if this.users.is_empty() {
        if written == Some(Anonymous::No) && !certified && !this.listen.is_empty() {
            cx.field_problem(node, "anonymous", "nobody could log in: there are no users")
                .help("name `users:` and hash their passwords with `wharf passwd`");
        }
    } else if !loopback && this.anonymous_may.is_some() {
        cx.field_problem(node, "anonymous_may", "`anonymous_may` has no effect: everybody needs a login")
            .help("anonymous: loopback lets clients on this machine in without one");
    } else if loopback && this.anonymous_may.is_none() {
        cx.field_warning(node, "anonymous", "clients without a login may do nothing")
            .help("say what they may do: anonymous_may: { subscribe: [\"gw1-out/#\"] }");
    }
}

/// Whether anybody could log in as this user, and what for.
fn login(this: &Broker, entry: &NamedEntry<User>, cx: &mut Context) {
    let (name, user) = (&entry.name, &entry.value);
    if let Err(why) = check_name(name.as_str()) {
        at(name, cx, why);
    }
    if user.password.is_none() && user.certificate.is_none() && this.passwords.is_none() {
        at(name, cx, format!("`{}` has neither a password nor a certificate, so nobody can log in", name.value))
            .help(format!("`wharf passwd --file broker.passwd {}`, and here passwords: broker.passwd", name.value));
    }
    let asks = |listen: &Spanned<Listen>| listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if let Some(certificate) = user.certificate.as_ref().filter(|_| !this.listen.iter().any(asks)) {
        at(certificate, cx, "no listener asks clients for certificates")
            .help("listen: [{ address: 0.0.0.0:8883, tls: { …, client_ca: clients.pem } }]");
    }
    let rules = user.publish.len() + user.subscribe.len();
    if rules + user.clients.iter().map(|(_, may)| may.publish.len() + may.subscribe.len()).sum::<usize>() == 0 {
        let problem = at(name, cx, format!("`{}` may do nothing", name.value));
        problem.severity = wharf_contract::settings::Severity::Warning;
        problem.help("publish: [\"gw1-in/#\"], subscribe: [\"gw1-out/#\", \"gw1-sys/#\"]");
    }
}

/// A problem with a value that knows its own place.
fn at<'c, T>(value: &Spanned<T>, cx: &'c mut Context, message: impl Into<String>) -> &'c mut Problem {
    let problem = cx.problem(value.span, message);
    problem.path.clone_from(&value.path);
    problem
}
