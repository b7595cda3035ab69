//! What waits for one client, and what everybody's waiting messages come to.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::broker::publication::{Publication, Qos};
use crate::broker::saved::Waiting;

/// The room that is kept while nothing waits, in messages.
const ROOM: usize = 256;

/// What a message takes for each client it waits for, beside itself, in bytes; and for each number of a
/// subscription of that client.
const PLACE: usize = 64;
const NUMBER: usize = 8;

/// A message for one client.
#[derive(Debug)]
pub struct Item {
    /// The message, and how far it is.
    pub waiting: Waiting,
    /// The number of the group whose member this client is for it; 0 if it is for the client alone.
    pub group: u32,
}

impl Item {
    /// What it counts for, in bytes.
    pub fn weight(&self) -> usize {
        weight(&self.waiting.publication, self.waiting.subscriptions.len())
    }

    /// What it counts for beside its publication, in bytes.
    fn place(&self) -> usize {
        PLACE + NUMBER * self.waiting.subscriptions.len()
    }
}

/// What a message counts for in the outbox of a client with so many subscriptions with a number to it, in bytes.
pub fn weight(publication: &Publication, subscriptions: usize) -> usize {
    publication.weight() + NUMBER * subscriptions
}

/// What waits for all clients together, in their outboxes and in their windows. A message that waits for several of
/// them is there once, and counts once.
#[derive(Debug, Default)]
pub struct Tally {
    messages: usize,
    bytes: usize,
    /// For how many clients each publication waits, by where it is in memory.
    shared: HashMap<usize, u32>,
}

impl Tally {
    /// For how many clients messages wait, all together.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// What they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What one more client takes for which a message waits, by so many subscriptions with a number, in bytes.
    pub fn cost(&self, publication: &Arc<Publication>, subscriptions: usize) -> usize {
        PLACE
            + NUMBER * subscriptions
            + if self.shared.contains_key(&address(publication)) { 0 } else { publication.weight() }
    }

    /// One more.
    pub fn add(&mut self, item: &Item) {
        let publication = &item.waiting.publication;
        self.messages += 1;
        self.bytes += self.cost(publication, item.waiting.subscriptions.len());
        *self.shared.entry(address(publication)).or_default() += 1;
    }

    /// One less.
    pub fn sub(&mut self, item: &Item) {
        let publication = &item.waiting.publication;
        let Entry::Occupied(mut clients) = self.shared.entry(address(publication)) else { return };
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(item.place());
        *clients.get_mut() -= 1;
        if *clients.get() == 0 {
            clients.remove();
            self.bytes = self.bytes.saturating_sub(publication.weight());
        }
    }
}

// Nothing else can be there while it is counted: whoever counts it holds it.
fn address(publication: &Arc<Publication>) -> usize {
    Arc::as_ptr(publication) as usize
}

/// What has not been sent yet, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Outbox {
    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What they count for, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest.
    pub fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// One more.
    pub fn push(&mut self, item: Item, tally: &mut Tally) {
        self.bytes += item.weight();
        tally.add(&item);
        self.items.push_back(item);
    }

    /// Takes the oldest out.
    pub fn pop(&mut self, tally: &mut Tally) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.weight());
        tally.sub(&item);
        if self.items.is_empty() {
            // A burst is over; its room is not kept for the next.
            self.items.shrink_to(ROOM);
        }
        Some(item)
    }

    /// Takes out what does not stay.
    pub fn take_unless(&mut self, tally: &mut Tally, stays: impl Fn(&Item) -> bool) -> Vec<Item> {
        let mut taken = Vec::new();
        for item in std::mem::take(&mut self.items) {
            if stays(&item) {
                self.items.push_back(item);
                continue;
            }
            self.bytes = self.bytes.saturating_sub(item.weight());
            tally.sub(&item);
            taken.push(item);
        }
        taken
    }

    /// Forgets what is not kept for a client that is away, and gives the room back.
    pub fn rest(&mut self, tally: &mut Tally) {
        self.take_unless(tally, |item| item.waiting.qos != Qos::AtMostOnce);
        self.items.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use crate::broker::saved::Stage;

    use super::*;

    fn item(publication: &Arc<Publication>) -> Item {
        let (publication, qos, stage) = (Arc::clone(publication), Qos::AtLeastOnce, Stage::Waiting);
        Item {
            waiting: Waiting { number: 1, publication, qos, retain: false, subscriptions: Vec::new(), stage },
            group: 0,
        }
    }

    #[test]
    fn what_waits_for_several_clients_counts_once_and_a_little_for_each() {
        let publication = Arc::new(Publication::new("a", "1"));
        let weight = publication.weight();
        let (mut tally, mut outboxes) = (Tally::default(), [Outbox::default(), Outbox::default()]);
        for (outbox, expected) in outboxes.iter_mut().zip([weight + PLACE, weight + 2 * PLACE]) {
            outbox.push(item(&publication), &mut tally);
            assert_eq!(tally.bytes(), expected);
        }
        outboxes[0].push(item(&Arc::new((*publication).clone())), &mut tally);
        assert_eq!((tally.messages(), tally.bytes()), (3, 2 * weight + 3 * PLACE));
        for (outbox, expected) in [(0, 2 * weight + 2 * PLACE), (0, weight + PLACE), (1, 0)] {
            outboxes[outbox].pop(&mut tally);
            assert_eq!(tally.bytes(), expected);
        }
        assert!(tally.messages() == 0 && tally.shared.is_empty());
    }

    #[test]
    fn the_room_of_a_burst_is_given_back() {
        let publication = Arc::new(Publication::new("a", "1"));
        let (mut tally, mut outbox) = (Tally::default(), Outbox::default());
        for _ in 0..10_000 {
            outbox.push(item(&publication), &mut tally);
        }
        while outbox.pop(&mut tally).is_some() {}
        assert!(outbox.items.capacity() < 1_000);
    }
}
