//! A sensor that speaks MQTT-SN over UDP. The messages are those of MQTT-SN 1.2, chapter 5.

use std::net::{SocketAddr, UdpSocket};

use super::{PATIENCE, free_port};

/// What is answered when all is well.
pub const ACCEPTED: u8 = 0;

/// A port of loopback for an MQTT-SN gateway.
pub fn free_field() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// A sensor. It knows topics by their predefined numbers only.
pub struct Sensor {
    socket: UdpSocket,
}

impl Sensor {
    /// One that has said nothing yet.
    pub fn at(field: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(field).unwrap();
        Self { socket }
    }

    /// One that is let in.
    pub fn connected(field: SocketAddr, id: &str) -> Self {
        let sensor = Self::at(field);
        assert_eq!(sensor.connect(id), ACCEPTED, "{id}");
        sensor
    }

    /// Asks to be let in with a clean session, and gives the code of the answer.
    pub fn connect(&self, id: &str) -> u8 {
        self.ask(0x04, id)
    }

    /// The same with the session it had.
    pub fn come_back(&self, id: &str) -> u8 {
        self.ask(0, id)
    }

    fn ask(&self, flags: u8, id: &str) -> u8 {
        self.say(&[&[0x04, flags, 1, 0, 60], id.as_bytes()].concat());
        self.answer(0x05)[0]
    }

    /// Publishes with QoS 1 and waits until that is acknowledged.
    pub fn publish(&self, topic: u8, payload: &str) {
        self.publish_with(0x21, topic, payload);
    }

    /// The same, saying that it repeats itself.
    pub fn repeat(&self, topic: u8, payload: &str) {
        self.publish_with(0xa1, topic, payload);
    }

    /// Always with the same message id.
    fn publish_with(&self, flags: u8, topic: u8, payload: &str) {
        self.say(&[&[0x0c, flags, 0, topic, 0, 5], payload.as_bytes()].concat());
        assert_eq!(self.answer(0x0d)[4], ACCEPTED);
    }

    /// Takes its leave.
    pub fn leave(&self) {
        self.say(&[0x18]);
        self.sent_away();
    }

    /// Subscribes with QoS 1, and gives the code of the answer.
    pub fn subscribe(&self, topic: u8) -> u8 {
        self.say(&[0x12, 0x21, 0, 6, 0, topic]);
        self.answer(0x13)[5]
    }

    /// What is delivered next, with QoS 1. It is acknowledged.
    pub fn delivered(&self) -> String {
        let publish = self.answer(0x0c);
        self.say(&[&[0x0d], &publish[1..5], &[ACCEPTED]].concat());
        String::from_utf8(publish[5..].to_vec()).unwrap()
    }

    /// Waits until it is told that it is not connected any more.
    pub fn sent_away(&self) {
        self.answer(0x18);
    }

    fn say(&self, message: &[u8]) {
        let length = u8::try_from(message.len() + 1).unwrap();
        self.socket.send(&[&[length], message].concat()).unwrap();
    }

    /// What follows the type of the next message of that type.
    fn answer(&self, kind: u8) -> Vec<u8> {
        loop {
            let mut buffer = [0; 256];
            let length = self.socket.recv(&mut buffer).expect("an answer");
            if buffer[1] == kind {
                return buffer[2..length].to_vec();
            }
        }
    }
}
