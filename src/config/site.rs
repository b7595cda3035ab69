//! What may be written in a site file. The drivers define their own parts.

use serde_json::json;
use wharf_contract::settings::{
    ByteSize, Context, FilePath, Name, Named, Node, OneOrMany, Period, Ranged, Schema, Secret, Setting, Spanned, Typed,
};
use wharf_contract::{setting_enum, settings};

pub use super::ble::BleLink;
pub use super::bridge::BridgeSettings;
pub use super::broker::Broker;
pub use super::controllers::Controllers;
pub use super::replay::{Rate, Replay, Share};
use super::url::BrokerUrl;

settings! {
    /// A site: one gateway, what it listens to, and where it delivers.
    pub struct Site {
        /// The gateway's name. Its topics begin with it: gw1-out/, gw1-in/, gw1-sys/.
        gateway: Name,
        /// Where queues and other state are kept. Without it: $STATE_DIRECTORY under systemd, else
        /// wharf-state/ beside the site file.
        state_dir: Option<FilePath> = None,
        /// The brokers upstream, by name. Each has a queue of its own.
        uplinks: Named<Uplink> = Named::none(),
        /// The broker inside the gateway, for clients on the same machine.
        broker: Broker = Broker::default(),
        /// Topics that pass between clients of the broker inside the gateway and the brokers upstream.
        bridge: Option<BridgeSettings> = None,
        /// How commands are treated.
        commands: Commands = Commands::default(),
        /// Modbus connections, by link name.
        modbus: Named<wharf_modbus::LinkSettings> = Named::none(),
        /// Bluetooth adapters and the sensors they listen to, by link name.
        ble: Named<BleLink> = Named::none(),
        /// MySensors networks, by link name.
        mysensors: Named<wharf_mysensors::LinkSettings> = Named::none(),
        /// Serial ports and TCP connections whose devices speak in lines of text, by link name.
        lines: Named<wharf_lines::LinkSettings> = Named::none(),
        /// Devices that speak MQTT, to the gateway's own broker or to another one, by link name.
        mqtt: Named<wharf_mqtt::LinkSettings> = Named::none(),
        /// MQTT-SN gateways, for sensors too small for TCP, by link name.
        mqttsn: Named<wharf_mqttsn::LinkSettings> = Named::none(),
        /// MySensors controllers that attach to the gateway itself, rather than over MQTT.
        controllers: Option<Controllers> = None,
        /// How readings become messages. The first rule that matches decides; what no rule matches
        /// goes to {gateway}-out/{device}/{point} as JSON, or from MySensors in its classic form.
        mapping: Vec<Rule> = Vec::new(),
    }
    check: |this, node, cx| {
        if this.uplinks.entries().is_empty() && this.broker.listen.is_empty() {
            let message = "there is neither an uplink nor a local broker, so nobody would get the readings";
            cx.field_problem(node, "broker", message)
                .help("name a broker under `uplinks:`, or leave `broker:` out to have a local one on 127.0.0.1:1883");
        }
    };
}

impl Site {
    /// Lets go of what it says of links with many points. Their drivers have taken from it what they need. MySensors
    /// and MQTT-SN links are small, and stay: who runs their networks, and who their clients are, is asked for later.
    pub fn forget_links(&mut self) {
        (self.modbus, self.lines) = (Named::none(), Named::none());
        self.mqtt = Named::none();
    }
}

settings! {
    /// A broker upstream, and how messages get there.
    pub struct Uplink {
        /// Where it is: mqtt://host:1883, mqtts://host:8883 for an encrypted connection, or ws:// and
        /// wss:// through a web server. A list is tried in order.
        url: OneOrMany<Spanned<BrokerUrl>>,
        /// With a list of URLs: how long another than the first is used before the gateway looks
        /// whether those before it are back.
        return_after: Period<1_000, 604_800_000> = Period::secs(600),
        /// The version of MQTT.
        protocol: Protocol = Protocol::V5,
        /// The MQTT client id. Without it: wharf-<gateway>-<uplink>.
        client_id: Option<Spanned<String>> = None,
        /// The user to log in as.
        username: Option<String> = None,
        /// The password to log in with: ${file:name}, ${env:NAME}, or the password itself.
        password: Option<Secret> = None,
        /// Certificates, where the system's own do not do.
        tls: Option<Tls> = None,
        /// How long the connection may be silent before it is tested.
        keep_alive: Period<1_000, 65_535_000> = Period::secs(30),
        /// How many messages may wait for their acknowledgement at once.
        in_flight: Ranged<u16, 1, 1_000> = Ranged::new(100),
        /// The longest absence after which the broker's session is resumed. After a longer one it
        /// starts clean, because what the broker kept for it are stale commands. 0s: always clean.
        command_age: Period<0, 604_800_000> = Period::secs(10),
        /// Which readings go there, and the health of which links and devices. What is left out
        /// matches everything.
        r#match: Match = Match::default(),
        /// The queue on disk.
        queue: Queue = Queue::default(),
        /// How messages that waited are sent when the broker is back.
        replay: Replay = Replay::default(),
    }
    check: |this, node, cx| {
        urls(this, node, cx);
        if this.password.is_some() && this.username.is_none() && this.protocol == Protocol::V311 {
            cx.field_problem(node, "password", "MQTT 3.1.1 knows no password without a username");
        }
        if let Some(id) = &this.client_id
            && (id.is_empty() || id.chars().any(char::is_control))
        {
            cx.field_problem(node, "client_id", "a client id cannot be empty or contain control characters");
        }
    };
}

setting_enum! {
    /// The version of MQTT.
    pub enum Protocol {
        /// MQTT 5.
        V5 = "5",
        /// MQTT 3.1.1.
        V311 = "3.1.1",
    }
}

settings! {
    /// How the connection is encrypted. Certificates are PEM files; renewed ones are used without a
    /// restart.
    pub struct Tls {
        /// Whom to trust, in place of the system's certificates.
        ca: Option<Spanned<FilePath>> = None,
        /// The gateway's own certificate.
        cert: Option<Spanned<FilePath>> = None,
        /// The key to it.
        key: Option<Spanned<FilePath>> = None,
        /// What the broker is told is spoken inside (ALPN), where it asks: x-amzn-mqtt-ca, mqtt.
        alpn: Vec<AlpnProtocol> = Vec::new(),
        /// The oldest version of TLS that will do.
        min_version: TlsVersion = TlsVersion::V12,
    }
    together: [cert, key];
}

setting_enum! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2.
        V12 = "1.2",
        /// TLS 1.3.
        V13 = "1.3",
    }
}

settings! {
    /// The queue on disk that keeps messages until the broker has acknowledged them.
    pub struct Queue {
        /// How large it may grow.
        max_size: ByteSize<{ 16 << 20 }> = ByteSize::mib(512),
        /// How long a message is worth delivering. Without it: for ever.
        max_age: Option<Period<1_000>> = None,
        /// How much of the disk it leaves free.
        min_free: ByteSize = ByteSize::mib(64),
        /// What happens when there is no room: which messages go, or that nothing more is taken.
        when_full: WhenFull = WhenFull::DropOldest,
        /// How often it is made safe on disk. A power cut loses at most what came since. 0ms: as often
        /// as the disk can. Without it: 10ms on a solid-state disk, 100ms on a card and any other.
        commit: Option<Period<0, 10_000>> = None,
    }
}

setting_enum! {
    /// What happens when there is no room.
    pub enum WhenFull {
        /// The oldest messages go.
        DropOldest = "drop_oldest",
        /// The message that has just come goes.
        DropNewest = "drop_newest",
        /// What is stored stays, and nothing more is taken until there is room. Polling goes on,
        /// but no reading becomes a message, for local clients neither; what could not be taken
        /// is counted as lost, with the reason blocked. Only where there is no other uplink.
        Block = "block",
    }
}

settings! {
    /// How commands are treated.
    pub struct Commands {
        /// How long a command may take that brings no deadline of its own. After that it is
        /// answered as expired, and never executed.
        deadline: Period<100, 3_600_000> = Period::secs(10),
        /// How long the id of a write is remembered, also across a restart: whoever sends it again
        /// gets the first one's answer, and nothing is written twice. 0s: not at all.
        remember: Period<0, 604_800_000> = Period::secs(600),
        /// Whether set messages in MySensors classic form are obeyed although they are retained. They
        /// come again at every reconnect. No other retained command is ever obeyed.
        retained_sets: bool = false,
    }
}

/// How many topics a rule may have.
const MOST_TOPICS: usize = 4;

settings! {
    /// A rule for readings: which ones, and what becomes of them.
    pub struct Rule {
        /// Which readings. What is left out matches everything.
        r#match: Match = Match::default(),
        /// The topic, with {words} filled in: gateway, link, driver, device, point, and the driver's own. A
        /// list of up to 4: each reading is published to each of them.
        topic: Option<OneOrMany<Spanned<String>>> = None,
        /// The payload: json, raw (the bare value), or a template with {words}. A list: one for each topic.
        payload: OneOrMany<Spanned<String>> = OneOrMany::one(Spanned::nowhere("json".into())),
        /// How hard it is delivered: 0 at most once, 1 at least once.
        qos: Ranged<u8, 0, 1> = Ranged::new(1),
        /// Whether the broker keeps the last message for those who come later.
        retain: bool = false,
        /// These readings are deliberately not published.
        drop: bool = false,
        /// Shows their devices as nodes of a MySensors network, for controllers of such. With a topic, the
        /// readings themselves go there as well.
        present_as: Option<Spanned<PresentAs>> = None,
        /// The number of the node, where the rule shows one device; without it, the gateway gives one
        /// and keeps it.
        node: Option<Ranged<u8, 1, 254>> = None,
    }
    check: |this, node, cx| {
        if this.drop {
            for key in ["topic", "payload", "qos", "retain", "present_as"].into_iter().filter(|key| node.get(key).is_some()) {
                cx.field_problem(node, key, format!("what is dropped has no {key}"));
            }
        } else if this.topic.is_none() && this.present_as.is_none() {
            cx.problem(cx.here(node), "`topic` is missing").help("a rule has a topic, or `drop: true`");
        } else if this.topic.is_none() {
            for key in ["payload", "qos", "retain"].into_iter().filter(|key| node.get(key).is_some()) {
                cx.field_problem(node, key, format!("`{key}` has no effect without a topic"))
                    .help("the messages of MySensors nodes have a form of their own");
            }
        }
        if this.node.is_some() && this.present_as.is_none() {
            cx.field_problem(node, "node", "`node` has no effect without `present_as: mysensors`");
        } else if this.node.is_some() && this.r#match.device.as_ref().is_none_or(|device| device.contains('*')) {
            cx.field_problem(node, "node", "a node is one device, and this rule may show several")
                .help("match: { device: NAME }");
        }
        let topics = this.topic.as_ref().map_or(1, |topics| topics.len());
        if topics > MOST_TOPICS {
            cx.field_problem(node, "topic", format!("a reading is published {MOST_TOPICS} times at most"));
        }
        if this.payload.len() > 1 && this.payload.len() != topics {
            let message = format!("there are {topics} topics and {} payloads", this.payload.len());
            cx.field_problem(node, "payload", message).help("write one payload for all of them, or one for each");
        }
    };
}

setting_enum! {
    /// What a device is shown as, beside what it is.
    pub enum PresentAs {
        /// A node of a MySensors network.
        MySensors = "mysensors",
    }
}

settings! {
    /// Which readings. `*` stands for any run of characters.
    pub struct Match {
        /// The link's name.
        link: Option<String> = None,
        /// The driver: modbus, ble, mysensors, lines, mqtt.
        driver: Option<String> = None,
        /// The device's name.
        device: Option<String> = None,
        /// The point's name.
        point: Option<String> = None,
    }
}

/// What is wrong with an uplink's URLs as a whole.
fn urls(uplink: &Uplink, node: &Node, cx: &mut Context) {
    for (index, url) in uplink.url.iter().enumerate() {
        if uplink.url[..index].iter().any(|before| before.value == url.value) {
            cx.problem(url.span, format!("{} is here twice", url.value)).path.clone_from(&url.path);
        }
    }
    let encrypted = uplink.url.iter().filter(|url| url.tls).count();
    if uplink.tls.is_some() && encrypted == 0 {
        let (plain, encrypted) = if uplink.url.iter().all(|url| url.web_socket.is_some()) {
            ("ws://", "wss://")
        } else {
            ("mqtt://", "mqtts://")
        };
        cx.field_problem(node, "tls", format!("`tls` has no effect: {plain} is not encrypted"))
            .help(format!("write {encrypted} in the URL, or leave `tls` out"));
    }
    if uplink.url.len() == 1 && node.get("return_after").is_some() {
        cx.field_problem(node, "return_after", "`return_after` has no effect: there is one URL, and none to return to")
            .help("leave it out, or write several URLs: url: [mqtts://first, mqtts://second]");
    }
    if uplink.password.is_some() && (1..uplink.url.len()).contains(&encrypted) {
        cx.field_problem(node, "url", "where the encrypted broker is blocked, the password would go unencrypted")
            .help("write mqtts:// or wss:// in each, or make two uplinks of it");
    }
}

impl Uplink {
    /// Whether any of its connections is encrypted.
    pub fn any_tls(&self) -> bool {
        self.url.iter().any(|url| url.tls)
    }

    /// The MQTT client id: as written, or made from the names.
    pub fn client_id(&self, gateway: impl std::fmt::Display, uplink: impl std::fmt::Display) -> String {
        match &self.client_id {
            Some(id) => id.value.clone(),
            None => format!("wharf-{gateway}-{uplink}"),
        }
    }
}

/// The name of a protocol inside TLS: 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlpnProtocol(pub String);

impl Setting for AlpnProtocol {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^[!-~]{1,255}$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match node.typed() {
            Some(Typed::Text(text))
                if (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) =>
            {
                Some(Self(text.to_owned()))
            }
            _ => cx.unexpected(node, "the name of a protocol such as x-amzn-mqtt-ca"),
        }
    }
}
