//! The bytes of packets.

/// Takes the properties of a publication off its front: how long it is worth something, and names
/// and values.
pub(super) fn properties(rest: &mut &[u8]) -> (Option<u32>, Vec<(String, String)>) {
    let text = |bytes: &mut &[u8]| {
        let (length, tail) = bytes.split_at(2);
        let (text, tail) = tail.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
        *bytes = tail;
        String::from_utf8(text.to_vec()).unwrap()
    };
    assert!(rest[0] < 0x80, "a gateway says little beside its messages");
    let (mut all, tail) = rest[1..].split_at(usize::from(rest[0]));
    *rest = tail;
    let (mut expires_in, mut named) = (None, Vec::new());
    while let Some((kind, tail)) = all.split_first() {
        all = tail;
        match kind {
            0x02 => {
                let (seconds, tail) = all.split_at(4);
                expires_in = Some(u32::from_be_bytes(seconds.try_into().unwrap()));
                all = tail;
            }
            0x09 => drop(text(&mut all)),
            0x26 => {
                let name = text(&mut all);
                named.push((name, text(&mut all)));
            }
            other => panic!("a gateway has no reason to send property {other:#x}"),
        }
    }
    (expires_in, named)
}

/// A packet with this first byte; all that the broker sends is short.
pub(super) fn frame(kind: u8, variable: &[u8]) -> Vec<u8> {
    let length = u8::try_from(variable.len()).ok().filter(|&length| length < 128);
    let mut packet = vec![kind, length.expect("a short packet")];
    packet.extend(variable);
    packet
}
