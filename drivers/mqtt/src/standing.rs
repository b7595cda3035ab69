//! Whether a device is there, by what was last said of it: by itself, and by the gateway it is heard through.
//! One voice that says no is enough; a yes takes all of them.

use wharf_contract::settings::node::clip;

use crate::config::Whose;
use crate::device::Available;

/// How many topics of one pattern may say something: as many gateways as may hear one device.
const MOST_TOPICS: usize = 16;

/// What was said of one device.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// By its place in `available`.
    voices: Vec<Voice>,
    /// Whether the device itself has said something since the link is up.
    is_heard: bool,
}

/// What was last said on the topics of one pattern; there is one, unless the pattern has a `+`.
#[derive(Clone, Debug, Default)]
struct Voice(Vec<(Box<str>, bool)>);

impl Voice {
    /// Of several gateways one is enough. `None`: nothing was said yet.
    fn says(&self) -> Option<bool> {
        (!self.0.is_empty()).then(|| self.0.iter().any(|(_, is_there)| *is_there))
    }
}

impl Standing {
    /// The device itself has said something: whoever said that it is gone was wrong, or is by now.
    pub fn hear(&mut self) {
        self.is_heard = true;
        self.voices.iter_mut().filter(|voice| voice.says() == Some(false)).for_each(|voice| voice.0.clear());
    }

    /// Notes what a topic says.
    ///
    /// # Errors
    /// Too many topics of that pattern have said something already: in words.
    pub fn note(&mut self, place: usize, topic: &str, is_there: bool) -> Result<(), String> {
        if self.voices.len() <= place {
            self.voices.resize_with(place + 1, Voice::default);
        }
        let Some(Voice(said)) = self.voices.get_mut(place) else { return Ok(()) };
        let has_room = said.len() < MOST_TOPICS;
        match said.iter_mut().find(|(known, _)| &**known == topic) {
            Some((_, known)) => *known = is_there,
            None if has_room => said.push((topic.into(), is_there)),
            None => {
                return Err(format!("{MOST_TOPICS} other topics say this already, so {} is not heard", clip(topic)));
            }
        }
        Ok(())
    }

    /// What follows of it: the device is gone, or there, or that is not known.
    pub fn verdict(&self, available: &[Available]) -> Option<bool> {
        let says = |place: usize| self.voices.get(place).and_then(Voice::says);
        let all = || available.iter().enumerate().map(|(place, available)| (available.of, says(place)));
        if all().any(|(_, says)| says == Some(false)) {
            return Some(false);
        }
        // A gateway that is there says nothing of the devices it may not have heard for a week.
        let speaks_for_itself = all().any(|(of, _)| of == Whose::Device);
        let all_agree = speaks_for_itself && all().all(|(_, says)| says == Some(true));
        (self.is_heard || all_agree).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Pattern;

    fn available(of: Whose) -> Available {
        let topic = Pattern::parse("t").unwrap();
        Available { topic, of, path: None, online: Vec::new(), offline: Vec::new() }
    }

    #[test]
    fn one_no_is_enough_and_a_yes_takes_all() {
        let both = [available(Whose::Device), available(Whose::Gateway)];
        let mut lamp = Standing::default();
        assert_eq!(lamp.verdict(&both), None);
        lamp.note(1, "bridge", true).unwrap();
        assert_eq!(lamp.verdict(&both), None, "the bridge alone says nothing of the lamp");
        lamp.note(0, "lamp", true).unwrap();
        assert_eq!(lamp.verdict(&both), Some(true));
        lamp.note(1, "bridge", false).unwrap();
        assert_eq!(lamp.verdict(&both), Some(false));
        lamp.note(0, "lamp", true).unwrap();
        assert_eq!(lamp.verdict(&both), Some(false));
        lamp.note(1, "bridge", true).unwrap();
        assert_eq!(lamp.verdict(&both), Some(true));
    }

    #[test]
    fn a_device_that_was_heard_needs_no_topic_that_says_nothing() {
        let both = [available(Whose::Device), available(Whose::Gateway)];
        let mut lamp = Standing::default();
        lamp.note(1, "bridge", false).unwrap();
        lamp.hear();
        assert_eq!(lamp.verdict(&both), Some(true), "what it says shows that it is there");
        lamp.note(1, "bridge", false).unwrap();
        assert_eq!(lamp.verdict(&both), Some(false));
        lamp.note(1, "bridge", true).unwrap();
        assert_eq!(lamp.verdict(&both), Some(true), "it is what it was before the bridge left");
    }

    #[test]
    fn of_several_gateways_one_is_enough_and_there_are_not_too_many() {
        let only = [available(Whose::Gateway)];
        let mut sensor = Standing::default();
        sensor.hear();
        sensor.note(0, "home/a/LWT", false).unwrap();
        assert_eq!(sensor.verdict(&only), Some(false));
        sensor.note(0, "home/b/LWT", true).unwrap();
        assert_eq!(sensor.verdict(&only), Some(true));
        for number in 2..MOST_TOPICS {
            sensor.note(0, &number.to_string(), false).unwrap();
        }
        assert!(sensor.note(0, "one too many", true).is_err());
        sensor.note(0, "home/b/LWT", false).unwrap();
        assert_eq!(sensor.verdict(&only), Some(false));
    }
}
