//! What is counted of what is on its way to the nodes.

/// What was counted since somebody took it to tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were sent, each as often as it was.
    pub sent: u64,
    /// Messages sent again because their echo stayed away.
    pub repeated: u64,
    /// Messages that had to wait for their node to wake.
    pub held: u64,
    /// Messages whose place was taken by a later value before they were sent.
    pub superseded: u64,
    /// Messages whose deadline passed while they waited.
    pub expired: u64,
    /// Messages refused because too many waited.
    pub refused: u64,
    /// Echoes that confirmed a message.
    pub confirmed: u64,
    /// Echoes that said something else than their message.
    pub differed: u64,
    /// Echoes that nobody waited for.
    pub unasked: u64,
    /// Messages that were sent as often as may be, and that their node neither echoed nor answered.
    pub given_up: u64,
    /// Questions that were put together with one asked a moment ago.
    pub coalesced: u64,
}

impl Counts {
    /// Each with the name it is counted under.
    pub fn by_name(self) -> [(&'static str, u64); 11] {
        [
            ("sent", self.sent),
            ("repeated", self.repeated),
            ("held", self.held),
            ("superseded", self.superseded),
            ("expired", self.expired),
            ("refused", self.refused),
            ("confirmed", self.confirmed),
            ("differing_echoes", self.differed),
            ("unasked_echoes", self.unasked),
            ("given_up", self.given_up),
            ("coalesced", self.coalesced),
        ]
    }
}
