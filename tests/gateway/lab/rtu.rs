//! A Modbus RTU device on a serial line, in the test's own process. It has ten holding registers,
//! says what it is, and hears only what comes at its own speed.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use rustix::termios::tcgetattr;

use super::line::Line;

/// What register 3 holds.
pub const REGISTER_3: u16 = 0x1234;

/// The device at work. It ends when nobody has the line open any more.
pub struct Device {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// One that answers on the line from now on.
    pub fn start(line: &Line, unit: u8, baud: u32) -> Self {
        Self::answering(line, move |wire, request| {
            let answer = || with_crc([&[unit], answer_to(&request[1..request.len() - 2]).as_slice()].concat());
            is_for(wire, request, unit, baud).then(answer)
        })
    }

    /// One whose answers come as they look at the wrong speed.
    pub fn garbling(line: &Line) -> Self {
        Self::answering(line, |_, _| Some(vec![0xE0, 0x1C, 0xFC, 0x80, 0xFF, 0x00, 0xF8]))
    }

    fn answering(line: &Line, answer: impl Fn(&File, &[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let (mut wire, stopped) = (line.device(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut frame = [0; 256];
            while !stopped.load(Ordering::SeqCst) {
                // A request comes at once on such a line; an error while nobody has it open.
                let Ok(read) = wire.read(&mut frame) else {
                    sleep(Duration::from_millis(5));
                    continue;
                };
                if let Some(answer) = answer(&wire, &frame[..read]) {
                    let _ = wire.write_all(&answer);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn is_for(wire: &File, request: &[u8], unit: u8, baud: u32) -> bool {
    let speed = tcgetattr(wire).map(|set| set.output_speed()).unwrap_or_default();
    request.len() >= 4
        && request[0] == unit
        && speed == baud
        && with_crc(request[..request.len() - 2].to_vec()) == request
}

fn answer_to(pdu: &[u8]) -> Vec<u8> {
    match *pdu {
        [3, 0, start, 0, count] if start + count <= 10 => {
            let value = |at: u8| if at == 3 { REGISTER_3 } else { u16::from(at) };
            let words = (start..start + count).flat_map(|at| value(at).to_be_bytes());
            [3, count * 2].into_iter().chain(words).collect()
        }
        // Basic identification, all of it in one answer.
        [43, 14, 1, 0] => [&[43, 14, 1, 1, 0, 0, 1, 0, 6][..], b"Anchor"].concat(),
        [43, ..] | [3, ..] => vec![pdu[0] | 0x80, 2],
        [function, ..] => vec![function | 0x80, 1],
        [] => Vec::new(),
    }
}

/// The frame with its checksum: Modbus over serial line 1.02, 6.2.2.
fn with_crc(mut frame: Vec<u8>) -> Vec<u8> {
    let crc = frame.iter().fold(0xFFFF_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 })
    });
    frame.extend(crc.to_le_bytes());
    frame
}
