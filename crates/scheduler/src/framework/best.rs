//! Nodes ordered by score, changed one node at a time; the best are at hand at once.

use std::collections::BTreeMap;

/// Not in any bucket.
const ABSENT: (i64, u32) = (0, u32::MAX);

/// See the module.
#[derive(Debug, Default)]
pub struct Best {
    buckets: BTreeMap<i64, Vec<u32>>,
    /// Score and place in its bucket, by slot.
    at: Vec<(i64, u32)>,
    len: usize,
}

impl Best {
    /// Gives a node a score, or takes it out.
    pub fn set(&mut self, slot: u32, score: Option<i64>) {
        let index = slot as usize;
        if self.at.len() <= index {
            self.at.resize(index + 1, ABSENT);
        }
        let (old, place) = self.at[index];
        if place != ABSENT.1 {
            if score == Some(old) {
                return;
            }
            if let Some(bucket) = self.buckets.get_mut(&old) {
                bucket.swap_remove(place as usize);
                match bucket.get(place as usize) {
                    Some(moved) => self.at[*moved as usize].1 = place,
                    None if bucket.is_empty() => {
                        self.buckets.remove(&old);
                    }
                    None => {}
                }
            }
            self.at[index] = ABSENT;
            self.len -= 1;
        }
        if let Some(score) = score {
            let bucket = self.buckets.entry(score).or_default();
            self.at[index] = (score, u32::try_from(bucket.len()).unwrap_or(ABSENT.1 - 1));
            bucket.push(slot);
            self.len += 1;
        }
    }

    /// The nodes with the highest score.
    pub fn leaders(&self) -> &[u32] {
        self.buckets
            .last_key_value()
            .map_or(&[], |(_, nodes)| nodes)
    }

    /// All nodes.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.buckets.values().flatten().copied()
    }

    /// A node's score.
    pub fn get(&self, slot: u32) -> Option<i64> {
        let (score, place) = self.at.get(slot as usize).copied()?;
        (place != ABSENT.1).then_some(score)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_leaders_are_those_with_the_highest_score(
            changes in prop::collection::vec((0u32..20, prop::option::of(-3i64..3)), 1..200)
        ) {
            let (mut best, mut model) = (Best::default(), HashMap::new());
            for (slot, score) in changes {
                best.set(slot, score);
                match score {
                    Some(score) => model.insert(slot, score),
                    None => model.remove(&slot),
                };
                let top = model.values().max();
                let mut leaders = best.leaders().to_vec();
                leaders.sort_unstable();
                let mut wanted: Vec<u32> =
                    model.iter().filter(|(_, s)| Some(*s) == top).map(|(n, _)| *n).collect();
                wanted.sort_unstable();
                prop_assert_eq!(leaders, wanted);
                prop_assert_eq!(best.len(), model.len());
                prop_assert_eq!(best.iter().count(), model.len());
            }
        }
    }
}
