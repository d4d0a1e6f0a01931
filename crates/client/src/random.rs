//! Where randomness comes from: jitter and name suffixes ask the [`Random`] they were given, so that
//! a test can replay a run.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of numbers nobody needs to keep secret.
pub trait Random: Send + Sync + 'static {
    /// The next 64 bits.
    fn next(&self) -> u64;

    /// The next number in `0.0..1.0`.
    fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A suffix of `length` characters from the alphabet upstream uses for generated names (no
    /// vowels and nothing that looks like another character).
    fn suffix(&self, length: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..length)
            .map(|_| char::from(ALPHABET[(self.next() % ALPHABET.len() as u64) as usize]))
            .collect()
    }
}

/// The splitmix64 sequence of one seed.
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    /// The sequence of this seed, the same in every run.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A sequence that differs in every process.
    pub fn from_system() -> Self {
        let hasher = std::collections::hash_map::RandomState::new().build_hasher();
        Self::new(hasher.finish())
    }
}

impl Random for Seeded {
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
