//! What is wrong with the local broker's settings beyond a single value.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use wharf_contract::settings::{Context, NamedEntry, Node, Problem, Severity, Spanned};
use wharf_contract::topic::is_system;

use super::rights::WRITE_HASH;
use super::{Anonymous, Broker, Listen, User};
use crate::broker::rights::{Hash, Subject, check_name};
use crate::broker::{Fault, Of};

/// What the macro calls for `broker:` as a whole.
pub fn broker(this: &Broker, node: &Node, cx: &mut Context) {
    for (before, listen) in this.listen.iter().enumerate() {
        let address = listen.address.0;
        let others = this.listen.get(..before).unwrap_or_default().iter().map(|other| other.address.0);
        match others.into_iter().find(|other| meet(*other, address)) {
            Some(other) if other == address => {
                at(listen, cx, format!("{address} is here twice"));
            }
            Some(other) => {
                let all = if other.ip().is_unspecified() { other } else { address };
                at(listen, cx, format!("{other} and {address} cannot both be: {all} is every address of this machine"))
                    .help("leave one of them out, or give it a port of its own");
            }
            None => {}
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
        cx.field_problem(node, "password", why).help(WRITE_HASH);
    }
    let own = this.publish.iter().chain(this.clients.iter().flat_map(|(_, grants)| &grants.publish));
    for rule in own.filter(|rule| is_system(rule)) {
        at(rule, cx, "no client publishes on topics that begin with `$`");
    }
}

/// Whether the system lets only one of them listen. Of [::] it depends on the system.
pub fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let is_all = |address: SocketAddr| address.ip().is_unspecified();
    one == other || one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && (is_all(one) || is_all(other))
}

/// What is wrong with the certificate of a listener, and with its key.
pub fn certificates(listen: &Listen) -> Vec<Problem> {
    let (Some(settings), Some(files)) = (&listen.tls, listen.listener().tls) else { return Vec::new() };
    let told = |fault: Fault| {
        let file = match fault.of {
            Of::Cert => &settings.cert,
            Of::Key => &settings.key,
        };
        let severity = if fault.is_warning { Severity::Warning } else { Severity::Mistake };
        let message = format!("{} {}", file.value, fault.words);
        Problem { severity, help: fault.fix, ..Problem::new(file.span, file.path.clone(), message) }
    };
    files.faults(SystemTime::now()).into_iter().map(told).collect()
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
        problem.severity = Severity::Warning;
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

/// Whether a user is called well, could show its certificate, and may do anything.
fn login(this: &Broker, entry: &NamedEntry<User>, cx: &mut Context) {
    let (name, user) = (&entry.name, &entry.value);
    if let Err(why) = check_name(name.as_str()) {
        at(name, cx, why);
    }
    let asks = |listen: &Spanned<Listen>| listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if let Some(certificate) = user.certificate.as_ref().filter(|_| !this.listen.iter().any(asks)) {
        at(certificate, cx, "no listener asks clients for certificates")
            .help("listen: [{ address: 0.0.0.0:8883, tls: { …, client_ca: clients.pem } }]");
    }
    let rules = user.publish.len() + user.subscribe.len();
    if rules + user.clients.iter().map(|(_, may)| may.publish.len() + may.subscribe.len()).sum::<usize>() == 0 {
        let problem = at(name, cx, format!("`{}` may do nothing", name.value));
        problem.severity = Severity::Warning;
        problem.help("publish: [\"gw1-in/#\"], subscribe: [\"gw1-out/#\", \"gw1-sys/#\"]");
    }
}

/// A problem with a value that knows its own place.
fn at<'c, T>(value: &Spanned<T>, cx: &'c mut Context, message: impl Into<String>) -> &'c mut Problem {
    let problem = cx.problem(value.span, message);
    problem.path.clone_from(&value.path);
    problem
}
