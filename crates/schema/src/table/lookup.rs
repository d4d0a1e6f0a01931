//! Finds a field by name with one probe: a small open-addressed table of places, because decoding
//! looks every key of every object up.

/// Names to places.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// `place + 1`, 0 where empty; the length is a power of two.
    slots: Box<[u16]>,
    multiplier: u64,
}

/// A few loads, no loop: names of fields differ in their first or last bytes, or in length.
#[inline]
fn digest(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let (head, tail) = if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (
            u64::from(u32::from_le_bytes(*head)),
            u64::from(u32::from_le_bytes(*tail)),
        )
    } else {
        bytes
            .iter()
            .fold((0, 0), |(head, _), byte| (head << 8 | u64::from(*byte), 0))
    };
    head.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        ^ tail.wrapping_mul(0xd6e8_feb8_6659_fd93)
        ^ (bytes.len() as u64).wrapping_mul(0xa076_1d64_78bd_642f)
}

impl Lookup {
    /// A table over these names, whose places are their order.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let count = names.clone().count();
        if count == 0 || count >= usize::from(u16::MAX) {
            return Self::default();
        }
        // Growing a few times finds a table without collisions for nearly every struct; a
        // collision that stays costs a binary search, nothing else.
        let mut best = Self::default();
        let mut best_collisions = usize::MAX;
        for (bits, multiplier) in (1..=3).flat_map(|grow| {
            [
                0x9e37_79b9_7f4a_7c15u64,
                0xbf58_476d_1ce4_e5b9,
                0x94d0_49bb_1331_11eb,
            ]
            .map(|m| (count.next_power_of_two().trailing_zeros() + grow, m))
        }) {
            let mut table = Self {
                slots: vec![0u16; 1 << bits].into_boxed_slice(),
                multiplier,
            };
            let mut collisions = 0;
            for (place, name) in names.clone().enumerate() {
                let slot = table.slot(name);
                if table.slots[slot] == 0 {
                    table.slots[slot] = place as u16 + 1;
                } else {
                    collisions += 1;
                }
            }
            if collisions < best_collisions {
                best_collisions = collisions;
                best = table;
            }
            if best_collisions == 0 {
                break;
            }
        }
        best
    }

    #[inline]
    fn slot(&self, name: &str) -> usize {
        let hash = digest(name).wrapping_mul(self.multiplier);
        (hash >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    /// The only place this name can be at, unless it collided.
    #[inline]
    pub(crate) fn candidate(&self, name: &str) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        match self.slots[self.slot(name)] {
            0 => None,
            place => Some(usize::from(place) - 1),
        }
    }
}
