//! A site in a few words, for the first log line and for `wharf check`.

use super::Site;

impl Site {
    /// `gateway gw1: 2 links, 3 devices, 14 points; uplinks: central`
    pub fn summary(&self) -> String {
        let links = self.modbus.len()
            + self.ble.len()
            + self.mysensors.len()
            + self.lines.len()
            + self.mqtt.len()
            + self.mqttsn.len();
        let modbus = self.modbus.iter().flat_map(|(_, link)| link.devices.iter());
        let ble = self.ble.iter().flat_map(|(_, link)| link.devices.iter());
        let mysensors = self.mysensors.iter().flat_map(|(_, link)| link.devices.iter());
        let lines = self.lines.iter().flat_map(|(_, link)| link.devices.iter());
        let mqtt = self.mqtt.iter().flat_map(|(_, link)| link.devices.iter());
        let points: Vec<usize> = modbus
            .map(|(_, device)| device.points.len())
            .chain(ble.map(|(_, device)| device.points.len()))
            .chain(mysensors.map(|(_, device)| device.points.len()))
            .chain(lines.map(|(_, device)| device.points.len()))
            .chain(mqtt.map(|(_, device)| device.points.len()))
            .collect();
        let uplinks: Vec<&str> = self.uplinks.iter().map(|(name, _)| name.as_str()).collect();
        let uplinks = if uplinks.is_empty() { "no uplink".into() } else { format!("uplinks: {}", uplinks.join(", ")) };
        format!(
            "gateway {}: {}, {}, {}; {uplinks}",
            self.gateway,
            counted(links, "link"),
            counted(points.len(), "device"),
            counted(points.iter().sum(), "point"),
        )
    }
}

fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
