//! Names and addresses: the node's, the cluster's, and what this machine lacks.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use ipnet::{IpNet, Ipv4Net};

use crate::{
    networks,
    settings::cluster::{Part, ServerSettings},
};

/// See the module.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub node_ip: IpAddr,
    /// Where pods get their addresses from: one network of each address family at the most.
    pub cluster_cidrs: Vec<IpNet>,
    /// Where Services get their addresses from.
    pub service_cidr: Ipv4Net,
    /// The `kubernetes` Service: the first address.
    pub kubernetes: Ipv4Addr,
    /// DNS: the tenth address.
    pub dns: Ipv4Addr,
    /// Ports of NodePort Services.
    pub node_ports: (u16, u16),
    /// Tells this cluster's interfaces, tables and cgroups from those of others on the machine.
    pub instance: String,
}

impl Addresses {
    /// Works them out, and refuses what cannot be.
    pub fn new(settings: &ServerSettings) -> Result<Addresses> {
        let cluster_cidrs = networks::pod_networks(&settings.cluster_cidr)?;
        let service_cidr: Ipv4Net = settings.service_cidr.parse().with_context(|| {
            format!(
                "--service-cidr {}: not an IPv4 network such as 10.96.0.0/16 (there are no Services of IPv6)",
                settings.service_cidr
            )
        })?;
        let service_cidr = service_cidr.trunc();
        if service_cidr.prefix_len() > 27 {
            bail!(
                "--service-cidr {service_cidr}: too small; /27 is the smallest that holds DNS and some Services"
            );
        }
        for cluster in &cluster_cidrs {
            let services = IpNet::V4(service_cidr);
            if cluster.contains(&services) || services.contains(cluster) {
                bail!("--cluster-cidr {cluster} and --service-cidr {service_cidr} overlap");
            }
        }
        let nth = |n: u32| Ipv4Addr::from(u32::from(service_cidr.network()) + n);
        let node_name = match &settings.node_name {
            Some(name) => name.clone(),
            None => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .to_lowercase(),
        };
        if !api::names::dns1123_subdomain(&node_name).is_empty() {
            bail!(
                "{node_name:?} cannot be a node's name (lower-case letters, digits, '-' and '.'): choose one with --node-name"
            );
        }
        Ok(Addresses {
            node_ip: settings.node_ip.unwrap_or_else(own_address),
            node_name,
            cluster_cidrs,
            service_cidr,
            kubernetes: nth(1),
            dns: nth(10),
            node_ports: node_ports(&settings.service_node_port_range)?,
            instance: instance(&settings.data.data_dir),
        })
    }
}

/// Refuses pods' addresses that this machine's node could not give out.
pub fn refuse_what_pods_cannot_have(
    settings: &ServerSettings,
    addresses: &Addresses,
) -> Result<()> {
    let flag = &settings.cluster_cidr;
    if addresses.cluster_cidrs.iter().all(|n| n.addr().is_ipv6()) {
        bail!(
            "--cluster-cidr {flag}: no IPv4 network; Services have IPv4 addresses, and pods of IPv6 alone cannot serve them"
        );
    }
    let own = settings.cni_conf_dir.is_none() && settings.container_runtime_endpoint.is_none();
    let six = addresses.cluster_cidrs.iter().find(|n| n.addr().is_ipv6());
    if let Some(network) = six
        && own
        && settings.runs(Part::Kubelet)
    {
        bail!(
            "--cluster-cidr {flag}: Corten's own pod network serves IPv4 alone; give pods addresses of {network} by CNI plugins (--cni-conf-dir)"
        );
    }
    Ok(())
}

fn node_ports(text: &str) -> Result<(u16, u16)> {
    let wrong = || format!("--service-node-port-range {text}: should be like 30000-32767");
    let (from, to) = text.split_once('-').with_context(wrong)?;
    let range = (
        from.parse().with_context(wrong)?,
        to.parse().with_context(wrong)?,
    );
    if range.0 == 0 || range.0 > range.1 {
        bail!(wrong());
    }
    Ok(range)
}

/// A short name for the cluster of a data directory, the same at every start.
pub fn instance(data: &Path) -> String {
    let data = data.canonicalize().unwrap_or_else(|_| PathBuf::from(data));
    if data == Path::new("/var/lib/corten") {
        return "0".into();
    }
    // FNV-1a: stable across versions, which a name in the kernel has to be.
    let hash = data
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{:08x}", hash >> 32)
}

/// The top cgroup of an instance's pods.
pub fn cgroup_root(instance: &str) -> String {
    format!("corten-{instance}")
}

/// The address this machine would send from: that of the default route.
fn own_address() -> IpAddr {
    // Connecting a UDP socket sends nothing; it only asks the routing table.
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    match asked {
        Ok(address) if !address.ip().is_unspecified() => address.ip(),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// What this machine lacks, said once at start.
pub fn machine_lacks() -> Vec<String> {
    let mut lacks = Vec::new();
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        lacks.push("cgroup v1: limits work; pressure figures and memory.high do not".to_string());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|h| u64::from_str_radix(h.trim(), 16).ok());
    const SYS_RESOURCE: u64 = 1 << 24;
    if effective.is_some_and(|e| e & SYS_RESOURCE == 0) {
        lacks.push(
            "no CAP_SYS_RESOURCE: OOM scores and hard limits keep the nearest value allowed"
                .to_string(),
        );
    }
    lacks
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand};

    use super::{Addresses, instance, refuse_what_pods_cannot_have};
    use crate::settings::{Command, cluster::ServerSettings};

    fn settings(arguments: &[&str]) -> ServerSettings {
        let command = Command::augment_subcommands(clap::Command::new("corten"));
        let matches = command.get_matches_from(["corten", "server"].iter().chain(arguments));
        match Command::from_arg_matches(&matches).unwrap() {
            Command::Server(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_follow_from_the_networks() {
        let addresses = Addresses::new(&settings(&[
            "--node-name",
            "n",
            "--service-cidr",
            "10.7.3.4/20",
        ]))
        .unwrap();
        assert_eq!(addresses.kubernetes.to_string(), "10.7.0.1");
        assert_eq!(addresses.dns.to_string(), "10.7.0.10");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_flag_to_change() {
        for (arguments, want) in [
            (["--cluster-cidr", "10.96.0.0/12"], "overlap"),
            (["--cluster-cidr", "10.1.0.0"], "--cluster-cidr"),
            (["--cluster-cidr", "fd00::/48"], "no IPv4 network"),
            (["--cluster-cidr", "10.1.0.0/16,fd00::/48"], "IPv4 alone"),
            (["--service-cidr", "x"], "--service-cidr x"),
            (["--service-cidr", "fd00::/112"], "no Services of IPv6"),
            (
                ["--service-node-port-range", "9-1"],
                "--service-node-port-range",
            ),
            (["--node-name", "Not_A_Name"], "--node-name"),
        ] {
            let settings = settings(&arguments);
            let refused = Addresses::new(&settings)
                .and_then(|found| refuse_what_pods_cannot_have(&settings, &found));
            let message = format!("{:#}", refused.unwrap_err());
            assert!(message.contains(want), "{arguments:?}: {message}");
        }
    }

    #[test]
    fn an_ipv6_network_is_for_cni_plugins_and_for_servers_without_a_node() {
        for further in [
            ["--cni-conf-dir", "/etc/cni/net.d"],
            ["--disable", "kubelet"],
        ] {
            let arguments = [&["--cluster-cidr", "10.1.0.0/16,fd00::/48"], &further[..]].concat();
            let settings = settings(&arguments);
            let addresses = Addresses::new(&settings).unwrap();
            assert_eq!(addresses.cluster_cidrs.len(), 2);
            refuse_what_pods_cannot_have(&settings, &addresses).unwrap();
        }
    }

    #[test]
    fn two_directories_are_two_instances() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(instance(a.path()), instance(b.path()));
        assert_eq!(instance(a.path()), instance(&a.path().join(".")));
    }
}
