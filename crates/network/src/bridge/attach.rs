//! ADD, CHECK and DEL of one sandbox.

use std::net::IpAddr;
use std::os::fd::AsFd;

use ipnet::{IpNet, Ipv4Net};
use runtime::network::{Attached, Attachment, Bandwidth, PortMapping};
use rustix::io::Errno;

use super::ipam::{self, HostPort, Lease};
use super::{Bridge, Standing, rules};
use crate::names;
use crate::netlink::nft::{Batch, Family};
use crate::netlink::route::{LOOPBACK, Route, Veth};
use crate::netlink::socket::{self, Socket};
use crate::netlink::{self, conntrack, netns};

/// The pod's interface.
const POD_LINK: &str = "eth0";

fn host_ports(mappings: &[PortMapping]) -> Result<Vec<HostPort>, String> {
    let mut ports = Vec::new();
    for mapping in mappings.iter().filter(|m| m.host_port != 0) {
        let protocol = match mapping.protocol.as_str() {
            "TCP" | "" => libc::IPPROTO_TCP,
            "UDP" => libc::IPPROTO_UDP,
            "SCTP" => libc::IPPROTO_SCTP,
            other => {
                return Err(format!(
                    "host port {}: unknown protocol {other:?}",
                    mapping.host_port
                ));
            }
        } as u8;
        let host_ip = match mapping.host_ip {
            None => None,
            Some(ip) if ip.is_unspecified() => None,
            Some(IpAddr::V4(v4)) => Some(v4),
            Some(IpAddr::V6(_)) => continue,
        };
        let port = HostPort {
            protocol,
            host_port: mapping.host_port,
            host_ip,
            container_port: mapping.container_port,
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// The inside of the pod's namespace. A route that exists is replaced and an address that exists
/// left, so that this can be repeated over a half-finished attempt.
fn furnish(inside: &mut Route, lease: &Lease, gateway_mac: [u8; 6]) -> Result<u32, netlink::Error> {
    inside.set_up(LOOPBACK)?;
    let missing = || netlink::Error::Refused {
        request: format!("get link {POD_LINK}"),
        errno: Errno::NODEV,
    };
    let index = inside.link(POD_LINK)?.ok_or_else(missing)?.index;
    inside.set_up(index)?;
    inside.add_address(index, IpAddr::V4(lease.address), 32)?;
    let gateway = IpAddr::V4(lease.gateway);
    inside.set_route(IpNet::from(gateway), index, None)?;
    inside.set_route(IpNet::V4(Ipv4Net::default()), index, Some(gateway))?;
    inside.set_neighbour(index, gateway, gateway_mac)?;
    Ok(index)
}

impl Bridge {
    pub(super) fn attach(&self, attachment: &Attachment) -> Result<Attached, String> {
        let standing = self.standing()?;
        let veth = names::host_veth(&self.config.instance, &attachment.sandbox_id);
        let ports = host_ports(&attachment.port_mappings)?;
        let known = self.ipam.lock().get(&attachment.sandbox_id).is_some();
        let lease = self
            .ipam
            .lock()
            .acquire(&attachment.sandbox_id, Some(standing.range), &veth, ports)
            .map_err(|error| error.to_string())?;
        match self.wire(attachment, &standing, &lease) {
            Ok(()) => Ok(Attached {
                addresses: vec![rules::address(&lease)],
            }),
            Err(error) => {
                // A first attempt that failed leaves nothing; a repeated one leaves what DEL will
                // be asked for.
                if !known && let Err(later) = self.detach(attachment) {
                    tracing::warn!(
                        sandbox = attachment.sandbox_id,
                        error = later,
                        "could not undo a failed ADD"
                    );
                }
                Err(error.to_string())
            }
        }
    }

    fn wire(
        &self,
        attachment: &Attachment,
        standing: &Standing,
        lease: &Lease,
    ) -> Result<(), netlink::Error> {
        let namespace = netns::open(&attachment.netns)?;
        let mut host = Route::open()?;
        let address = IpAddr::V4(lease.address);
        let veth = Veth {
            host: &lease.veth,
            master: standing.bridge,
            pod: POD_LINK,
            mac: ipam::mac(address),
            namespace: namespace.as_fd(),
            mtu: standing.mtu,
        };
        match host.add_veth(&veth) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(Errno::EXIST) => {
                // Left by an attempt that was cut short, perhaps of another namespace: make it anew
                // unless it is this one's.
                let mine = netns::within(&attachment.netns, &namespace, Route::open)?
                    .link(POD_LINK)?
                    .is_some();
                if !(mine && host.link(&lease.veth)?.is_some()) {
                    host.delete_link(&lease.veth)?;
                    host.add_veth(&veth)?;
                }
            }
            Err(error) => return Err(error),
        }
        let mut inside = netns::within(&attachment.netns, &namespace, Route::open)?;
        let eth0 = furnish(&mut inside, lease, standing.mac)?;
        host.set_neighbour(standing.bridge, address, ipam::mac(address))?;
        if let Err(error) = host.set_hairpin(&lease.veth) {
            tracing::debug!(veth = lease.veth, %error, "no hairpin on this port");
        }
        let Bandwidth { ingress, egress } = attachment.bandwidth;
        let limit = |route: &mut Route, index: u32, bits: u64| {
            if bits == 0 {
                return;
            }
            if let Err(error) = route.limit_rate(index, bits.div_ceil(8)) {
                tracing::warn!(sandbox = attachment.sandbox_id, %error, "the pod's bandwidth is not limited");
            }
        };
        limit(&mut inside, eth0, egress);
        if ingress > 0
            && let Some(link) = host.link(&lease.veth)?
        {
            limit(&mut host, link.index, ingress);
        }
        self.change_host_ports(lease, rules::add)?;
        self.forget_connections(lease, false);
        Ok(())
    }

    /// UDP clients of a host port that keep sending would stay with whoever had it before.
    fn forget_connections(&self, lease: &Lease, leaving: bool) {
        let ports: Vec<u16> = lease
            .host_ports
            .iter()
            .filter(|p| i32::from(p.protocol) == libc::IPPROTO_UDP)
            .map(|p| p.host_port)
            .collect();
        if ports.is_empty() {
            return;
        }
        let clear = || {
            let own = Route::open()?.addresses(None)?;
            let mut socket = Socket::open(socket::Family::Netfilter)?;
            let stale = conntrack::list(&mut socket, libc::IPPROTO_UDP as u8, |entry| {
                let (to, port) = entry.original.destination;
                let mine = entry.reply.source.0 == lease.address;
                ports.contains(&port) && own.contains(&IpAddr::V4(to)) && mine == leaving
            })?;
            stale
                .iter()
                .try_for_each(|entry| conntrack::delete(&mut socket, entry))
        };
        let result: Result<(), netlink::Error> = clear();
        if let Err(error) = result {
            tracing::warn!(%error, "UDP clients of a host port may stay with its former pod");
        }
    }

    fn change_host_ports(
        &self,
        lease: &Lease,
        change: fn(&mut Batch, &Lease),
    ) -> Result<(), netlink::Error> {
        if lease.host_ports.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(Family::V4, &self.table);
        change(&mut batch, lease);
        batch.commit(&mut self.nft.lock())
    }

    pub(super) fn inspect(&self, attachment: &Attachment) -> Result<(), String> {
        let lease = self
            .ipam
            .lock()
            .get(&attachment.sandbox_id)
            .cloned()
            .ok_or("it has no address")?;
        let bridge = self.standing()?.bridge;
        let words = |error: netlink::Error| error.to_string();
        let host = Route::open()
            .and_then(|mut r| r.link(&lease.veth))
            .map_err(words)?;
        let host = host.ok_or_else(|| format!("link {} is gone", lease.veth))?;
        if !host.up || host.master != Some(bridge) {
            return Err(format!(
                "link {} is down or not a port of {}",
                lease.veth, self.name
            ));
        }
        let namespace = netns::open(&attachment.netns).map_err(words)?;
        let mut inside =
            netns::within(&attachment.netns, &namespace, Route::open).map_err(words)?;
        let link = inside
            .link(POD_LINK)
            .map_err(words)?
            .ok_or_else(|| format!("link {POD_LINK} is gone"))?;
        let addresses = inside.addresses(Some(link.index)).map_err(words)?;
        if !link.up || !addresses.contains(&IpAddr::V4(lease.address)) {
            return Err(format!(
                "{POD_LINK} is down or lacks the address {}",
                lease.address
            ));
        }
        Ok(())
    }

    pub(super) fn detach(&self, attachment: &Attachment) -> Result<(), String> {
        let sandbox = &attachment.sandbox_id;
        let words = |error: netlink::Error| error.to_string();
        let lease = self.ipam.lock().get(sandbox).cloned();
        let veth = names::host_veth(&self.config.instance, sandbox);
        let mut host = Route::open().map_err(words)?;
        // The pair goes with its namespace; while that is still held, it goes here.
        host.delete_link(&veth).map_err(words)?;
        let Some(lease) = lease else { return Ok(()) };
        if let Ok(standing) = self.standing() {
            host.delete_neighbour(standing.bridge, IpAddr::V4(lease.address))
                .map_err(words)?;
            match self.change_host_ports(&lease, rules::remove) {
                // An ADD that failed half-way had not put them in.
                Err(error) if error.errno() == Some(Errno::NOENT) => {}
                other => other.map_err(words)?,
            }
        }
        self.forget_connections(&lease, true);
        self.ipam
            .lock()
            .release(sandbox)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn mappings_become_host_ports() {
        let mapping = |protocol: &str, host_port, host_ip: Option<&str>| PortMapping {
            protocol: protocol.into(),
            container_port: 80,
            host_port,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        };
        let found = host_ports(&[
            mapping("TCP", 8080, Some("0.0.0.0")),
            mapping("TCP", 8080, None),
            mapping("UDP", 8080, Some("127.0.0.1")),
            mapping("TCP", 0, None),
            mapping("TCP", 1, Some("::1")),
        ])
        .unwrap();
        let port = |protocol, host_ip| HostPort {
            protocol,
            host_port: 8080,
            host_ip,
            container_port: 80,
        };
        assert_eq!(found, [port(6, None), port(17, Some(Ipv4Addr::LOCALHOST))]);
        assert!(host_ports(&[mapping("ICMP", 1, None)]).is_err());
    }
}
