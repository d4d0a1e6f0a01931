//! Which node ports are taken: one bit each.

use super::networks::number;
use crate::config::Random;

pub(super) struct Ports {
    range: (u16, u16),
    bits: Vec<u64>,
}

/// The outcome of asking for one in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Done,
    Taken,
    Outside,
}

impl Ports {
    pub(super) fn new(range: (u16, u16)) -> Ports {
        let count = usize::from(range.1.saturating_sub(range.0)) + 1;
        Ports {
            range,
            bits: vec![0; count / 64 + 1],
        }
    }

    pub(super) fn range(&self) -> String {
        format!("{}-{}", self.range.0, self.range.1)
    }

    fn count(&self) -> u32 {
        u32::from(self.range.1.saturating_sub(self.range.0)) + 1
    }

    fn place(&self, port: u16) -> Option<u32> {
        let at = u32::from(port).checked_sub(u32::from(self.range.0))?;
        (at < self.count()).then_some(at)
    }

    fn is_taken(&self, at: u32) -> bool {
        self.bits[at as usize / 64] & (1u64 << (at % 64)) != 0
    }

    fn set(&mut self, at: u32) {
        self.bits[at as usize / 64] |= 1u64 << (at % 64);
    }

    /// Marks as taken, whether it was or not.
    pub(super) fn take(&mut self, port: u16) {
        if let Some(at) = self.place(port) {
            self.set(at);
        }
    }

    pub(super) fn claim(&mut self, port: u16) -> Claim {
        match self.place(port) {
            None => Claim::Outside,
            Some(at) if self.is_taken(at) => Claim::Taken,
            Some(at) => {
                self.set(at);
                Claim::Done
            }
        }
    }

    pub(super) fn give_back(&mut self, port: u16) {
        if let Some(at) = self.place(port) {
            self.bits[at as usize / 64] &= !(1u64 << (at % 64));
        }
    }

    /// A free port. The lower part of the range is left to those who ask for one in particular, while
    /// the upper part lasts.
    pub(super) fn any(&mut self, random: &Random) -> Option<u16> {
        let count = self.count();
        let reserved = (count / 32).min(128);
        let start = reserved + number(random) % (count - reserved).max(1);
        let at = (start..count)
            .chain(reserved..start)
            .chain(0..reserved)
            .find(|at| !self.is_taken(*at))?;
        self.set(at);
        u16::try_from(u32::from(self.range.0) + at).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_port_is_given_once_until_it_is_given_back() {
        let random: Random = Arc::new(|bytes| bytes.fill(7));
        let mut ports = Ports::new((30000, 30002));
        assert_eq!(ports.claim(30001), Claim::Done);
        assert_eq!(ports.claim(30001), Claim::Taken);
        assert_eq!(ports.claim(29999), Claim::Outside);
        let mut given = [ports.any(&random).unwrap(), ports.any(&random).unwrap()];
        given.sort_unstable();
        assert_eq!(given, [30000, 30002]);
        assert_eq!(ports.any(&random), None);
        ports.give_back(30001);
        assert_eq!(ports.any(&random), Some(30001));
    }
}
