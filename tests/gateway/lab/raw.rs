//! An MQTT client that says exactly what it is told to, right or wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::PATIENCE;

/// A connection to a broker.
pub struct Raw(TcpStream);

/// What comes from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A packet: its first byte, and what follows its length.
    Packet(u8, Vec<u8>),
    /// The end of the connection.
    End,
}

impl Raw {
    /// Connects, and says nothing yet.
    pub fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects and says hello with MQTT 3.1.1; the broker has to let it in. Whether there was a session.
    pub fn v3(port: u16, id: &str, clean: bool) -> (Self, bool) {
        let mut raw = Self::new(port);
        raw.say(&packet(0x10, &connect_v3(4, if clean { 2 } else { 0 }, 60, &[string(id)].concat())));
        match raw.hear() {
            Heard::Packet(0x20, body) if body[1] == 0 => (raw, body[0] == 1),
            other => panic!("{other:?} in answer to a CONNECT"),
        }
    }

    /// The same with MQTT 5, with these properties.
    pub fn v5(port: u16, id: &str, clean: bool, properties: &[u8]) -> (Self, bool) {
        let mut raw = Self::new(port);
        raw.say(&packet(0x10, &connect_v5(if clean { 2 } else { 0 }, 60, properties, &[string(id)].concat())));
        match raw.hear() {
            Heard::Packet(0x20, body) if body[1] == 0 => (raw, body[0] == 1),
            other => panic!("{other:?} in answer to a CONNECT"),
        }
    }

    /// Says that. Whether anyone is there to hear it is seen in what comes back.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// How long it waits from here on.
    pub fn waits(&self, patience: Duration) {
        self.0.set_read_timeout(Some(patience)).unwrap();
    }

    /// The next packet, or the end.
    pub fn hear(&mut self) -> Heard {
        self.try_hear().unwrap_or_else(|| panic!("the broker says nothing, and does not close the connection"))
    }

    /// The same; `None` if nothing comes for too long.
    pub fn try_hear(&mut self) -> Option<Heard> {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(1) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            _ => return Some(Heard::End),
        }
        let first = byte[0];
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            if self.0.read_exact(&mut byte).is_err() {
                return Some(Heard::End);
            }
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        Some(self.0.read_exact(&mut body).map_or(Heard::End, |()| Heard::Packet(first, body)))
    }

    /// The next packet has to be this one.
    pub fn hears(&mut self, first: u8, body: &[u8]) {
        assert_eq!(self.hear(), Heard::Packet(first, body.to_vec()));
    }

    /// Nothing more comes before the answer to a ping.
    pub fn hears_nothing(&mut self) {
        self.say(&[0xc0, 0]);
        self.hears(0xd0, &[]);
    }

    /// Breaks off.
    pub fn cut(self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A packet with its length.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

/// A number in one to four bytes, 7 bits each (section 1.5.5 of MQTT 5).
pub fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number > 0 { byte | 0x80 } else { byte });
        if number == 0 {
            return bytes;
        }
    }
}

/// A text with its length.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u16).to_be_bytes()[..], text].concat()
}

/// What stands in a CONNECT of MQTT 3.1.1.
pub fn connect_v3(level: u8, flags: u8, keep_alive: u16, payload: &[u8]) -> Vec<u8> {
    [&string("MQTT")[..], &[level, flags], &keep_alive.to_be_bytes(), payload].concat()
}

/// What stands in a CONNECT of MQTT 5.
pub fn connect_v5(flags: u8, keep_alive: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    connect_v3(5, flags, keep_alive, &[&varint(properties.len())[..], properties, payload].concat())
}
