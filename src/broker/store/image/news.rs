//! What is to be written: all that has changed, or, for a new file, everything, a portion at a time.

use std::ops::Bound;
use std::sync::Arc;

use super::super::super::publication::Publication;
use super::super::entry::Entry;
use super::Image;
use crate::clock::Stamp;

/// Where a walk through the image has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    #[default]
    Start,
    /// Behind the message that is retained for a topic.
    Retained(Arc<str>),
    /// Before the session behind that of a client; before the first.
    Session(Option<Arc<str>>),
    /// Behind a message that waits for a client.
    Waiting(Arc<str>, u64),
    /// Everywhere.
    End,
}

impl Image {
    /// Hands over what is to be written. From then on the file has it.
    pub fn take(&mut self, now: Stamp, out: &mut Vec<Entry>) {
        let at = self.at;
        self.weight = 0;
        out.extend(std::mem::take(&mut self.ended).into_iter().map(Entry::Ended));
        self.retained.take(at, |topic, publication, _| {
            out.push(publication.map_or(Entry::Cleared(topic), |publication| Entry::Retained(publication.clone())));
        });
        for client in std::mem::take(&mut self.touched) {
            let Some(session) = self.sessions.get_mut(&client) else { continue };
            if !session.facts.is_on_disk(&(), at) {
                session.facts.touch(&(), at);
            }
            session.facts.take(at, |(), facts, _| out.extend(facts.map(|facts| facts.entry(&client, now))));
            session.subscriptions.take(at, |filter, wanted, _| {
                out.push(match wanted {
                    Some((wanted, number)) => Entry::Subscribed(client.clone(), wanted.clone(), *number),
                    None => Entry::Unsubscribed(client.clone(), filter),
                });
            });
            session.waiting.take(at, |number, item, had| match item {
                Some(item) => out.push(item.entry(&client, had)),
                None => match out.last_mut() {
                    Some(Entry::Done(of, _, last)) if *of == client && last.checked_add(1) == Some(number) => {
                        *last = number;
                    }
                    _ => out.push(Entry::Done(client.clone(), number, number)),
                },
            });
            session.incoming.take(at, |id, taken, _| out.push(Entry::Incoming(client.clone(), id, taken.is_some())));
        }
    }

    /// Hands over what a new file has not got, looking at about `most` things from `place` on. Where to go on.
    /// What changes behind the walk is [taken](Image::take) as ever.
    pub fn walk(&mut self, place: Place, most: usize, now: Stamp, out: &mut Vec<Entry>) -> Place {
        let at = self.at;
        let after_topic = match &place {
            Place::Start => None,
            Place::Retained(topic) => Some(topic),
            Place::Session(client) => return self.walk_session(client.as_ref(), most, now, out),
            Place::Waiting(client, number) => return self.walk_waiting(client.clone(), Some(*number), most, out),
            Place::End => return Place::End,
        };
        let each = |_: &Arc<str>, publication: &mut Arc<Publication>| out.push(Entry::Retained(publication.clone()));
        self.retained.walk(after_topic, most, at, each).map_or(Place::Session(None), Place::Retained)
    }

    fn walk_session(&mut self, after: Option<&Arc<str>>, most: usize, now: Stamp, out: &mut Vec<Entry>) -> Place {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.sessions.range_mut::<Arc<str>, _>((from, Bound::Unbounded)).next();
        let Some((client, session)) = next else { return Place::End };
        let (client, at, before) = (client.clone(), self.at, session.weight());
        session.facts.walk(None, 1, at, |(), facts| out.push(facts.entry(&client, now)));
        session.subscriptions.walk(None, usize::MAX, at, |_, (wanted, number)| {
            out.push(Entry::Subscribed(client.clone(), wanted.clone(), *number));
        });
        session.incoming.walk(None, usize::MAX, at, |id, ()| {
            out.push(Entry::Incoming(client.clone(), *id, true));
        });
        self.weight = self.weight + session.weight() - before;
        self.walk_waiting(client, None, most, out)
    }

    fn walk_waiting(&mut self, client: Arc<str>, after: Option<u64>, most: usize, out: &mut Vec<Entry>) -> Place {
        let at = self.at;
        let Some(session) = self.sessions.get_mut(&client) else { return Place::Session(Some(client)) };
        let before = session.weight();
        let last = session.waiting.walk(after.as_ref(), most, at, |_, item| out.push(item.entry(&client, false)));
        self.weight = self.weight + session.weight() - before;
        match last {
            Some(number) => Place::Waiting(client, number),
            None => Place::Session(Some(client)),
        }
    }
}
