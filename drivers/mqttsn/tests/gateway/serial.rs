//! Over a serial line, with both ways of telling messages apart.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_serial::{SerialPort, SerialStream};
use wharf_mqttsn::config::Framing;
use wharf_mqttsn::field::frames::{Frames, framed};
use wharf_mqttsn::message::{Message, Qos, Return, Topic};

use crate::lab::{Gateway, Mosquitto, PATIENCE, connect, free_address, publish};

/// The far end of the line.
struct Board {
    port: SerialStream,
    frames: Frames,
    framing: Framing,
    complete: std::collections::VecDeque<Vec<u8>>,
}

impl Board {
    async fn say(&mut self, message: &Message) {
        self.port.write_all(&framed(self.framing, &message.write().unwrap())).await.unwrap();
    }

    async fn hears(&mut self, expected: &Message) {
        let mut buffer = [0; 256];
        while self.complete.is_empty() {
            let length = timeout(PATIENCE, self.port.read(&mut buffer)).await.expect("an answer").unwrap();
            self.complete.extend(self.frames.push(&buffer[..length]));
        }
        assert_eq!(Message::read(&self.complete.pop_front().unwrap()).as_ref(), Ok(expected));
    }
}

#[tokio::test]
async fn a_board_on_a_serial_line_is_a_client_and_noise_is_overcome() {
    let broker = Mosquitto::start().await;
    let mut watcher = broker.listen("#").await;
    for framing in [Framing::Plain, Framing::Hdlc] {
        let (board, gateways) = SerialStream::pair().unwrap();
        let path = gateways.name().unwrap();
        drop(gateways);
        let settings = json!({ "serial": path, "framing": framing.as_str(), "gateway_id": 3, "advertise": "1m" });
        let gateway = Gateway::run(&broker, settings, free_address()).await;
        let (frames, complete) = (Frames::new(framing), Default::default());
        let mut board = Board { port: board, frames, framing, complete };
        board.hears(&Message::Advertise { gateway: 3, duration: 60 }).await;
        board.say(&connect("board", true)).await;
        board.hears(&Message::ConnAck(Return::Accepted)).await;
        // Half a message, and then nothing for a while.
        board.port.write_all(&[0x7E, 30, 0x0C, 1, 2]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        board.say(&publish(Qos::AtLeastOnce, Topic::Short(*b"t1"), 1, framing.as_str())).await;
        board.hears(&Message::PubAck { topic: 0x7431, id: 1, code: Return::Accepted }).await;
        assert_eq!(watcher.next().await, format!("t1 1 0 {framing}"));
        assert_eq!(gateway.count("line_broken") + gateway.count("line_checksum"), 1);
        gateway.stop().await;
    }
}
