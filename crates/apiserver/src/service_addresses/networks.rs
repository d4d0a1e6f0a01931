//! The networks that addresses of Services come from: ready ServiceCIDRs, and the order in which
//! their addresses are tried. Pure.

use std::net::Ipv4Addr;

use api::meta;
use api::object::Object;
use ipnet::Ipv4Net;
use serde_json::Value;

use crate::config::Random;

/// Addresses looked at for one Service; a larger network than this is not looked through.
const MAX_LOOKED_AT: u32 = 1 << 20;

/// The usable addresses of a network: neither its own nor its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    network: Ipv4Net,
    usable: u32,
}

impl Range {
    pub(super) fn new(network: Ipv4Net) -> Range {
        let bits = 32 - u32::from(network.prefix_len());
        let size = 1u32.checked_shl(bits).unwrap_or(u32::MAX);
        Range {
            network,
            usable: size.saturating_sub(2).clamp(1, MAX_LOOKED_AT),
        }
    }

    pub(super) fn network(&self) -> Ipv4Net {
        self.network
    }

    pub(super) fn first(&self) -> Ipv4Addr {
        self.nth(0)
    }

    fn nth(&self, at: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.network()).wrapping_add(at + 1))
    }

    /// Is it an address that a Service may have?
    pub(super) fn has(&self, address: Ipv4Addr) -> bool {
        let small = self.network.prefix_len() >= 31;
        self.network.contains(&address)
            && (small || (address != self.network.network() && address != self.network.broadcast()))
    }

    /// All addresses, beginning anywhere. The lower part of the network is left to those who ask for
    /// one in particular, while the upper part lasts (KEP-3070).
    pub(super) fn addresses(&self, random: &Random) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let range = *self;
        // A network too small to be parted has no lower part.
        let reserved = if self.usable < 16 {
            0
        } else {
            (self.usable / 16).clamp(16, 256).min(self.usable)
        };
        let start = reserved + number(random) % (self.usable - reserved).max(1);
        (start..self.usable)
            .chain(reserved..start)
            .chain(0..reserved)
            .map(move |at| range.nth(at))
    }
}

pub(super) fn number(random: &Random) -> u32 {
    let mut bytes = [0u8; 4];
    random(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// The IPv4 networks of ServiceCIDRs that are ready and stay.
pub(super) fn ready(cidrs: &[impl std::borrow::Borrow<Value>]) -> Vec<Range> {
    let mut ranges = Vec::new();
    for object in cidrs {
        let object: &Value = object.borrow();
        let ready = meta::condition(object, "Ready").is_some_and(|c| c.text("status") == "True");
        if !ready || meta::is_terminating(object) {
            continue;
        }
        for network in object.texts("spec.cidrs").filter_map(|c| c.parse().ok()) {
            let range = Range::new(network);
            if !ranges.contains(&range) {
                ranges.push(range);
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_usable_address_is_tried_once_and_the_lower_ones_last() {
        for (network, count) in [
            ("10.0.0.0/24", 254),
            ("10.0.0.0/30", 2),
            ("10.0.0.0/28", 14),
        ] {
            let range = Range::new(network.parse().unwrap());
            let random: Random = Arc::new(|bytes| bytes.fill(7));
            let tried: Vec<Ipv4Addr> = range.addresses(&random).collect();
            assert_eq!(tried.len(), count, "{network}");
            assert_eq!(tried.iter().collect::<HashSet<_>>().len(), count);
            assert!(tried.iter().all(|a| range.has(*a)));
            if count > 100 {
                assert!(tried[count - 16..].contains(&range.first()));
            }
        }
    }

    #[test]
    fn networks_count_while_they_are_ready() {
        let cidr = |cidr: &str, status: &str, going: bool| {
            let mut object = json!({"metadata": {"name": cidr}, "spec": {"cidrs": [cidr]},
                "status": {"conditions": [{"type": "Ready", "status": status}]}});
            if going {
                object["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
            }
            object
        };
        let found = ready(&[
            cidr("10.0.0.0/24", "True", false),
            cidr("10.1.0.0/24", "False", false),
            cidr("10.2.0.0/24", "True", true),
            cidr("2001:db8::/64", "True", false),
            json!({"spec": {"cidrs": ["10.3.0.0/24"]}}),
        ]);
        let networks: Vec<String> = found.iter().map(|r| r.network().to_string()).collect();
        assert_eq!(networks, ["10.0.0.0/24"]);
        assert!(!found[0].has("10.0.0.255".parse().unwrap()));
        assert!(!found[0].has("10.0.0.0".parse().unwrap()));
    }
}
