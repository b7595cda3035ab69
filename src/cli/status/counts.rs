//! What drivers count beside requests: what was heard, and what of it was not used.

use serde_json::Value as Json;

use super::{ago, word};
use crate::cli::words::{count, harmless};

/// What a link has counted, in a line: `hall: 12,345 heard, 3 dropped; not used: 2 wrong key`. Nothing if
/// it counts nothing.
pub(super) fn of_link(link: &Json) -> Option<String> {
    let counted = in_words(&link["counts"]);
    let refused = in_words(&link["refused"]).map(|refused| format!("not used: {refused}"));
    let all: Vec<String> = [counted, refused].into_iter().flatten().collect();
    (!all.is_empty()).then(|| format!("{}: {}", word(&link["name"]), all.join("; ")))
}

/// What was not used of what a device sent, in a line of its own. Nothing if all was.
pub(super) fn of_device(device: &Json, now: u64) -> Option<String> {
    let refused = in_words(&device["refused"])?;
    let last = &device["last_refused"];
    let last = last["reason"].as_str().map(|why| format!("; last {} ago: {}", ago(&last["at"], now), harmless(why)));
    Some(format!("\n{}: not used: {refused}{}", word(&device["name"]), last.unwrap_or_default()))
}

/// `3 wrong key, 2 truncated`; nothing where all are none.
fn in_words(counts: &Json) -> Option<String> {
    let counts = counts.as_object()?.iter().filter_map(|(what, number)| Some((what, number.as_u64()?)));
    let words = counts.filter(|(_, number)| *number > 0);
    let words = words.map(|(what, number)| format!("{} {}", count(number), harmless(&what.replace('_', " "))));
    Some(words.collect::<Vec<_>>().join(", ")).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_link_that_listens_it_is_said_what_it_heard_and_what_it_could_not_use() {
        let counts = json!({ "heard": 12_345, "dropped": 0, "power_cycles": 2 });
        let link = json!({ "name": "hall", "counts": counts, "refused": { "wrong_key": 3 } });
        assert_eq!(of_link(&link).unwrap(), "hall: 12,345 heard, 2 power cycles; not used: 3 wrong key");
        assert_eq!(of_link(&json!({ "name": "bus", "counts": null, "refused": null })), None);
    }

    #[test]
    fn of_a_device_it_is_said_why_the_last_one_was_not_used() {
        let last = json!({ "at": 1000, "reason": "the key does not open it" });
        let device = json!({ "name": "fridge", "refused": { "wrong_key": 3, "unread": 1 }, "last_refused": last });
        let said = "\nfridge: not used: 3 wrong key, 1 unread; last 5 s ago: the key does not open it";
        assert_eq!(of_device(&device, 6000).as_deref(), Some(said));
        assert_eq!(of_device(&json!({ "name": "fridge", "refused": null }), 6000), None);
    }
}
