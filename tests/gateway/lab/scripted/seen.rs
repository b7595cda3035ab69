//! What the broker saw.

/// A connection, as the broker saw it.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// Clean start, or clean session in 3.1.1.
    pub clean: bool,
    /// The QoS of the will, and whether it is to be retained.
    pub will: (u8, bool),
    /// The session was there, or so the broker said.
    pub session_present: bool,
    /// How many SUBSCRIBEs came.
    pub subscribes: usize,
    /// The most publications that were under way at one time.
    pub most_in_flight: usize,
    /// The longest packet that came.
    pub longest_packet: usize,
    /// The commands that were acknowledged, by packet id.
    pub commands_acked: Vec<u16>,
    /// The publications that came.
    pub publishes: Vec<Publish>,
    /// It has ended.
    pub ended: bool,
}

/// A publication, as the broker saw it.
#[derive(Clone, Debug)]
pub struct Publish {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
    /// MQTT 5: for how many seconds it is worth something.
    pub expires_in: Option<u32>,
    /// MQTT 5: names and values.
    pub properties: Vec<(String, String)>,
    /// The reason it was refused for.
    pub refused: Option<u8>,
    /// Whether it was acknowledged, with whatever reason.
    pub acked: bool,
    pub(super) id: u16,
}
