//! What was sent to a client above QoS 0 and is not done with yet.
//!
//! Packet ids go round, so an id says where its message stands in the order of sending: the window is a ring, and
//! finding a message is one subtraction. A message that is done with leaves a gap, which goes when everything before
//! it is done with too. A client that leaves one message open while it acknowledges [`SPAN`] windows of later ones gets
//! no more until it answers for that one.

use std::collections::VecDeque;

use crate::broker::publication::Qos;
use crate::broker::saved::Stage;

use super::outbox::{Item, Tally};

/// How far apart the oldest and the newest may be, in windows.
const SPAN: usize = 16;
/// The room that is kept while nothing is under way, in messages.
const ROOM: usize = 256;
/// Packet ids go from 1 to that, and then begin again.
const LAST_ID: u32 = 65_535;

/// The window.
#[derive(Debug)]
pub struct Window {
    entries: VecDeque<Option<Entry>>,
    /// The id of the first entry; of the next one to come, if there is none.
    first: u16,
    count: usize,
    bytes: usize,
    /// How many of the entries, from the front, this connection knows of.
    resumed: usize,
    /// How many messages the client has not done with, as far as this connection goes.
    under_way: usize,
}

#[derive(Debug)]
struct Entry {
    /// `None`: it was [dropped](Window::drop_oldest), and the client may still answer for it.
    item: Option<Item>,
    /// Whether it takes one of the places the client granted on this connection.
    takes_a_place: bool,
}

/// What a client says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// PUBACK.
    Taken,
    /// PUBREC.
    Received,
    /// PUBREC with a reason for which it would not take it.
    Refused,
    /// PUBCOMP.
    Complete,
}

/// What comes of it.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing was sent with that id, or it is not done with.
    Unknown,
    /// That is no answer to what was sent with that id.
    Wrong,
    /// The client got it, and is to be told that the id is released.
    Released(u64),
    /// The client got it, said so again, and is to be told again.
    ReleasedAgain,
    /// It is done with.
    Done(Box<Item>),
}

impl Default for Window {
    fn default() -> Self {
        Self { entries: VecDeque::new(), first: 1, count: 0, bytes: 0, resumed: 0, under_way: 0 }
    }
}

impl Window {
    /// How many messages are not done with.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.count
    }

    /// What they count for, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more may be sent: to a client that takes `quota` at once and `limit` bytes.
    pub fn has_room(&self, quota: usize, limit: usize) -> bool {
        self.under_way < quota
            && self.entries.len() < (quota * SPAN).min(LAST_ID as usize / 2)
            && (self.count == 0 || self.bytes < limit)
    }

    /// One more is sent. Its packet id.
    pub fn send(&mut self, mut item: Item, tally: &mut Tally) -> u16 {
        let id = after(self.first, self.entries.len());
        item.waiting.stage = Stage::Sent(id);
        self.bytes += item.weight();
        tally.add(&item);
        self.count += 1;
        self.under_way += 1;
        self.entries.push_back(Some(Entry { item: Some(item), takes_a_place: true }));
        self.resumed = self.entries.len();
        id
    }

    /// The client said something.
    pub fn hear(&mut self, id: u16, said: Said, tally: &mut Tally) -> Outcome {
        let Some(at) = self.position(id) else { return Outcome::Unknown };
        let Some(entry) = self.entries.get_mut(at).and_then(Option::as_mut) else { return Outcome::Unknown };
        let Some(item) = entry.item.as_mut() else {
            // What was dropped keeps its place until the client's last word on it.
            if said != Said::Received {
                self.take(at, tally);
            }
            return Outcome::Unknown;
        };
        let waiting = &mut item.waiting;
        match (said, waiting.qos, waiting.stage) {
            (Said::Taken, Qos::AtLeastOnce, _)
            | (Said::Refused, Qos::ExactlyOnce, Stage::Sent(_))
            | (Said::Complete, Qos::ExactlyOnce, Stage::Released(_)) => {
                self.take(at, tally).map_or(Outcome::Unknown, |item| Outcome::Done(Box::new(item)))
            }
            (Said::Received, Qos::ExactlyOnce, Stage::Released(_)) => Outcome::ReleasedAgain,
            (Said::Received, Qos::ExactlyOnce, _) => {
                waiting.stage = Stage::Released(id);
                Outcome::Released(waiting.number)
            }
            // A broker that was restored may be a step behind its client.
            (Said::Refused | Said::Complete, Qos::ExactlyOnce, _) => Outcome::Unknown,
            _ => Outcome::Wrong,
        }
    }

    /// A new connection knows of nothing that was sent.
    pub fn resume(&mut self) {
        self.resumed = 0;
        self.under_way = 0;
        for place in &mut self.entries {
            // Nobody answers any more for what was dropped.
            place.take_if(|entry| entry.item.is_none());
            place.iter_mut().for_each(|entry| entry.takes_a_place = false);
        }
        self.close_up();
    }

    /// Whether there is something a new connection has not been told of yet.
    pub fn is_resuming(&self) -> bool {
        self.resumed < self.entries.len()
    }

    /// What it is to be told of next, if the client takes `quota` at once: in the order in which it was sent.
    pub fn next_again(&mut self, quota: usize) -> Option<&Item> {
        let is_gone = |place: &Option<Entry>| place.as_ref().is_none_or(|entry| entry.item.is_none());
        while self.entries.get(self.resumed).is_some_and(is_gone) {
            self.resumed += 1;
        }
        let entry = self.entries.get_mut(self.resumed).and_then(Option::as_mut)?;
        let item = entry.item.as_ref()?;
        if let Stage::Sent(_) = item.waiting.stage {
            if self.under_way >= quota {
                return None;
            }
            entry.takes_a_place = true;
            self.under_way += 1;
        }
        self.resumed += 1;
        Some(item)
    }

    /// Takes one out that is not to be sent again.
    pub fn forget(&mut self, id: u16, tally: &mut Tally) -> Option<Item> {
        self.position(id).and_then(|at| self.take(at, tally))
    }

    /// Takes the oldest out to make room for others. A client that is there has been sent it and may answer, so
    /// for such a one its id and its place stay taken until then.
    pub fn drop_oldest(&mut self, is_there: bool, tally: &mut Tally) -> Option<Item> {
        let has_item = |place: &Option<Entry>| place.as_ref().is_some_and(|entry| entry.item.is_some());
        let at = self.entries.iter().position(has_item)?;
        let entry = self.entries.get_mut(at).and_then(Option::as_mut)?;
        if !is_there || !entry.takes_a_place {
            return self.take(at, tally);
        }
        let item = entry.item.take()?;
        self.uncount(&item, tally);
        Some(item)
    }

    /// Takes out what does not stay.
    pub fn take_unless(&mut self, tally: &mut Tally, stays: impl Fn(&Item) -> bool) -> Vec<Item> {
        let goes: Vec<u16> = self.iter().filter(|item| !stays(item)).filter_map(id_of).collect();
        goes.into_iter().filter_map(|id| self.forget(id, tally)).collect()
    }

    /// Everything that is not done with, in the order in which it was sent.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.entries.iter().flatten().filter_map(|entry| entry.item.as_ref())
    }

    /// Takes in what an earlier run had sent. What does not fit together is given back, to be sent anew.
    pub fn restore(&mut self, mut items: Vec<Item>, tally: &mut Tally) -> Vec<Item> {
        items.sort_by_key(|item| id_of(item).unwrap_or(0));
        // The ids went round: the oldest comes after the widest gap.
        let ids: Vec<u32> = items.iter().filter_map(id_of).map(u32::from).collect();
        let gap_before = |at: usize| {
            let before = at.checked_sub(1).unwrap_or(ids.len().saturating_sub(1));
            match (ids.get(before), ids.get(at)) {
                (Some(before), Some(at)) => (at + LAST_ID - before) % LAST_ID,
                _ => 0,
            }
        };
        if let Some(oldest) = (0..ids.len()).rev().max_by_key(|at| gap_before(*at)).filter(|_| ids.len() == items.len())
        {
            items.rotate_left(oldest);
        }
        let mut left = Vec::new();
        for item in items {
            let Some(id) = id_of(&item).filter(|id| *id != 0) else {
                left.push(item);
                continue;
            };
            if self.entries.is_empty() {
                self.first = id;
            }
            let at = distance(self.first, id);
            if at < self.entries.len() || at > LAST_ID as usize / 2 {
                left.push(item);
                continue;
            }
            self.entries.resize_with(at, || None);
            self.bytes += item.weight();
            tally.add(&item);
            self.count += 1;
            self.entries.push_back(Some(Entry { item: Some(item), takes_a_place: false }));
        }
        left
    }

    fn position(&self, id: u16) -> Option<usize> {
        Some(distance(self.first, id)).filter(|at| id != 0 && *at < self.entries.len())
    }

    fn take(&mut self, at: usize, tally: &mut Tally) -> Option<Item> {
        let Entry { item, takes_a_place } = self.entries.get_mut(at)?.take()?;
        self.under_way = self.under_way.saturating_sub(usize::from(takes_a_place));
        if let Some(item) = &item {
            self.uncount(item, tally);
        }
        self.close_up();
        item
    }

    fn uncount(&mut self, item: &Item, tally: &mut Tally) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(item.weight());
        tally.sub(item);
    }

    /// Removes the gaps before everything else.
    fn close_up(&mut self) {
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first = after(self.first, 1);
            self.resumed = self.resumed.saturating_sub(1);
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(ROOM);
        }
    }
}

fn id_of(item: &Item) -> Option<u16> {
    match item.waiting.stage {
        Stage::Waiting => None,
        Stage::Sent(id) | Stage::Released(id) => Some(id),
    }
}

/// The id that many places further on.
fn after(id: u16, places: usize) -> u16 {
    let from_zero = (u32::from(id) + LAST_ID - 1 + (places as u32 % LAST_ID)) % LAST_ID;
    from_zero as u16 + 1
}

/// How many places further on an id is.
fn distance(from: u16, to: u16) -> usize {
    ((u32::from(to) + LAST_ID - u32::from(from)) % LAST_ID) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::broker::publication::Publication;
    use crate::broker::saved::Waiting;

    use super::*;

    fn item(number: u64, qos: Qos, stage: Stage) -> Item {
        let publication = Arc::new(Publication::new("a", "1"));
        Item {
            waiting: Waiting { number, publication, qos, retain: false, subscriptions: Vec::new(), stage },
            group: 0,
        }
    }

    fn sent(window: &mut Window, tally: &mut Tally, number: u64) -> u16 {
        window.send(item(number, Qos::AtLeastOnce, Stage::Waiting), tally)
    }

    #[test]
    fn packet_ids_go_round_and_none_is_zero_or_given_twice() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        for number in 0..200_000 {
            let id = sent(&mut window, &mut tally, number);
            assert_eq!(u64::from(id), number % 65_535 + 1);
            assert!(matches!(window.hear(id, Said::Taken, &mut tally), Outcome::Done(_)));
            assert!(matches!(window.hear(id, Said::Taken, &mut tally), Outcome::Unknown));
        }
        assert_eq!((window.len(), window.bytes(), tally.messages(), tally.bytes()), (0, 0, 0, 0));
    }

    #[test]
    fn a_message_that_stays_open_stops_the_window_sixteen_windows_later() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        let open = sent(&mut window, &mut tally, 0);
        let mut more = 0;
        while window.has_room(10, 1 << 20) {
            more += 1;
            let id = sent(&mut window, &mut tally, more);
            window.hear(id, Said::Taken, &mut tally);
        }
        assert_eq!(more, 159);
        window.hear(open, Said::Taken, &mut tally);
        assert!(window.has_room(10, 1 << 20));
        assert_eq!(window.entries.len(), 0);
    }

    #[test]
    fn what_is_dropped_keeps_its_place_until_the_client_answers_or_comes_anew() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        let ids: Vec<u16> = (0..2).map(|number| sent(&mut window, &mut tally, number)).collect();
        assert_eq!(window.drop_oldest(true, &mut tally).map(|item| item.waiting.number), Some(0));
        assert_eq!((window.len(), tally.messages(), window.has_room(2, 1 << 20)), (1, 1, false));
        assert!(matches!(window.hear(ids[0], Said::Taken, &mut tally), Outcome::Unknown));
        assert!(window.has_room(2, 1 << 20));
        assert!(window.drop_oldest(true, &mut tally).is_some());
        window.resume();
        assert!(!window.is_resuming() && window.has_room(1, 1 << 20));
        assert_eq!((window.entries.len(), window.bytes(), tally.bytes()), (0, 0, 0));
    }

    #[test]
    fn what_is_dropped_half_way_through_qos_2_is_brought_to_its_end() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        let id = window.send(item(0, Qos::ExactlyOnce, Stage::Waiting), &mut tally);
        window.drop_oldest(true, &mut tally);
        assert!(matches!(window.hear(id, Said::Received, &mut tally), Outcome::Unknown));
        assert!(!window.has_room(1, 1 << 20), "its id is not released yet");
        assert!(matches!(window.hear(id, Said::Complete, &mut tally), Outcome::Unknown));
        assert_eq!(window.entries.len(), 0);
    }

    #[test]
    fn what_was_sent_is_said_again_in_order_and_no_more_than_the_client_takes() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        let ids: Vec<u16> = (0..5).map(|number| sent(&mut window, &mut tally, number)).collect();
        window.hear(ids[1], Said::Taken, &mut tally);
        window.resume();
        let mut again = Vec::new();
        while let Some(item) = window.next_again(3) {
            again.push(item.waiting.number);
        }
        assert_eq!(again, [0, 2, 3]);
        assert!(window.is_resuming());
        window.hear(ids[0], Said::Taken, &mut tally);
        assert_eq!(window.next_again(3).map(|item| item.waiting.number), Some(4));
        assert!(!window.is_resuming());
    }

    #[test]
    fn what_an_earlier_run_had_sent_keeps_its_order_and_its_ids() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        let given = [2u16, 65_534, 1, 65_535, 65_530].map(|id| item(0, Qos::AtLeastOnce, Stage::Sent(id)));
        assert!(window.restore(given.into(), &mut tally).is_empty());
        let ids: Vec<_> = window.iter().filter_map(id_of).collect();
        assert_eq!(ids, [65_530, 65_534, 65_535, 1, 2]);
        window.resume();
        assert!(matches!(window.hear(65_534, Said::Taken, &mut tally), Outcome::Done(_)));
        assert!(matches!(window.hear(65_533, Said::Taken, &mut tally), Outcome::Unknown));
        assert_eq!(sent(&mut window, &mut tally, 9), 3);
    }

    #[test]
    fn what_cannot_have_been_sent_like_that_is_sent_anew() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        let given = [7u16, 7, 0].map(|id| item(0, Qos::AtLeastOnce, Stage::Sent(id)));
        assert_eq!(window.restore(given.into(), &mut tally).len(), 2);
        assert_eq!((window.len(), tally.messages()), (1, 1));
    }

    #[test]
    fn an_answer_to_another_question_is_wrong() {
        let (mut window, mut tally) = (Window::default(), Tally::default());
        let once = sent(&mut window, &mut tally, 0);
        let twice = window.send(item(1, Qos::ExactlyOnce, Stage::Waiting), &mut tally);
        assert!(matches!(window.hear(once, Said::Received, &mut tally), Outcome::Wrong));
        assert!(matches!(window.hear(once, Said::Complete, &mut tally), Outcome::Wrong));
        assert!(matches!(window.hear(twice, Said::Taken, &mut tally), Outcome::Wrong));
        assert!(matches!(window.hear(twice, Said::Complete, &mut tally), Outcome::Unknown));
        assert!(matches!(window.hear(twice, Said::Received, &mut tally), Outcome::Released(1)));
        assert!(matches!(window.hear(twice, Said::Received, &mut tally), Outcome::ReleasedAgain));
        assert!(matches!(window.hear(twice, Said::Complete, &mut tally), Outcome::Done(_)));
    }
}
