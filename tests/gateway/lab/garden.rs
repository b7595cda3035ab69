//! A MySensors network of one node that counts: every line it tells is one more than the last.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use super::accept;

/// The network, before and after the gateway has connected to it.
pub struct Garden {
    listener: TcpListener,
    node: Option<TcpStream>,
    told: u64,
}

impl Garden {
    /// A network that waits for a gateway.
    pub fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), node: None, told: 0 }
    }

    /// What a site file says of it.
    pub fn settings(&self) -> String {
        format!("mysensors:\n  garden: {{ tcp: {} }}\n", self.listener.local_addr().unwrap())
    }

    /// Tells so many lines, and gives the number of the last one.
    pub fn tell(&mut self, lines: u64) -> u64 {
        let node = self.node.get_or_insert_with(|| accept(&self.listener));
        for _ in 0..lines {
            self.told += 1;
            writeln!(node, "2;1;1;0;24;{}", self.told).unwrap();
        }
        self.told
    }
}

/// Where the lines arrive.
pub const TOPIC: &str = "gw1-out/2/1/1/0/24";
