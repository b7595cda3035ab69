//! The site file's `broker`: where local clients attach, who may, and what each of them may do.

mod check;
mod inside;
mod listen;
mod rights;
mod rule;

use wharf_contract::settings::{ByteSize, FilePath, Named, Period, Ranged, Secret, Spanned};
use wharf_contract::{setting_enum, settings};

pub(super) use check::{certificates, meet};
pub(super) use inside::links;
pub use listen::{ClientCertificates, Listen, ListenAddress, Listener, ListenerTls};
pub use rights::rights;
pub use rule::TopicRule;

use crate::broker::Limits;

settings! {
    /// The broker inside the gateway: local clients see every message under the same topics as upstream, and
    /// may send commands.
    pub struct Broker {
        /// Where it listens: addresses with their ports. Beyond this machine only with users, or where
        /// certificates are required. An empty list: nobody attaches, and there is a broker only for links of this
        /// gateway that use it.
        listen: Vec<Spanned<Listen>> = vec![Spanned::nowhere(Listen::default())],
        /// Who needs no login: loopback (clients on this machine) or no (nobody). Without it: loopback while there
        /// are no users, then nobody.
        anonymous: Option<Spanned<Anonymous>> = None,
        /// What clients without a login may do. Without it: everything while there are no users, then nothing.
        anonymous_may: Option<Grants> = None,
        /// A file with the hashes of users' passwords, as `wharf passwd` writes it.
        passwords: Option<Spanned<FilePath>> = None,
        /// Who may log in, by name. Once there are users, whatever is not allowed is denied.
        users: Named<User> = Named::none(),
        /// How much of everything there may be.
        limits: Bounds = Bounds::default(),
    }
    check: check::broker;
}

setting_enum! {
    /// Who needs no login.
    pub enum Anonymous {
        /// Clients on this machine.
        Loopback = "loopback",
        /// Nobody.
        No = "no",
    }
}

settings! {
    /// What may be published, and heard of.
    pub struct Grants {
        /// What may be published: topic filters, in which a level %c stands for the client id, and %u for the user.
        publish: Vec<Spanned<TopicRule>> = Vec::new(),
        /// What may be heard of: topic filters, in which a level %c stands for the client id, and %u for the user.
        subscribe: Vec<Spanned<TopicRule>> = Vec::new(),
    }
}

settings! {
    /// Somebody who may log in to the local broker.
    pub struct User {
        /// The hash of its password, if it does not stand in the file `passwords`: ${file:name} or the hash itself, as
        /// `wharf passwd` prints it. A user for the clients of an MQTT-SN link needs none.
        password: Option<Spanned<Secret>> = None,
        /// What the subject of its certificate has to say: CN=plc-1, or more such as CN=plc-1,O=Plant. With a
        /// password too, both are needed.
        certificate: Option<Spanned<String>> = None,
        /// The client ids it may use; * stands for any run of characters. Without it: any.
        client_ids: Vec<String> = Vec::new(),
        /// What it may publish: topic filters, in which a level %c stands for the client id, and %u for the user.
        publish: Vec<Spanned<TopicRule>> = Vec::new(),
        /// What it may hear of: topic filters, in which a level %c stands for the client id, and %u for the user.
        subscribe: Vec<Spanned<TopicRule>> = Vec::new(),
        /// What it may do beyond that with certain client ids; * stands for any run of characters.
        clients: Named<Grants> = Named::none(),
    }
    check: check::user;
}

settings! {
    /// Bounds of the local broker. Each has a counter that says how often it was met.
    pub struct Bounds {
        /// Clients that are attached at once.
        clients: Ranged<u32, 1, 10_000> = Ranged::new(1_000),
        /// The largest packet a client may send. What Zigbee2MQTT says of 200 devices in one message fits into
        /// 1 MiB.
        packet: ByteSize<1_024, { 64 << 20 }> = ByteSize::mib(1),
        /// Subscriptions of one client.
        subscriptions: Ranged<u32, 1, 100_000> = Ranged::new(200),
        /// Messages that wait for a client that is away or slow. Beyond that the oldest go.
        queued: Ranged<u32, 1, 1_000_000> = Ranged::new(10_000),
        /// The same, by size.
        queued_size: ByteSize<1_024, { 1 << 30 }> = ByteSize::mib(8),
        /// What waits for all clients together.
        queued_size_together: ByteSize<1_024, { 4 << 30 }> = ByteSize::mib(32),
        /// Retained messages.
        retained: Ranged<u32, 1, 1_000_000> = Ranged::new(10_000),
        /// The same, by size.
        retained_size: ByteSize<1_024, { 4 << 30 }> = ByteSize::mib(32),
        /// The largest message that is retained: its topic, payload and properties. Larger ones are delivered, and
        /// not kept.
        retained_message: ByteSize<1_024, { 3 << 20 }> = ByteSize::mib(1),
        /// How long the session of a client that is away is kept at most.
        session_expiry: Period<0, 31_536_000_000> = Period::secs(7 * 86_400),
    }
}

impl Broker {
    /// Whether clients on this machine need no login.
    pub fn lets_loopback_in(&self) -> bool {
        self.anonymous.as_ref().map_or(self.users.is_empty(), |anonymous| anonymous.value == Anonymous::Loopback)
    }

    /// The bounds, as the broker takes them.
    pub fn limits(&self) -> Limits {
        let bounds = &self.limits;
        let usual = Limits::default();
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let clients = count(bounds.clients.get());
        let subscriptions = count(bounds.subscriptions.get());
        // Who may have more filters than usual needs more room for them.
        let filter_bytes = usual.filter_bytes.max(usual.filter_bytes / usual.subscriptions * subscriptions);
        Limits {
            clients,
            // Twice as many sessions as clients, as usual: those of clients that are away.
            sessions: clients.saturating_mul(2),
            packet: size(bounds.packet.get()),
            subscriptions,
            filter_bytes,
            filter_bytes_together: usual.filter_bytes_together.max(filter_bytes),
            queued: count(bounds.queued.get()),
            queued_bytes: size(bounds.queued_size.get()),
            queued_bytes_together: size(bounds.queued_size_together.get()),
            retained: count(bounds.retained.get()),
            retained_bytes: size(bounds.retained_size.get()),
            largest_retained: size(bounds.retained_message.get()),
            session_expiry: bounds.session_expiry.get(),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::broker::Limits;

    fn limits(bounds: &str) -> Limits {
        let text = format!("gateway: gw1\nbroker: {{ limits: {bounds} }}\n");
        crate::config::read(&text, Path::new("site.yaml"), &|_| Ok(String::new())).unwrap().broker.limits()
    }

    #[test]
    fn who_may_have_more_filters_has_the_room_for_them() {
        let usual = limits("{}");
        assert_eq!(usual, Limits::default());
        let many = limits("{ subscriptions: 100000 }");
        let each = usual.filter_bytes / usual.subscriptions;
        assert_eq!((many.subscriptions, many.filter_bytes), (100_000, each * 100_000));
        assert!(many.filter_bytes_together >= many.filter_bytes);
        let few = limits("{ subscriptions: 1 }");
        assert_eq!(limits("{ retained_message: 3MiB }").largest_retained, 3 << 20);
        assert_eq!((few.filter_bytes, few.filter_bytes_together), (usual.filter_bytes, usual.filter_bytes_together));
    }
}
