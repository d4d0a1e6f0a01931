//! The objects simulated nodes write. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Config;

/// Kubelets' Leases live here.
pub const LEASES: &str = "kube-node-lease";

/// A node's name.
pub fn name(config: &Config, index: u32) -> String {
    format!("{}{index}", config.prefix)
}

/// The index of the node of this name, if it is one of ours.
pub fn index(config: &Config, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(config.prefix.as_str())?;
    let index: u32 = digits.parse().ok().filter(|i| *i < config.nodes)?;
    // `07` and `+7` are others' nodes.
    (digits == index.to_string()).then_some(index)
}

/// The node as it registers, Ready.
pub fn node(config: &Config, index: u32, now: &str) -> Value {
    let name = name(config, index);
    let mut labels: BTreeMap<String, String> = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
    ] {
        labels
            .entry(key.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    if let Some(zone) = index.checked_rem(config.zones) {
        labels.insert("topology.kubernetes.io/zone".into(), format!("zone-{zone}"));
        labels
            .entry("topology.kubernetes.io/region".into())
            .or_insert_with(|| "region-0".into());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": status(config, index, now),
    })
}

/// The status of a healthy node.
pub fn status(config: &Config, index: u32, now: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    json!({
        "capacity": config.capacity,
        "allocatable": config.capacity,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "simulated"),
        ],
        "addresses": [
            {"type": "InternalIP", "address": address(10, 64, index)},
            {"type": "Hostname", "address": name(config, index)},
        ],
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "",
            "kernelVersion": "0", "osImage": "simulated", "containerRuntimeVersion": "simulated://0",
            "kubeletVersion": "v1.36.0", "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
        },
    })
}

/// The `n`-th address of a block of four million: `first.second/10`.
pub fn address(first: u8, second: u8, n: u32) -> String {
    let n = n.wrapping_add(1) % (1 << 22);
    format!(
        "{first}.{}.{}.{}",
        u32::from(second) + (n >> 16),
        (n >> 8) & 255,
        n & 255
    )
}

/// A node's Lease as it is first made.
pub fn lease(config: &Config, index: u32, now: &str) -> Value {
    let name = name(config, index);
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASES},
        "spec": {
            "holderIdentity": name,
            // Four missed heartbeats are a dead node, as with the kubelet's 10 s and 40 s.
            "leaseDurationSeconds": config.heartbeat.as_secs().max(1) * 4,
            "renewTime": now,
        },
    })
}

/// A heartbeat.
pub fn renewal(now: &str) -> Value {
    json!({"spec": {"renewTime": now}})
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    pub(crate) fn config() -> Config {
        Config {
            nodes: 10,
            prefix: "sim-".into(),
            capacity: [("cpu".to_owned(), "4".to_owned())].into(),
            labels: BTreeMap::new(),
            zones: 3,
            heartbeat: Duration::from_secs(10),
            stop: Duration::from_secs(1),
            writes: 4,
        }
    }

    #[test]
    fn only_its_own_names_are_a_nodes() {
        let config = config();
        for (text, want) in [
            ("sim-0", Some(0)),
            ("sim-9", Some(9)),
            ("sim-10", None),
            ("sim-07", None),
            ("sim-+7", None),
            ("sim-", None),
            ("n1", None),
        ] {
            assert_eq!(index(&config, text), want, "{text}");
        }
        assert_eq!(name(&config, 3), "sim-3");
    }

    #[test]
    fn zones_are_dealt_out_in_turn() {
        let zone = |index| {
            node(&config(), index, "t")["metadata"]["labels"]["topology.kubernetes.io/zone"].clone()
        };
        assert_eq!((zone(0), zone(4)), (json!("zone-0"), json!("zone-1")));
        let without = Config {
            zones: 0,
            ..config()
        };
        assert_eq!(
            node(&without, 0, "t")["metadata"]["labels"].get("topology.kubernetes.io/zone"),
            None
        );
    }

    #[test]
    fn addresses_differ_and_are_never_the_networks_own() {
        assert_eq!(address(10, 64, 0), "10.64.0.1");
        assert_eq!(address(10, 64, 255), "10.64.1.0");
        assert_eq!(address(10, 64, 65_535), "10.65.0.0");
        assert_eq!(address(10, 64, u32::MAX), "10.64.0.0");
    }
}
