//! What a test tells the broker to do.

/// How the broker treats one connection. What is not said is what an honest broker does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Script {
    /// Answers CONNECT with this code.
    pub refuse: Option<u8>,
    /// Says nothing to CONNECT.
    pub mute: bool,
    pub session: Session,
    /// Announced with MQTT 5.
    pub receive_maximum: Option<u16>,
    /// Announced with MQTT 5.
    pub maximum_packet_size: Option<u32>,
    /// Announced with MQTT 5.
    pub maximum_qos: Option<u8>,
    /// Announced with MQTT 5: no retained messages.
    pub no_retain: bool,
    pub acks: Acks,
    /// Every publication of which the number on this connection is divisible by the first is
    /// refused with the second (MQTT 5).
    pub refuse_every: Option<(usize, u8)>,
    /// On this topic the first so many publications of this connection are refused with this
    /// reason (MQTT 5).
    pub refuse_topic: Option<(&'static str, u8, usize)>,
    pub close: Close,
    /// With this reason it says goodbye before it closes at a publication (MQTT 5).
    pub goodbye: Option<u8>,
    /// Answers SUBSCRIBE with a refusal.
    pub refuse_subscription: bool,
    /// Does not answer pings.
    pub deaf_to_pings: bool,
    /// Sent right behind CONNACK, in one piece with it.
    pub garbage: Option<&'static [u8]>,
}

/// What becomes of the session the broker keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Session {
    #[default]
    Honest,
    /// The broker has lost it.
    Forgotten,
    /// The broker has lost it and says that it has it.
    Claimed,
}

/// When publications are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Acks {
    #[default]
    AtOnce,
    /// When the test releases them.
    Held,
    /// In a quiet moment, the last first.
    Reversed,
    /// At once, save for the one with this number on the connection.
    AllBut(usize),
    /// For so many, then no more.
    First(usize),
}

/// When the broker closes the connection by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Close {
    #[default]
    Never,
    /// Having taken so many publications.
    After(usize),
    /// When half of the publication with this number is read.
    Inside(usize),
    /// When it is asked for a subscription, having noted nothing.
    OnSubscribe,
    /// Whenever something is published on this topic.
    AtTopic(&'static str),
    /// When the test cuts it: having taken so many publications, it reads no further.
    Deaf(usize),
}

/// A command for the gateway, with QoS 1.
#[derive(Clone, Debug)]
pub struct Command {
    pub topic: &'static str,
    pub payload: &'static str,
    pub id: u16,
    pub duplicate: bool,
    pub retained: bool,
}
