//! UDP connections that outlive their endpoint.
//!
//! UDP has no end of connection, so a client that keeps sending keeps the translation to an
//! endpoint that is gone. When the endpoints of a UDP port change, the connections that point
//! elsewhere than to the present ones are deleted; the client's next packet is balanced anew.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::plan::{Frontend, Frontends};
use crate::netlink::Error;
use crate::netlink::conntrack::{self, Entry};
use crate::netlink::socket::Socket;

const UDP: u8 = 17;

type Backends = BTreeSet<(Ipv4Addr, u16)>;

/// Changed UDP addresses: the endpoints behind each before and now.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    changed: HashMap<Frontend, (Backends, Backends)>,
}

impl Suspects {
    /// Notes what changed for one service.
    pub fn note(&mut self, before: &Frontends, now: &Frontends) {
        for frontend in before.keys().chain(now.keys()) {
            let (old, new) = (before.get(frontend), now.get(frontend));
            if old != new {
                let slot = self.changed.entry(frontend.clone()).or_default();
                slot.0.extend(old.into_iter().flatten());
                slot.1 = new.cloned().unwrap_or_default();
            }
        }
    }

    /// Whether there is anything to look for.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Whether a connection points where it should not any more.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        let (ip, port) = entry.original.destination;
        let backend = entry.reply.source;
        if let Some((_, now)) = self.changed.get(&Frontend { ip: Some(ip), port }) {
            return !now.contains(&backend);
        }
        // A node port is known by its number alone, so only what was translated to one of its
        // endpoints is its.
        let node_port = self.changed.get(&Frontend { ip: None, port });
        node_port.is_some_and(|(before, now)| before.contains(&backend) && !now.contains(&backend))
    }

    /// Deletes the stale connections; how many.
    pub fn clear(&self, socket: &mut Socket) -> Result<usize, Error> {
        let stale = conntrack::list(socket, UDP, |entry| self.is_stale(entry))?;
        for entry in &stale {
            conntrack::delete(socket, entry)?;
        }
        Ok(stale.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::netlink::conntrack::Tuple;

    fn entry(destination: ([u8; 4], u16), backend: ([u8; 4], u16)) -> Entry {
        let client = (Ipv4Addr::new(10, 0, 0, 9), 4000);
        let at = |(ip, port): ([u8; 4], u16)| (Ipv4Addr::from(ip), port);
        Entry {
            original: Tuple {
                protocol: UDP,
                source: client,
                destination: at(destination),
            },
            reply: Tuple {
                protocol: UDP,
                source: at(backend),
                destination: client,
            },
        }
    }

    #[test]
    fn only_connections_to_former_endpoints_are_stale() {
        const VIP: [u8; 4] = [10, 96, 0, 10];
        let (old, kept, other) = ([10, 1, 0, 2], [10, 1, 0, 3], [10, 1, 0, 4]);
        let frontends = |ips: &[[u8; 4]]| {
            let backends: Backends = ips.iter().map(|ip| (Ipv4Addr::from(*ip), 53)).collect();
            BTreeMap::from([
                (
                    Frontend {
                        ip: Some(Ipv4Addr::from(VIP)),
                        port: 53,
                    },
                    backends.clone(),
                ),
                (
                    Frontend {
                        ip: None,
                        port: 30053,
                    },
                    backends,
                ),
            ])
        };
        let mut suspects = Suspects::default();
        suspects.note(&frontends(&[kept]), &frontends(&[kept]));
        assert!(suspects.is_empty());
        suspects.note(&frontends(&[old, kept]), &frontends(&[kept]));
        for (destination, backend, stale) in [
            ((VIP, 53), (old, 53), true),
            ((VIP, 53), (kept, 53), false),
            ((VIP, 53), (VIP, 53), true),
            ((VIP, 54), (old, 53), false),
            (([192, 0, 2, 1], 30053), (old, 53), true),
            (([192, 0, 2, 1], 30053), (kept, 53), false),
            (([192, 0, 2, 1], 30053), (other, 53), false),
            (([192, 0, 2, 1], 30054), (old, 53), false),
        ] {
            assert_eq!(
                suspects.is_stale(&entry(destination, backend)),
                stale,
                "{destination:?} {backend:?}"
            );
        }
    }
}
