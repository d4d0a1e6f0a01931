//! Addresses of sandboxes on this node.
//!
//! One small file per sandbox, written beside its final name and renamed, so that a crash leaves
//! either a whole lease or none. Files are not synced: after a power loss no sandbox is left whose
//! address could be given twice.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::names;

/// A host port of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// IP protocol number.
    pub protocol: u8,
    /// Port on the host.
    pub host_port: u16,
    /// Host address; none means every address.
    pub host_ip: Option<Ipv4Addr>,
    /// Port in the pod.
    pub container_port: u16,
}

/// What a sandbox holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The sandbox's id.
    pub sandbox: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its gateway.
    pub gateway: Ipv4Addr,
    /// The host's end of its veth pair.
    pub veth: String,
    /// Its host ports.
    pub host_ports: Vec<HostPort>,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// Every address of the range is taken.
    #[error("all {0} addresses of {1} are in use")]
    Exhausted(usize, String),
    /// No range yet.
    #[error("the node has no IPv4 pod address range yet")]
    NoRange,
    /// Two sandboxes want the same host port.
    #[error("host port {port} is held by sandbox {sandbox}")]
    HostPortTaken {
        /// The port.
        port: u16,
        /// Its holder.
        sandbox: String,
    },
    /// The state directory.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: String,
        /// The error.
        source: io::Error,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IpamError {
    let path = path.display().to_string();
    move |source| IpamError::Io {
        action,
        path,
        source,
    }
}

/// The leases of a node.
#[derive(Debug)]
pub struct Ipam {
    dir: PathBuf,
    leases: HashMap<String, Lease>,
    holders: BTreeMap<Ipv4Addr, String>,
    last: Option<Ipv4Addr>,
}

/// The gateway of a range: its first address.
#[must_use]
pub fn gateway(range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()).saturating_add(1))
}

/// The first IPv4 range among a node's pod ranges.
#[must_use]
pub fn ipv4_range(cidrs: &[IpNet]) -> Option<Ipv4Net> {
    cidrs.iter().find_map(|net| match net {
        IpNet::V4(v4) => Some(v4.trunc()),
        IpNet::V6(_) => None,
    })
}

fn clash(a: &HostPort, b: &HostPort) -> bool {
    a.protocol == b.protocol
        && a.host_port == b.host_port
        && (a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip)
}

impl Ipam {
    /// Reads the leases back. A file that does not parse is removed: it was cut short by a power loss.
    pub fn open(dir: &Path) -> Result<Self, IpamError> {
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        let mut this = Self {
            dir: dir.to_owned(),
            leases: HashMap::new(),
            holders: BTreeMap::new(),
            last: None,
        };
        for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
            let path = entry.map_err(io_error("read", dir))?.path();
            let whole = path.extension().is_some_and(|e| e == "json");
            let lease = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Lease>(&bytes).ok());
            match lease {
                Some(lease) if whole && !this.holders.contains_key(&lease.address) => {
                    this.insert(lease)
                }
                _ => {
                    tracing::warn!(path = %path.display(), "removing an unreadable address lease");
                    fs::remove_file(&path).map_err(io_error("remove", &path))?;
                }
            }
        }
        this.last = this.holders.keys().next_back().copied();
        Ok(this)
    }

    fn insert(&mut self, lease: Lease) {
        self.holders.insert(lease.address, lease.sandbox.clone());
        self.leases.insert(lease.sandbox.clone(), lease);
    }

    fn path(&self, sandbox: &str) -> PathBuf {
        let safe = !sandbox.is_empty()
            && sandbox.len() <= 128
            && sandbox
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if safe {
            self.dir.join(format!("{sandbox}.json"))
        } else {
            self.dir
                .join(format!("x.{:016x}.json", names::hash(&[sandbox])))
        }
    }

    /// The lease of a sandbox.
    #[must_use]
    pub fn get(&self, sandbox: &str) -> Option<&Lease> {
        self.leases.get(sandbox)
    }

    /// All leases, in the order of their addresses.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.holders
            .values()
            .filter_map(|sandbox| self.leases.get(sandbox))
    }

    /// Gives a sandbox an address; the one it has already when it asks again. Addresses are handed
    /// out in turn, so that one just given back rests as long as possible.
    pub fn acquire(
        &mut self,
        sandbox: &str,
        range: Option<Ipv4Net>,
        veth: &str,
        host_ports: Vec<HostPort>,
    ) -> Result<Lease, IpamError> {
        if let Some(lease) = self.leases.get(sandbox) {
            return Ok(lease.clone());
        }
        let range = range.ok_or(IpamError::NoRange)?;
        for wanted in &host_ports {
            let holder = self
                .leases
                .values()
                .find(|lease| lease.host_ports.iter().any(|p| clash(p, wanted)));
            if let Some(holder) = holder {
                return Err(IpamError::HostPortTaken {
                    port: wanted.host_port,
                    sandbox: holder.sandbox.clone(),
                });
            }
        }
        let (first, end) = (u32::from(gateway(range)) + 1, u32::from(range.broadcast()));
        let start = self
            .last
            .map_or(first, |last| u32::from(last).saturating_add(1));
        let start = if (first..end).contains(&start) {
            start
        } else {
            first
        };
        let address = (start..end)
            .chain(first..start)
            .map(Ipv4Addr::from)
            .find(|address| !self.holders.contains_key(address))
            .ok_or_else(|| {
                IpamError::Exhausted(end.saturating_sub(first) as usize, range.to_string())
            })?;
        let lease = Lease {
            sandbox: sandbox.to_owned(),
            address,
            gateway: gateway(range),
            veth: veth.to_owned(),
            host_ports,
        };
        let path = self.path(sandbox);
        let draft = path.with_extension("tmp");
        let bytes = serde_json::to_vec(&lease).unwrap_or_default();
        fs::write(&draft, bytes).map_err(io_error("write", &draft))?;
        fs::rename(&draft, &path).map_err(io_error("rename", &draft))?;
        self.last = Some(address);
        self.insert(lease.clone());
        Ok(lease)
    }

    /// Takes a sandbox's address back.
    pub fn release(&mut self, sandbox: &str) -> Result<(), IpamError> {
        let path = self.path(sandbox);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &path)(error));
            }
            _ => {}
        }
        if let Some(lease) = self.leases.remove(sandbox) {
            self.holders.remove(&lease.address);
        }
        Ok(())
    }
}

/// A hardware address that belongs to an IP address, so that nobody's neighbour table goes stale
/// when it is used again.
#[must_use]
pub fn mac(address: IpAddr) -> [u8; 6] {
    let tail: [u8; 4] = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => (names::hash(&[&v6.to_string()]) as u32).to_be_bytes(),
    };
    [0x0a, 0x58, tail[0], tail[1], tail[2], tail[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<Ipv4Net> {
        Some(text.parse().unwrap())
    }

    fn acquire(ipam: &mut Ipam, sandbox: &str, net: &str) -> Result<Ipv4Addr, IpamError> {
        ipam.acquire(sandbox, range(net), "veth", Vec::new())
            .map(|lease| lease.address)
    }

    #[test]
    fn addresses_go_round_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut ipam = Ipam::open(dir.path()).unwrap();
        let net = "10.1.0.0/29";
        let given: Vec<_> = (0..5)
            .map(|n| acquire(&mut ipam, &format!("s{n}"), net).unwrap())
            .collect();
        assert_eq!(given.first(), Some(&Ipv4Addr::new(10, 1, 0, 2)));
        assert_eq!(given.last(), Some(&Ipv4Addr::new(10, 1, 0, 6)));
        assert!(matches!(
            acquire(&mut ipam, "s5", net),
            Err(IpamError::Exhausted(5, _))
        ));
        ipam.release("s1").unwrap();
        ipam.release("s3").unwrap();
        assert_eq!(acquire(&mut ipam, "s6", net).unwrap(), given[1]);
        assert_eq!(acquire(&mut ipam, "s7", net).unwrap(), given[3]);
    }

    #[test]
    fn the_same_sandbox_keeps_its_address_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let net = "10.1.0.0/24";
        let mut ipam = Ipam::open(dir.path()).unwrap();
        let a = acquire(&mut ipam, "a", net).unwrap();
        let odd = acquire(&mut ipam, "../odd", net).unwrap();
        assert_eq!(acquire(&mut ipam, "a", net).unwrap(), a);
        let mut ipam = Ipam::open(dir.path()).unwrap();
        assert_eq!(acquire(&mut ipam, "a", net).unwrap(), a);
        assert_eq!(acquire(&mut ipam, "../odd", net).unwrap(), odd);
        assert_eq!(
            acquire(&mut ipam, "b", net).unwrap(),
            Ipv4Addr::new(10, 1, 0, 4)
        );
    }

    #[test]
    fn a_torn_file_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.json"), b"{\"sandbox\":").unwrap();
        fs::write(dir.path().join("b.tmp"), b"").unwrap();
        let ipam = Ipam::open(dir.path()).unwrap();
        assert_eq!(ipam.leases().count(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn host_ports_clash_across_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let mut ipam = Ipam::open(dir.path()).unwrap();
        let port = |host_ip: Option<[u8; 4]>, protocol| HostPort {
            protocol,
            host_port: 80,
            host_ip: host_ip.map(Ipv4Addr::from),
            container_port: 8080,
        };
        let net = range("10.1.0.0/24");
        ipam.acquire("a", net, "v", vec![port(Some([10, 0, 0, 1]), 6)])
            .unwrap();
        ipam.acquire("b", net, "v", vec![port(Some([10, 0, 0, 2]), 6)])
            .unwrap();
        ipam.acquire("c", net, "v", vec![port(None, 17)]).unwrap();
        let taken = ipam.acquire("d", net, "v", vec![port(None, 6)]);
        assert!(matches!(
            taken,
            Err(IpamError::HostPortTaken { port: 80, .. })
        ));
    }

    #[test]
    fn no_range_no_lease() {
        let dir = tempfile::tempdir().unwrap();
        let mut ipam = Ipam::open(dir.path()).unwrap();
        assert!(matches!(
            ipam.acquire("a", None, "v", Vec::new()),
            Err(IpamError::NoRange)
        ));
    }
}
