//! A set of packet ids in 8 KiB at most, and in next to nothing while the ids are low.

/// The set.
#[derive(Debug, Default)]
pub struct Ids {
    words: Vec<u64>,
    count: usize,
}

impl Ids {
    /// Puts an id in. Whether it was not there before.
    pub fn insert(&mut self, id: u16) -> bool {
        let (word, bit) = place(id);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let Some(word) = self.words.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += usize::from(is_new);
        is_new
    }

    /// Takes an id out. Whether it was there.
    pub fn remove(&mut self, id: u16) -> bool {
        let (word, bit) = place(id);
        let Some(word) = self.words.get_mut(word).filter(|word| **word & bit != 0) else { return false };
        *word &= !bit;
        self.count -= 1;
        true
    }

    /// Whether an id is there.
    pub fn contains(&self, id: u16) -> bool {
        let (word, bit) = place(id);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// All of them, rising.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).take(self.words.len() * 64).filter(|id| self.contains(*id))
    }
}

fn place(id: u16) -> (usize, u64) {
    (usize::from(id) / 64, 1 << (id % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_until_they_are_taken_out() {
        let mut ids = Ids::default();
        for id in [1, 63, 64, 65_535] {
            assert!(ids.insert(id));
            assert!(!ids.insert(id));
        }
        assert_eq!(ids.iter().collect::<Vec<_>>(), [1, 63, 64, 65_535]);
        assert!(ids.remove(64));
        assert!(!ids.remove(64));
        assert!(!ids.remove(2));
        assert!(ids.contains(63) && !ids.contains(64));
        assert_eq!(ids.len(), 3);
    }
}
