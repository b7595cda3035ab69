//! Values by key, and of which of them the log on disk does not know yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// What is known of the log, for as long as one value is changed.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The number of its file.
    pub file: u64,
    /// How changes are looked at.
    pub mode: Mode,
}

/// How changes are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They come out of the file: it has them.
    Loading,
    /// They are to be written behind what the file has.
    Following,
    /// No file is being written, so what it lacks need not be known: the next one gets everything.
    Lost,
}

/// What one change takes until it is written, in bytes.
const GATHERED: usize = 128;

/// What values are found by.
pub trait Key: Ord + Clone {
    /// About what it costs to remember that it is to be written, and to gather what is written, in bytes.
    fn weight(&self) -> usize;
}

impl Key for Arc<str> {
    fn weight(&self) -> usize {
        GATHERED + self.len()
    }
}

impl Key for u64 {
    fn weight(&self) -> usize {
        GATHERED
    }
}

impl Key for u16 {
    fn weight(&self) -> usize {
        GATHERED
    }
}

impl Key for () {
    fn weight(&self) -> usize {
        GATHERED
    }
}

/// Values by key, and the keys under which the file has something else.
#[derive(Debug)]
pub struct Tracked<K, V> {
    values: BTreeMap<K, Kept<V>>,
    /// A key without a value: the file has one, and is to be told that it went.
    unwritten: BTreeSet<K>,
    weight: usize,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    /// Which file has a value for this key, be it an older one.
    file: u64,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), unwritten: BTreeSet::new(), weight: 0 }
    }
}

impl<K: Key, V> Tracked<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|kept| &kept.value)
    }

    /// The keys and their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.values.iter().map(|(key, kept)| (key, &kept.value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// About what it costs to remember what is to be written, in bytes.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Whether the file has a value for a key, be it an older one.
    pub fn is_on_disk(&self, key: &K, at: At) -> bool {
        self.values.get(key).map_or(self.unwritten.contains(key), |kept| kept.file == at.file)
    }

    /// Takes a value in, which is to be written unless it was read.
    pub fn set(&mut self, key: K, value: V, at: At) {
        self.set_quietly(key.clone(), value, at);
        self.mark(key, at);
    }

    /// Takes a value in without having it written; [`Tracked::touch`] makes up for that.
    pub fn set_quietly(&mut self, key: K, value: V, at: At) {
        // What went and was not told to have gone is still there on disk.
        let had = at.mode == Mode::Loading || self.unwritten.contains(&key);
        match self.values.get_mut(&key) {
            Some(kept) => kept.value = value,
            None => {
                self.values.insert(key, Kept { value, file: if had { at.file } else { 0 } });
            }
        }
    }

    /// Changes a value that is there, which is to be written then. Whether it was there.
    pub fn change(&mut self, key: &K, at: At, change: impl FnOnce(&mut V)) -> bool {
        let Some(kept) = self.values.get_mut(key) else { return false };
        change(&mut kept.value);
        self.mark(key.clone(), at);
        true
    }

    /// Has a value written, if it is there.
    pub fn touch(&mut self, key: &K, at: At) {
        self.change(key, at, |_| {});
    }

    /// Lets go of a value. What was not written yet never will be.
    pub fn remove(&mut self, key: &K, at: At) {
        let Some(kept) = self.values.remove(key) else { return };
        if kept.file == at.file {
            self.mark(key.clone(), at);
        } else if self.unwritten.remove(key) {
            self.weight -= key.weight();
        }
    }

    /// Lets go of the values in a range of keys.
    pub fn remove_range(&mut self, first: K, last: K, at: At) {
        if first > last {
            return;
        }
        let keys: Vec<K> = self.values.range(first..=last).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.remove(key, at));
    }

    /// Forgets what is to be written.
    pub fn forget(&mut self) {
        self.unwritten = BTreeSet::new();
        self.weight = 0;
    }

    /// Hands over what is to be written: each key, its value unless it went, and whether the file has an
    /// older one. From then on the file has it.
    pub fn take(&mut self, at: At, mut each: impl FnMut(K, Option<&mut V>, bool)) {
        self.weight = 0;
        for key in std::mem::take(&mut self.unwritten) {
            let kept = self.values.get_mut(&key);
            match kept {
                Some(kept) => {
                    let had = std::mem::replace(&mut kept.file, at.file) == at.file;
                    each(key, Some(&mut kept.value), had);
                }
                None => each(key, None, true),
            }
        }
    }

    /// Hands over what the file has not got at all, looking at no more than `most` values behind `after`. Where
    /// to go on, unless that was all.
    pub fn walk(&mut self, after: Option<&K>, most: usize, at: At, mut each: impl FnMut(&K, &mut V)) -> Option<K> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (key, kept) in self.values.range_mut((from, Bound::Unbounded)).take(most) {
            if kept.file != at.file {
                kept.file = at.file;
                if self.unwritten.remove(key) {
                    self.weight -= key.weight();
                }
                each(key, &mut kept.value);
            }
            last = Some(key);
        }
        last.cloned()
    }

    fn mark(&mut self, key: K, at: At) {
        let weight = key.weight();
        if at.mode == Mode::Following && self.unwritten.insert(key) {
            self.weight += weight;
        }
    }
}
