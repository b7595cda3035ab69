//! One connection, from CONNECT to its end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use super::wire::{frame, properties};
use super::{Acks, Close, Command, Connect, Publish, Script, Session, State, lock};

/// The connection has ended, or is to end.
struct Ended;

pub(super) struct Conversation<'s> {
    stream: TcpStream,
    state: &'s Mutex<State>,
    script: Script,
    v5: bool,
    waiting: Vec<usize>,
}

impl<'s> Conversation<'s> {
    pub(super) fn hold(stream: TcpStream, state: &'s Mutex<State>) {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut this = Self { stream, state, script: Script::default(), v5: false, waiting: Vec::new() };
        let began = lock(state).connects.len();
        while this.turn().is_ok() {}
        let mut state = lock(state);
        state.cut = false;
        if let Some(connect) = state.connects.get_mut(began) {
            connect.ended = true;
        }
    }

    /// Does what the test asks for, then what the next packet asks for.
    fn turn(&mut self) -> Result<(), Ended> {
        let commands = {
            let mut state = lock(self.state);
            if state.stop || state.cut {
                return Err(Ended);
            }
            let connected = state.connects.last().is_some_and(|connect| !connect.ended);
            if connected { std::mem::take(&mut state.to_send) } else { Vec::new() }
        };
        for command in commands {
            let packet = self.encode(&command);
            self.write(&packet)?;
        }
        if self.script.acks == Acks::Held {
            self.ack_released()?;
        }
        match self.packet()? {
            Some((kind, body)) => self.obey(kind, &body),
            None if self.script.acks == Acks::Reversed => self.ack_waiting(true),
            None => Ok(()),
        }
    }

    fn obey(&mut self, kind: u8, body: &[u8]) -> Result<(), Ended> {
        match kind >> 4 {
            1 => self.connect(body),
            3 => self.publication(kind, body),
            4 => {
                self.seen(|connect| connect.commands_acked.push(u16::from_be_bytes([body[0], body[1]])));
                Ok(())
            }
            8 => self.subscribe(body),
            12 if self.script.deaf_to_pings => Ok(()),
            12 => self.write(&[0xd0, 0]),
            14 => Err(Ended),
            other => panic!("a gateway has no reason to send packet type {other}"),
        }
    }

    fn connect(&mut self, body: &[u8]) -> Result<(), Ended> {
        self.v5 = body[6] == 5;
        let clean = body[7] & 2 != 0;
        let will = (body[7] >> 3 & 3, body[7] & 0x20 != 0);
        let mut state = lock(self.state);
        let throw_away = clean && !self.v5 && state.scripts.front().is_none_or(|script| script.refuse.is_none());
        self.script = if throw_away { Script::default() } else { state.scripts.pop_front().unwrap_or(state.for_ever) };
        let script = self.script;
        if clean || script.session != Session::Honest {
            state.session = None;
            state.kept.clear();
        }
        let session_present = state.session.is_some() || script.session == Session::Claimed;
        let refused = script.refuse.is_some() || script.mute;
        state.connects.push(Connect { clean, will, session_present, ..Connect::default() });
        let kept = if refused { Vec::new() } else { std::mem::take(&mut state.kept) };
        if !refused {
            // 3.1.1 has one flag for "forget" and "keep nothing".
            let keeps = self.v5 || !clean;
            state.session = keeps.then(|| state.session.unwrap_or(false));
        }
        drop(state);
        if script.mute {
            return Ok(());
        }
        let code = script.refuse.unwrap_or(0);
        let mut variable = vec![u8::from(session_present && code == 0), code];
        if self.v5 {
            let mut properties = Vec::new();
            if let Some(most) = script.receive_maximum {
                properties.push(0x21);
                properties.extend(most.to_be_bytes());
            }
            if let Some(most) = script.maximum_packet_size {
                properties.push(0x27);
                properties.extend(most.to_be_bytes());
            }
            properties.extend(script.maximum_qos.into_iter().flat_map(|most| [0x24, most]));
            properties.extend(script.no_retain.then_some([0x25, 0]).into_iter().flatten());
            variable.push(u8::try_from(properties.len()).unwrap());
            variable.extend(properties);
        }
        let mut packet = frame(0x20, &variable);
        for command in &kept {
            packet.extend(self.encode(command));
        }
        packet.extend(script.garbage.unwrap_or_default());
        self.write(&packet)?;
        if code == 0 { Ok(()) } else { Err(Ended) }
    }

    fn subscribe(&mut self, body: &[u8]) -> Result<(), Ended> {
        self.seen(|connect| connect.subscribes += 1);
        if self.script.close == Close::OnSubscribe {
            return Err(Ended);
        }
        let code = if self.script.refuse_subscription { 0x80 } else { 1 };
        if code == 1
            && let Some(subscribed) = &mut lock(self.state).session
        {
            *subscribed = true;
        }
        let mut variable = vec![body[0], body[1]];
        variable.extend(self.v5.then_some(0));
        variable.push(code);
        self.write(&frame(0x90, &variable))
    }

    fn publication(&mut self, kind: u8, body: &[u8]) -> Result<(), Ended> {
        let qos = kind >> 1 & 3;
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, mut rest) = body[2..].split_at(length);
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let (expires_in, properties) = if self.v5 { properties(&mut rest) } else { (None, Vec::new()) };
        let publish = Publish {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            payload: String::from_utf8(rest.to_vec()).unwrap(),
            qos,
            retain: kind & 1 != 0,
            expires_in,
            properties,
            refused: None,
            acked: qos == 0,
            id,
        };
        if matches!(self.script.close, Close::AtTopic(poison) if poison == publish.topic) {
            self.seen(|connect| connect.publishes.push(publish));
            return self.close();
        }
        let number = self.seen(|connect| {
            connect.publishes.push(publish);
            let under_way = connect.publishes.iter().filter(|publish| !publish.acked).count();
            connect.most_in_flight = connect.most_in_flight.max(under_way);
            connect.publishes.len()
        });
        if self.script.close == Close::Deaf(number) {
            while !lock(self.state).stop && !lock(self.state).cut {
                sleep(Duration::from_millis(5));
            }
            return Err(Ended);
        }
        if qos == 0 {
            return Ok(());
        }
        match self.script.acks {
            Acks::AtOnce => self.ack(number - 1)?,
            Acks::AllBut(missing) if missing != number => self.ack(number - 1)?,
            Acks::First(most) if number <= most => self.ack(number - 1)?,
            Acks::AllBut(_) | Acks::First(_) => {}
            Acks::Held | Acks::Reversed => self.waiting.push(number - 1),
        }
        if self.script.close == Close::After(number) { self.close() } else { Ok(()) }
    }

    /// Closes the connection, perhaps with a word.
    fn close(&mut self) -> Result<(), Ended> {
        if let Some(reason) = self.script.goodbye {
            self.write(&[0xe0, 2, reason, 0])?;
            // Until the client has read it: what is unread here would take the word back.
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
            while self.packet().is_ok() && !lock(self.state).stop {}
        }
        Err(Ended)
    }

    fn ack_released(&mut self) -> Result<(), Ended> {
        let mut state = lock(self.state);
        let count = self.waiting.len().min(state.released);
        if state.released != usize::MAX {
            state.released -= count;
        }
        drop(state);
        let released: Vec<usize> = self.waiting.drain(..count).collect();
        released.into_iter().try_for_each(|index| self.ack(index))
    }

    fn ack_waiting(&mut self, reversed: bool) -> Result<(), Ended> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if reversed {
            waiting.reverse();
        }
        waiting.into_iter().try_for_each(|index| self.ack(index))
    }

    fn ack(&mut self, index: usize) -> Result<(), Ended> {
        let script = self.script;
        let (id, refused) = self.seen(|connect| {
            let topic = &connect.publishes[index].topic;
            let before = connect.publishes[..index].iter().filter(|known| known.topic == *topic).count();
            let by_topic = script.refuse_topic.filter(|(refused, _, most)| refused == topic && before < *most);
            let by_number = script.refuse_every.filter(|(every, _)| (index + 1).is_multiple_of(*every));
            let publish = &mut connect.publishes[index];
            publish.acked = true;
            publish.refused = by_topic.map(|(_, reason, _)| reason).or(by_number.map(|(_, reason)| reason));
            (publish.id, publish.refused)
        });
        let [high, low] = id.to_be_bytes();
        match refused {
            Some(reason) => self.write(&[0x40, 3, high, low, reason]),
            None => self.write(&[0x40, 2, high, low]),
        }
    }

    /// The next packet, read no further than to its end; `None` when nothing comes for a moment.
    fn packet(&mut self) -> Result<Option<(u8, Vec<u8>)>, Ended> {
        let mut first = [0];
        match self.stream.read(&mut first) {
            Ok(1) => {}
            Ok(_) => return Err(Ended),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(_) => return Err(Ended),
        }
        let (mut length, mut shift, mut header) = (0, 0, 1);
        loop {
            let byte = self.read(1)?[0];
            header += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if first[0] >> 4 == 3 {
            let number = self.seen(|connect| {
                connect.longest_packet = connect.longest_packet.max(header + length);
                connect.publishes.len() + 1
            });
            if self.script.close == Close::Inside(number) {
                self.read(length / 2)?;
                return Err(Ended);
            }
        }
        Ok(Some((first[0], self.read(length)?)))
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>, Ended> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(Ended),
                Ok(read) => filled += read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if lock(self.state).stop {
                        return Err(Ended);
                    }
                }
                Err(_) => return Err(Ended),
            }
        }
        Ok(bytes)
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), Ended> {
        self.stream.write_all(packet).map_err(|_| Ended)
    }

    /// Notes something about this connection.
    fn seen<T>(&self, note: impl FnOnce(&mut Connect) -> T) -> T {
        note(lock(self.state).connects.last_mut().expect("a client begins with CONNECT"))
    }

    fn encode(&self, command: &Command) -> Vec<u8> {
        let mut variable = u16::try_from(command.topic.len()).unwrap().to_be_bytes().to_vec();
        variable.extend(command.topic.as_bytes());
        variable.extend(command.id.to_be_bytes());
        variable.extend(self.v5.then_some(0));
        variable.extend(command.payload.as_bytes());
        frame(0x32 | u8::from(command.duplicate) << 3 | u8::from(command.retained), &variable)
    }
}
