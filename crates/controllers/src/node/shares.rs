//! Which part of the pod network a node gets: the pure part of [`super::ipam`].

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

/// A network nodes take their shares of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeNetwork {
    /// All of it.
    pub cluster: IpNet,
    /// Prefix length of a share.
    pub mask: u8,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// A node made anew under the same name is another node.
    pub uid: Box<str>,
    pub created: Option<Timestamp>,
    pub networks: Vec<IpNet>,
}

/// Who has what, seen in the cache or given out by this process.
pub(super) struct Shares {
    /// Of each, where the search for a free share goes on: behind the last one given out, so that
    /// what a removed node had rests for as long as possible. Others may still hold routes to it and
    /// connections with its pods.
    networks: Vec<(NodeNetwork, u128)>,
    taken: HashMap<Box<str>, Share>,
}

impl Shares {
    /// Goes on behind the share of the youngest node: the last one an earlier process gave out, as
    /// far as there is telling.
    pub fn new(
        networks: Vec<NodeNetwork>,
        taken: impl IntoIterator<Item = (Box<str>, Share)>,
    ) -> Self {
        let taken: HashMap<_, _> = taken.into_iter().collect();
        let last = |network: &NodeNetwork| {
            let shares = taken.values().flat_map(|share| {
                let created = share.created;
                share.networks.iter().map(move |held| (created, held))
            });
            shares
                .filter(|(_, held)| overlap(&network.cluster, held))
                .map(|(created, held)| (created, number(held.broadcast()).0))
                .max()
        };
        let networks = networks.into_iter().map(|network| {
            let behind = last(&network).map(|(_, end)| end.saturating_add(1));
            (network, behind.unwrap_or_default())
        });
        Self {
            networks: networks.collect(),
            taken,
        }
    }

    /// Notes what a node holds.
    pub fn note(&mut self, name: &str, share: Share) {
        self.taken.insert(name.into(), share);
    }

    pub fn release(&mut self, name: &str) {
        self.taken.remove(name);
    }

    /// One share of each network for this node, the same as before if it was given some already.
    /// None when a network has none left.
    pub fn give(
        &mut self,
        name: &str,
        uid: &str,
        created: Option<Timestamp>,
    ) -> Option<Vec<IpNet>> {
        if let Some(share) = self.taken.get(name) {
            if *share.uid == *uid {
                return Some(share.networks.clone());
            }
            self.taken.remove(name);
        }
        let used = || self.taken.values().flat_map(|share| &share.networks);
        let free = self.networks.iter().map(|(network, next)| {
            free_from(network, *next, used()).or_else(|| free_from(network, 0, used()))
        });
        let networks: Vec<IpNet> = free.collect::<Option<_>>()?;
        for ((_, next), share) in self.networks.iter_mut().zip(&networks) {
            *next = number(share.broadcast()).0.saturating_add(1);
        }
        let share = Share {
            uid: uid.into(),
            created,
            networks: networks.clone(),
        };
        self.taken.insert(name.into(), share);
        Some(networks)
    }
}

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

/// The lowest network of this size within the cluster's that begins at `start` or behind it and
/// overlaps none in use: one pass over those in order.
fn free_from<'n>(
    network: &NodeNetwork,
    start: u128,
    used: impl Iterator<Item = &'n IpNet>,
) -> Option<IpNet> {
    let NodeNetwork { cluster, mask } = *network;
    let (first, bits) = number(cluster.network());
    let (last, _) = number(cluster.broadcast());
    if mask < cluster.prefix_len() || mask > bits {
        return None;
    }
    let size = 1_u128.checked_shl(u32::from(bits - mask))?;
    let mut used: Vec<(u128, u128)> = used
        .filter(|network| overlap(&cluster, network))
        .map(|network| (number(network.network()).0, number(network.broadcast()).0))
        .collect();
    used.sort_unstable();
    let shares = start.saturating_sub(first).div_ceil(size);
    let mut candidate = first.checked_add(shares.checked_mul(size)?)?;
    for (from, to) in used {
        if from > candidate.saturating_add(size - 1) {
            break;
        }
        if to >= candidate {
            // The next one begins where a whole share fits behind this network.
            let behind = (to - first) / size + 1;
            candidate = first.checked_add(behind.checked_mul(size)?)?;
        }
    }
    if candidate > last || size - 1 > last - candidate {
        return None;
    }
    let address = match cluster.addr() {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(candidate).ok()?.into()),
        IpAddr::V6(_) => IpAddr::V6(candidate.into()),
    };
    IpNet::new(address, mask).ok()
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    let same_family = matches!(
        (a.addr(), b.addr()),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_))
    );
    same_family && (a.contains(&b.network()) || b.contains(&a.network()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn shares(networks: &[(&str, u8)], taken: &[(&str, i64, &str)]) -> Shares {
        let networks = networks.iter().map(|(cluster, mask)| NodeNetwork {
            cluster: net(cluster),
            mask: *mask,
        });
        let taken = taken.iter().map(|(name, created, held)| {
            let share = Share {
                uid: (*name).into(),
                created: Timestamp::from_second(*created).ok(),
                networks: vec![net(held)],
            };
            ((*name).into(), share)
        });
        Shares::new(networks.collect(), taken)
    }

    fn give(shares: &mut Shares, name: &str) -> Option<String> {
        let given = shares.give(name, name, None)?;
        let texts: Vec<_> = given.iter().map(ToString::to_string).collect();
        Some(texts.join(","))
    }

    #[test]
    fn a_free_network_from_a_start() {
        let cases = [
            (
                "10.244.0.0/16",
                24,
                "0.0.0.0",
                vec![],
                Some("10.244.0.0/24"),
            ),
            (
                "10.244.0.0/16",
                24,
                "10.244.0.0",
                vec!["10.244.0.0/24", "10.244.2.0/24"],
                Some("10.244.1.0/24"),
            ),
            (
                "10.244.0.0/16",
                24,
                "10.244.1.0",
                vec!["10.244.0.0/22"],
                Some("10.244.4.0/24"),
            ),
            (
                "10.244.0.0/16",
                24,
                "0.0.0.0",
                vec!["10.0.0.0/24", "fd00::/64"],
                Some("10.244.0.0/24"),
            ),
            (
                "10.244.0.0/23",
                24,
                "0.0.0.0",
                vec!["10.244.0.0/24", "10.244.1.128/25"],
                None,
            ),
            (
                "fd00::/56",
                64,
                "::",
                vec!["fd00::/64"],
                Some("fd00:0:0:1::/64"),
            ),
            ("10.244.0.0/16", 24, "0.0.0.0", vec!["10.0.0.0/8"], None),
            (
                "10.244.0.0/16",
                24,
                "0.0.0.0",
                vec!["10.244.0.0/22", "10.244.1.0/24", "10.244.5.0/24"],
                Some("10.244.4.0/24"),
            ),
            // A start within a share is the next share.
            (
                "10.244.0.0/16",
                24,
                "10.244.3.1",
                vec![],
                Some("10.244.4.0/24"),
            ),
            ("10.244.0.0/16", 24, "10.245.0.0", vec![], None),
            (
                "255.255.255.0/24",
                25,
                "0.0.0.0",
                vec!["255.255.255.0/25"],
                Some("255.255.255.128/25"),
            ),
            (
                "255.255.255.0/24",
                25,
                "0.0.0.0",
                vec!["255.255.255.0/25", "255.255.255.128/25"],
                None,
            ),
        ];
        for (cluster, mask, start, used, expected) in cases {
            let used: Vec<IpNet> = used.iter().map(|text| net(text)).collect();
            let network = NodeNetwork {
                cluster: net(cluster),
                mask,
            };
            let start = number(start.parse().unwrap()).0;
            let free = free_from(&network, start, used.iter());
            assert_eq!(free, expected.map(net), "{cluster} {start} {used:?}");
        }
    }

    #[test]
    fn a_released_share_rests_until_all_others_were_given() {
        let mut shares = shares(&[("10.244.0.0/22", 24)], &[]);
        assert_eq!(give(&mut shares, "a").as_deref(), Some("10.244.0.0/24"));
        assert_eq!(give(&mut shares, "b").as_deref(), Some("10.244.1.0/24"));
        shares.release("a");
        assert_eq!(give(&mut shares, "c").as_deref(), Some("10.244.2.0/24"));
        assert_eq!(give(&mut shares, "d").as_deref(), Some("10.244.3.0/24"));
        assert_eq!(give(&mut shares, "e").as_deref(), Some("10.244.0.0/24"));
        assert_eq!(give(&mut shares, "f"), None);
        // What a node was given it keeps, until it is another node.
        assert_eq!(give(&mut shares, "b").as_deref(), Some("10.244.1.0/24"));
        shares.release("c");
        let anew = shares.give("b", "another", None).unwrap();
        assert_eq!(anew, [net("10.244.1.0/24")]);
        assert_eq!(give(&mut shares, "g").as_deref(), Some("10.244.2.0/24"));
    }

    #[test]
    fn a_restart_goes_on_behind_the_youngest_nodes_share() {
        let held = [
            ("old", 1, "10.244.7.0/24"),
            ("young", 9, "10.244.3.0/24"),
            ("middle", 5, "10.244.4.0/24"),
        ];
        let mut shares = shares(&[("10.244.0.0/16", 24)], &held);
        assert_eq!(give(&mut shares, "a").as_deref(), Some("10.244.5.0/24"));
    }

    #[test]
    fn one_of_each_network_or_none() {
        let networks = [("10.244.0.0/23", 24), ("fd00::/64", 64)];
        let mut shares = shares(&networks, &[]);
        let both = Some("10.244.0.0/24,fd00::/64");
        assert_eq!(give(&mut shares, "a").as_deref(), both);
        assert_eq!(give(&mut shares, "b"), None);
        shares.release("a");
        // The failed try has used nothing up.
        let both = Some("10.244.1.0/24,fd00::/64");
        assert_eq!(give(&mut shares, "b").as_deref(), both);
    }
}
