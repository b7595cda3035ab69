//! The window: what was published and is not yet acknowledged. Pure, no I/O.
//!
//! The client library numbers a publication only when it leaves, so a record passes through two
//! stages: handed over, in order and without a packet id; then sent, found by its packet id. The
//! library reports packet ids in the order the publications were handed to it.

use std::collections::{HashMap, VecDeque};

use crate::queue::LossId;

/// What a publication is, to whoever has to act on its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent<S> {
    /// A record of the queue.
    Record(S),
    /// The birth or death message of this session, which is in no queue.
    State,
    /// The report of a loss, which the queue's ledger keeps.
    Loss(LossId),
}

/// What was published and is not yet acknowledged.
#[derive(Debug)]
pub struct Window<S> {
    room: usize,
    handed_over: VecDeque<Sent<S>>,
    sent: HashMap<u16, Sent<S>>,
}

impl<S: Copy> Window<S> {
    /// An empty window for that many publications.
    pub fn new(room: usize) -> Self {
        Self { room, handed_over: VecDeque::new(), sent: HashMap::new() }
    }

    /// Changes for how many publications there is room. What is under way stays.
    pub fn resize(&mut self, room: usize) {
        self.room = room;
    }

    /// What is under way, in no order.
    pub fn under_way(&self) -> impl Iterator<Item = &Sent<S>> {
        self.handed_over.iter().chain(self.sent.values())
    }

    /// How many more may be handed over.
    pub fn room(&self) -> usize {
        self.room.saturating_sub(self.len())
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.handed_over.len() + self.sent.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A publication was given to the client.
    pub fn hand_over(&mut self, publication: Sent<S>) {
        self.handed_over.push_back(publication);
    }

    /// The oldest publication handed over left with that packet id. Id 0 is QoS 0: nothing will
    /// come back for it, so it is returned as done.
    pub fn sent_as(&mut self, id: u16) -> Option<Sent<S>> {
        let publication = self.handed_over.pop_front()?;
        if id == 0 {
            return Some(publication);
        }
        self.sent.insert(id, publication);
        None
    }

    /// The publication with that packet id was acknowledged. `None` for an id that is not under
    /// way, which a broker may send twice.
    pub fn acknowledged(&mut self, id: u16) -> Option<Sent<S>> {
        self.sent.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn acknowledgements_find_their_record_in_any_order() {
        let mut window = Window::new(3);
        for record in [10, 11, 12] {
            window.hand_over(Sent::Record(record));
        }
        assert_eq!(window.room(), 0);
        assert_eq!(window.sent_as(5), None);
        assert_eq!(window.sent_as(6), None);
        assert_eq!(window.acknowledged(6), Some(Sent::Record(11)));
        assert_eq!(window.acknowledged(6), None);
        assert_eq!(window.acknowledged(5), Some(Sent::Record(10)));
        assert_eq!(window.room(), 2);
        assert_eq!(window.sent_as(0), Some(Sent::Record(12)));
        assert!(window.is_empty());
    }

    proptest! {
        /// However sending and acknowledging interleave, every record comes out exactly once.
        #[test]
        fn every_record_comes_out_once(steps in proptest::collection::vec(0u8..3, 0..400)) {
            let mut window = Window::new(16);
            let (mut next_record, mut next_id) = (0u32, 1u16);
            let mut under_way = Vec::new();
            let mut out = Vec::new();
            for step in steps {
                match step {
                    0 if window.room() > 0 => {
                        window.hand_over(Sent::Record(next_record));
                        next_record += 1;
                    }
                    1 if !window.handed_over.is_empty() => {
                        prop_assert_eq!(window.sent_as(next_id), None);
                        under_way.push(next_id);
                        next_id += 1;
                    }
                    _ => {
                        if let Some(id) = under_way.pop()
                            && let Some(Sent::Record(record)) = window.acknowledged(id)
                        {
                            out.push(record);
                        }
                    }
                }
            }
            let still_there = window.len();
            prop_assert_eq!(out.len() + still_there, next_record as usize);
            out.sort_unstable();
            out.dedup();
            prop_assert_eq!(out.len() + still_there, next_record as usize);
        }
    }
}
