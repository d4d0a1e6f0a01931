//! The built-in pod network of one node: a bridge, a veth pair per sandbox, everything over netlink.
//!
//! Each pod has its address with a host prefix and reaches everything, other pods of the node too,
//! through the gateway on the bridge. So every packet passes the node's packet filter, and a
//! service's reply is translated back, whether or not the kernel shows bridged frames to the filter
//! (`br_netfilter`).

mod attach;
mod ipam;
mod rules;
mod sysctl;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::{IpNet, Ipv4Net};
use parking_lot::Mutex;
use runtime::network::{Attached, Attachment, NetworkError, PodNetwork};

use crate::names;
use crate::netlink;
use crate::netlink::nft;
use crate::netlink::route::Route;
use crate::netlink::socket::{Family, Socket};
use ipam::Ipam;
pub use ipam::IpamError;

/// What a node's pod network is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Short id from which the bridge and the table are named.
    pub instance: String,
    /// Directory of this network's state; made when absent.
    pub state_dir: PathBuf,
    /// The node's pod ranges; empty when they are not known yet. Then those of an earlier run
    /// are used, until [`PodNetwork::set_pod_cidrs`] says otherwise.
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges that pods reach with their own address (all nodes' pods).
    pub cluster_cidrs: Vec<IpNet>,
    /// Service ranges. The node gets a route for them, so that its own processes reach services
    /// even without a default route, and with a source address that every pod can answer.
    pub service_cidrs: Vec<IpNet>,
    /// MTU of pods; none takes that of the interface with the default route.
    pub mtu: Option<u32>,
}

/// Why the pod network cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused.
    #[error("pod network: {0}")]
    Netlink(#[from] netlink::Error),
    /// The state directory cannot be used.
    #[error("pod network: {0}")]
    State(#[from] IpamError),
    /// Something else on this machine has an address out of the range.
    #[error(
        "pod network: {link} has the address {address} of the pods' range {range}; if it belongs to another Corten cluster that is no longer wanted, `corten reset --data-dir ITS_DIRECTORY` takes it away, else choose another range with --cluster-cidr"
    )]
    Taken {
        /// Whose address it is.
        link: String,
        /// The address.
        address: IpAddr,
        /// The range.
        range: IpNet,
    },
    /// A range too small to hold a gateway and a pod.
    #[error("pod network: pod range {0} is too small: at least four addresses are needed")]
    TooSmall(Ipv4Net),
}

/// What is set up in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    range: Ipv4Net,
    bridge: u32,
    mac: [u8; 6],
    mtu: u32,
}

/// The pod network of this node.
#[derive(Debug)]
pub struct Bridge {
    config: Config,
    name: String,
    table: String,
    ipam: Mutex<Ipam>,
    standing: Mutex<Option<Standing>>,
    /// Transactions of the table go one after the other; holding this is holding the socket.
    nft: Mutex<Socket>,
}

impl Bridge {
    /// Opens the network: reads the leases back and, when a pod range is given, makes bridge and
    /// table ready. Pods of an earlier run keep their network.
    pub fn open(config: Config) -> Result<Arc<Self>, OpenError> {
        let ipam = Ipam::open(&config.state_dir.join("leases"))?;
        let this = Self {
            name: names::bridge(&config.instance),
            table: names::pods_table(&config.instance),
            ipam: Mutex::new(ipam),
            standing: Mutex::new(None),
            nft: Mutex::new(Socket::open(Family::Netfilter)?),
            config,
        };
        this.ensure_free()?;
        this.forget_vanished()?;
        let range = ipam::ipv4_range(&this.config.pod_cidrs).or_else(|| this.last_range());
        if let Some(range) = range {
            this.set_up(range)?;
        }
        Ok(Arc::new(this))
    }

    /// Another cluster's bridge, or a neighbour with an address of the pods' range, would get what is
    /// meant for pods: better no network than one that fails in some directions.
    fn ensure_free(&self) -> Result<(), OpenError> {
        let mut route = Route::open()?;
        for link in route.links()? {
            if link.name == self.name {
                continue;
            }
            for address in route.addresses(Some(link.index))? {
                let taken = self
                    .config
                    .cluster_cidrs
                    .iter()
                    .find(|net| net.contains(&address));
                if let Some(range) = taken {
                    return Err(OpenError::Taken {
                        link: link.name,
                        address,
                        range: *range,
                    });
                }
            }
        }
        Ok(())
    }

    /// The bridge's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address pods know the node by; none until there is a pod range.
    #[must_use]
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.standing
            .lock()
            .map(|standing| ipam::gateway(standing.range))
    }

    fn range_file(&self) -> PathBuf {
        self.config.state_dir.join("range")
    }

    /// The range of an earlier run: a restarted node goes on with it until it is told otherwise.
    fn last_range(&self) -> Option<Ipv4Net> {
        let text = std::fs::read_to_string(self.range_file()).ok()?;
        text.trim().parse().ok()
    }

    fn keep_range(&self, range: Ipv4Net) {
        if self.last_range() == Some(range) {
            return;
        }
        // One short line: a crash in between leaves a file that does not parse, which counts as none.
        if let Err(error) = std::fs::write(self.range_file(), format!("{range}\n")) {
            tracing::warn!(%error, "cannot keep the pod range: after a restart pods wait for the API");
        }
    }

    /// Takes the gateways of former ranges away once no sandbox uses them.
    fn forget_gateways(
        &self,
        route: &mut Route,
        link: u32,
        gateway: Ipv4Addr,
    ) -> Result<(), netlink::Error> {
        let used: Vec<_> = self
            .ipam
            .lock()
            .leases()
            .map(|lease| lease.gateway)
            .collect();
        for address in route.addresses(Some(link))? {
            if let IpAddr::V4(v4) = address
                && v4 != gateway
                && !used.contains(&v4)
            {
                route.delete_address(link, address)?;
            }
        }
        Ok(())
    }

    /// Leases of sandboxes whose veth pair is gone belong to namespaces that are gone.
    fn forget_vanished(&self) -> Result<(), OpenError> {
        let mut ipam = self.ipam.lock();
        if ipam.leases().next().is_none() {
            return Ok(());
        }
        let links: std::collections::HashSet<_> = Route::open()?
            .links()?
            .into_iter()
            .map(|l| l.name)
            .collect();
        let gone: Vec<_> = ipam
            .leases()
            .filter(|l| !links.contains(&l.veth))
            .map(|l| l.sandbox.clone())
            .collect();
        for sandbox in gone {
            ipam.release(&sandbox)?;
        }
        Ok(())
    }

    /// Makes bridge, addresses, routes, sysctls and table what they should be; repeating it changes
    /// nothing.
    fn set_up(&self, range: Ipv4Net) -> Result<(), OpenError> {
        if range.prefix_len() > 30 {
            return Err(OpenError::TooSmall(range));
        }
        let mut route = Route::open()?;
        let gateway = ipam::gateway(range);
        let mtu = match self.config.mtu {
            Some(mtu) => mtu,
            None => self.uplink_mtu(&mut route)?,
        };
        route.add_bridge(&self.name, ipam::mac(IpAddr::V4(gateway)), mtu)?;
        let missing = || netlink::Error::Malformed {
            request: format!("get link {}", self.name),
        };
        let link = route.link(&self.name)?.ok_or_else(missing)?;
        route.set_up(link.index)?;
        route.add_address(link.index, IpAddr::V4(gateway), range.prefix_len())?;
        self.forget_gateways(&mut route, link.index, gateway)?;
        for net in self
            .config
            .service_cidrs
            .iter()
            .filter(|net| matches!(net, IpNet::V4(_)))
        {
            if let Err(error) = route.set_route(*net, link.index, None) {
                tracing::warn!(%net, %error, "no route for the service range: node processes need a default route to reach services");
            }
        }
        sysctl::prepare(&self.name);
        let mut nft = self.nft.lock();
        let inputs = rules::Inputs {
            bridge: &self.name,
            range,
            cluster: &self.config.cluster_cidrs,
        };
        rules::whole(&self.table, inputs, self.ipam.lock().leases()).commit(&mut nft)?;
        *self.standing.lock() = Some(Standing {
            range,
            bridge: link.index,
            mac: link.mac,
            mtu,
        });
        self.keep_range(range);
        tracing::info!(bridge = self.name, %range, mtu, "pod network ready");
        Ok(())
    }

    fn uplink_mtu(&self, route: &mut Route) -> Result<u32, netlink::Error> {
        const ETHERNET: u32 = 1500;
        let Some(index) = route.default_link()? else {
            return Ok(ETHERNET);
        };
        let uplink = route
            .links()?
            .into_iter()
            .find(|link| link.index == index && link.name != self.name);
        Ok(uplink.map_or(ETHERNET, |link| link.mtu).clamp(1280, 65_535))
    }

    fn standing(&self) -> Result<Standing, String> {
        self.standing
            .lock()
            .ok_or_else(|| "the node has no IPv4 pod address range yet".to_owned())
    }
}

/// Runs a call on a blocking thread and words its failure as the trait wants it.
async fn blocking<T: Send + 'static>(
    this: &Bridge,
    operation: &'static str,
    attachment: &Attachment,
    work: impl FnOnce(&Bridge, &Attachment) -> Result<T, String> + Send,
) -> Result<T, NetworkError> {
    let result = netlink::blocking(|| work(this, attachment));
    result.map_err(|reason| NetworkError {
        operation,
        sandbox: attachment.sandbox_id.clone(),
        reason,
    })
}

#[async_trait]
impl PodNetwork for Bridge {
    async fn ready(&self) -> Result<(), String> {
        let standing = self.standing()?;
        // Asked every few seconds, so this is also where rules that somebody flushed are put back.
        netlink::blocking(|| {
            let intact = nft::table_exists(&mut self.nft.lock(), nft::Family::V4, &self.table);
            if intact.map_err(|error| error.to_string())? {
                return Ok(());
            }
            tracing::warn!(
                table = self.table,
                "the pod network's rules were removed: putting them back"
            );
            self.set_up(standing.range)
                .map_err(|error| error.to_string())
        })
    }

    async fn add(&self, attachment: &Attachment) -> Result<Attached, NetworkError> {
        blocking(self, "add", attachment, Self::attach).await
    }

    async fn check(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        blocking(self, "check", attachment, Self::inspect).await
    }

    async fn del(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        blocking(self, "del", attachment, Self::detach).await
    }

    async fn set_pod_cidrs(&self, cidrs: &[String]) -> Result<(), String> {
        let parsed: Result<Vec<IpNet>, _> = cidrs.iter().map(|c| c.parse::<IpNet>()).collect();
        let parsed = parsed.map_err(|error| format!("pod range in {cidrs:?}: {error}"))?;
        let Some(range) = ipam::ipv4_range(&parsed) else {
            return Err(format!("no IPv4 pod range in {cidrs:?}"));
        };
        if self
            .standing
            .lock()
            .is_some_and(|standing| standing.range == range)
        {
            return Ok(());
        }
        self.set_up(range).map_err(|error| error.to_string())
    }
}
