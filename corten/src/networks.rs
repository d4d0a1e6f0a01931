//! The pods' networks, as `--cluster-cidr` and the sizes of the nodes' shares name them.

use anyhow::{Context as _, Result, bail};
use controllers::NodeNetwork;
use ipnet::IpNet;

use crate::settings::ShareSizes;

/// One network, or one of each address family with a comma between.
pub fn pod_networks(text: &str) -> Result<Vec<IpNet>> {
    let flag = || format!("--cluster-cidr {text}");
    let mut networks: Vec<IpNet> = Vec::new();
    for part in text.split(',') {
        let network: IpNet = part.trim().parse().with_context(|| {
            format!(
                "{}: {part:?} is not a network such as 10.244.0.0/16",
                flag()
            )
        })?;
        if networks
            .iter()
            .any(|other| other.addr().is_ipv4() == network.addr().is_ipv4())
        {
            bail!("{}: two networks of one address family", flag());
        }
        networks.push(network.trunc());
    }
    Ok(networks)
}

/// What nodes are given of them.
pub fn node_networks(networks: &[IpNet], sizes: ShareSizes) -> Result<Vec<NodeNetwork>> {
    let shares = networks.iter().map(|cluster| {
        let (mask, family) = match cluster {
            IpNet::V4(_) => (sizes.node_cidr_mask_size_ipv4, "ipv4"),
            IpNet::V6(_) => (sizes.node_cidr_mask_size_ipv6, "ipv6"),
        };
        if !(cluster.prefix_len()..=cluster.max_prefix_len()).contains(&mask) {
            bail!(
                "--cluster-cidr {cluster}: too small; each node takes a /{mask} of it (--node-cidr-mask-size-{family})"
            );
        }
        Ok(NodeNetwork {
            cluster: *cluster,
            mask,
        })
    });
    shares.collect()
}

#[cfg(test)]
mod tests {
    use super::{node_networks, pod_networks};
    use crate::settings::ShareSizes;

    const SIZES: ShareSizes = ShareSizes {
        node_cidr_mask_size_ipv4: 24,
        node_cidr_mask_size_ipv6: 64,
    };

    #[test]
    fn a_network_of_each_family_has_shares_of_its_own_size() {
        let networks = pod_networks("fd00:1::/48, 10.1.2.3/16").unwrap();
        let shares = node_networks(&networks, SIZES).unwrap();
        let shares: Vec<_> = shares
            .iter()
            .map(|share| (share.cluster.to_string(), share.mask))
            .collect();
        let (six, four) = ("fd00:1::/48".to_owned(), "10.1.0.0/16".to_owned());
        assert_eq!(shares, [(six, 64), (four, 24)]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let cases = [
            ("10.1.0.0/16,10.2.0.0/16", "one address family"),
            ("fd00::/56,fd01::/56", "one address family"),
            ("10.1.0.0/16,", "not a network"),
            ("10.1.0.0/25", "--node-cidr-mask-size-ipv4"),
            ("10.1.0.0/16,fd00::/72", "--node-cidr-mask-size-ipv6"),
        ];
        for (text, want) in cases {
            let networks = pod_networks(text).and_then(|all| node_networks(&all, SIZES));
            let message = format!("{:#}", networks.unwrap_err());
            assert!(message.contains(want), "{text}: {message}");
            assert!(message.contains("--cluster-cidr"), "{text}: {message}");
        }
    }
}
