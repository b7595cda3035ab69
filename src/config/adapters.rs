//! Bluetooth adapters in the names of a site: each has one link.

use std::collections::HashMap;

use wharf_contract::settings::{Entry, Problem};

/// Two links that would listen with one adapter would stop each other's scans.
pub fn used_twice<'n>(links: impl Iterator<Item = (&'n Entry, String)>, problems: &mut Vec<Problem>) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for (link, path) in links {
        let adapter = link.value.get("adapter").filter(|adapter| !adapter.value.is_null());
        let key = adapter.and_then(|adapter| adapter.value.text()).unwrap_or_default().to_lowercase().replace('-', ":");
        let span = adapter.map_or(link.key_span, |adapter| adapter.value.span);
        match seen.get(&key) {
            Some(first) => {
                let message = match adapter {
                    Some(_) => format!("{first} has this adapter already"),
                    None => format!("{first} has the first adapter already, and this link names none"),
                };
                let mut problem = Problem::new(span, format!("{path}.adapter"), message);
                problem.help("one link listens with an adapter, to all devices; `bluetoothctl list` shows what adapters there are");
                problems.push(problem);
            }
            None => {
                seen.insert(key, path);
            }
        }
    }
}
