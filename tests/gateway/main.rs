//! The gateway as its users have it: the real binary, a real Mosquitto, real sockets and ptys.
//!
//! Each test starts its own Mosquitto on its own port and its own gateway in its own folder, so
//! they run side by side. Nothing leaves loopback.

#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is the assertion")]

mod lab;

#[cfg(feature = "ble")]
mod ble;
#[cfg(feature = "ble")]
mod ble_soak;
mod bounds;
mod bridge;
mod broker_alike;
mod broker_audit;
mod broker_clients;
mod broker_doors;
mod broker_floods;
mod broker_flow;
mod broker_kept;
mod broker_log;
mod broker_topics;
mod broker_wire;
mod commands;
mod controllers;
mod demo;
mod depth;
mod failover;
mod faults;
mod field;
mod firmware;
mod flood_beside;
mod lines;
mod local;
mod modbus;
mod mqtt_devices;
mod mqttsn;
mod mysensors;
mod mysensors_network;
mod noise;
mod outage;
mod passwd;
mod power_cut;
mod queue_command;
mod refusals;
mod relay;
mod renewal;
mod replay;
mod restart;
mod site_outage;
mod sleepers;
mod slow;
mod start_stop;
mod status;
mod tls;
mod uplinks;
mod users;
mod websocket;
mod writes;
