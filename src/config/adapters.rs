//! Bluetooth adapters in the names of a site: each has one link.

use std::collections::HashMap;

use wharf_contract::settings::{Entry, Problem};

/// Two links that would listen with one adapter would stop each other's scans.
pub fn used_twice<'n>(links: impl Iterator<Item = (&'n Entry, String)>, problems: &mut Vec<Problem>) {
    let mut seen: HashMap<String, String> = HashMap::new();
    // Of links without an adapter: the first.
    let mut nameless = None;
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
                if adapter.is_none() {
                    nameless = Some((span, path.clone()));
                }
                seen.insert(key, path);
            }
        }
    }
    // Which adapter is the first nobody knows here, and it may be another one after the next start.
    if let Some((span, path)) = nameless.filter(|_| seen.len() > 1) {
        let message = "this link names no adapter: the first may be one that another link has";
        let mut problem = Problem::warning(span, format!("{path}.adapter"), message);
        problem.help("`bluetoothctl list` shows what adapters there are; write the address of each");
        problems.push(problem);
    }
}
