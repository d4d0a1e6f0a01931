//! Which addresses and ports are taken: one bit each.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Taken;
use crate::config::Random;

/// The largest network kept: a bit per address.
const MAX_ADDRESSES: u32 = 1 << 20;

pub(super) struct Books {
    network: Ipv4Net,
    ports: (u16, u16),
    addresses: Vec<u64>,
    usable: u32,
    port_bits: Vec<u64>,
}

/// The outcome of asking for one in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Done,
    Taken,
    Outside,
}

fn set(bits: &mut [u64], at: u32) -> bool {
    let (word, bit) = (at as usize / 64, 1u64 << (at % 64));
    let free = bits[word] & bit == 0;
    bits[word] |= bit;
    free
}

fn clear(bits: &mut [u64], at: u32) {
    bits[at as usize / 64] &= !(1u64 << (at % 64));
}

/// A free place at or after `from`, going round once.
fn free(bits: &[u64], count: u32, from: u32) -> Option<u32> {
    let taken = |at: u32| bits[at as usize / 64] & (1u64 << (at % 64)) != 0;
    (from..count)
        .chain(0..from.min(count))
        .find(|at| !taken(*at))
}

impl Books {
    pub(super) fn new(network: Ipv4Net, ports: (u16, u16)) -> Books {
        let bits = 32 - u32::from(network.prefix_len());
        let size = 1u32
            .checked_shl(bits)
            .unwrap_or(u32::MAX)
            .min(MAX_ADDRESSES);
        // The network's own address is not one, nor is the last.
        let usable = size.saturating_sub(2).max(1);
        let port_count = u32::from(ports.1.saturating_sub(ports.0)) + 1;
        Books {
            network,
            ports,
            addresses: vec![0; usable as usize / 64 + 1],
            usable,
            port_bits: vec![0; port_count as usize / 64 + 1],
        }
    }

    fn nth(&self, at: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.network()).wrapping_add(at + 1))
    }

    pub(super) fn first(&self) -> Ipv4Addr {
        self.nth(0)
    }

    pub(super) fn network(&self) -> Ipv4Net {
        self.network
    }

    pub(super) fn port_range(&self) -> String {
        format!("{}-{}", self.ports.0, self.ports.1)
    }

    fn port_count(&self) -> u32 {
        u32::from(self.ports.1.saturating_sub(self.ports.0)) + 1
    }

    fn place(&mut self, taken: Taken) -> Option<(&mut [u64], u32)> {
        match taken {
            Taken::Address(address) => {
                let at = u32::from(address).checked_sub(u32::from(self.network.network()) + 1)?;
                (at < self.usable).then_some((&mut self.addresses[..], at))
            }
            Taken::Port(port) => {
                let at = u32::from(port).checked_sub(u32::from(self.ports.0))?;
                (at < self.port_count()).then_some((&mut self.port_bits[..], at))
            }
        }
    }

    /// Marks as taken, whether it was or not.
    pub(super) fn take(&mut self, taken: Taken) {
        if let Some((bits, at)) = self.place(taken) {
            set(bits, at);
        }
    }

    pub(super) fn claim(&mut self, taken: Taken) -> Claim {
        let Some((bits, at)) = self.place(taken) else {
            return Claim::Outside;
        };
        if set(bits, at) {
            Claim::Done
        } else {
            Claim::Taken
        }
    }

    pub(super) fn give_back(&mut self, taken: Taken) {
        if let Some((bits, at)) = self.place(taken) {
            clear(bits, at);
        }
    }

    /// A free address. The lower part of the network is left to those who ask for one in
    /// particular, while the upper part lasts.
    pub(super) fn any_address(&mut self, random: &Random) -> Option<Ipv4Addr> {
        let reserved = (self.usable / 16).clamp(16.min(self.usable), 256.min(self.usable));
        let span = self.usable - reserved;
        let start = if span == 0 {
            0
        } else {
            reserved + number(random) % span
        };
        let at = free(&self.addresses, self.usable, start)
            .filter(|at| *at >= reserved || span == 0)
            .or_else(|| free(&self.addresses, self.usable, reserved))?;
        set(&mut self.addresses, at);
        Some(self.nth(at))
    }

    /// A free port; see `any_address`.
    pub(super) fn any_port(&mut self, random: &Random) -> Option<u16> {
        let count = self.port_count();
        let reserved = (count / 32).clamp(0, 128);
        let span = count - reserved;
        let start = reserved + number(random) % span.max(1);
        let at = free(&self.port_bits, count, start)
            .filter(|at| *at >= reserved)
            .or_else(|| free(&self.port_bits, count, reserved))?;
        set(&mut self.port_bits, at);
        u16::try_from(u32::from(self.ports.0) + at).ok()
    }
}

fn number(random: &Random) -> u32 {
    let mut bytes = [0u8; 4];
    random(&mut bytes);
    u32::from_le_bytes(bytes)
}
