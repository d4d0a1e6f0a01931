//! Nodes: what they are and have, and what runs there.

use std::collections::{BTreeMap, BTreeSet};

use api::{object::Object, quantity::Quantity, quota::usage};
use serde_json::Value;

use super::{
    Ask, Events, Layout,
    page::{Cell, Page, Row, Table, or_none, quantity},
};
use crate::session::escape;

/// So many pools of devices are listed.
const POOLS: usize = 10;

/// How Nodes are described.
pub const NODE: Layout = Layout {
    events: Events::Node,
    asks: |node| {
        let name = node.text("metadata.name");
        let running = format!("spec.nodeName={name},status.phase!=Failed,status.phase!=Succeeded");
        vec![
            Ask::new(
                "pods",
                format!("/api/v1/pods?fieldSelector={}", escape(&running)),
            )
            .tolerated(403),
            Ask::new(
                "lease",
                format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"),
            )
            .optional(),
            Ask::new(
                "slices",
                format!(
                    "/apis/resource.k8s.io/v1/resourceslices?fieldSelector={}",
                    escape(&format!("spec.nodeName={name}"))
                ),
            )
            .optional(),
        ]
    },
    ..Layout::new(
        "v1",
        "Node",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Line("Roles", roles),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Time("CreationTimestamp", "metadata.creationTimestamp"),
            Row::Part(|node, page| page.items("Taints", "", &taints(node))),
            Row::Or("Unschedulable", "spec.unschedulable", "false"),
            Row::Part(lease),
            Row::Table(&Table {
                title: "Conditions:",
                head: "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage",
                under: "----\t------\t-----------------\t------------------\t------\t-------",
                list: "status.conditions",
                cells: &[
                    Cell::Spaced("type"),
                    Cell::Spaced("status"),
                    Cell::SpacedTime("lastHeartbeatTime"),
                    Cell::SpacedTime("lastTransitionTime"),
                    Cell::Spaced("reason"),
                    Cell::Text("message"),
                ],
            }),
            Row::Words("Addresses:\n"),
            Row::Part(|node, page| {
                for address in node.list("status.addresses") {
                    page.field(1, address.text("type"), address.text("address"));
                }
                amounts("Capacity", node.at("status.capacity"), page);
                amounts("Allocatable", node.at("status.allocatable"), page);
            }),
            Row::Part(pools),
            Row::Words("System Info:\n"),
            Row::Field("  Machine ID", "status.nodeInfo.machineID"),
            Row::Field("  System UUID", "status.nodeInfo.systemUUID"),
            Row::Field("  Boot ID", "status.nodeInfo.bootID"),
            Row::Field("  Kernel Version", "status.nodeInfo.kernelVersion"),
            Row::Field("  OS Image", "status.nodeInfo.osImage"),
            Row::Field("  Operating System", "status.nodeInfo.operatingSystem"),
            Row::Field("  Architecture", "status.nodeInfo.architecture"),
            Row::Field(
                "  Container Runtime Version",
                "status.nodeInfo.containerRuntimeVersion",
            ),
            Row::Field("  Kubelet Version", "status.nodeInfo.kubeletVersion"),
            Row::Given("PodCIDR", "spec.podCIDR"),
            Row::GivenLine("PodCIDRs", |node| {
                let ranges: Vec<&str> = node.texts("spec.podCIDRs").collect();
                (!ranges.is_empty()).then(|| ranges.join(","))
            }),
            Row::Given("ProviderID", "spec.providerID"),
            Row::Part(pods),
        ],
    )
};

fn roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in node.pairs("metadata.labels") {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.insert(role);
        } else if key == "kubernetes.io/role" {
            roles.insert(value.as_str().unwrap_or_default());
        }
    }
    roles.remove("");
    or_none(roles.into_iter().collect::<Vec<_>>().join(","))
}

/// Taints by effect and key.
fn taints(node: &Value) -> Vec<String> {
    let mut taints: Vec<&Value> = node.list("spec.taints").iter().collect();
    taints.sort_by_key(|t| format!("{},{}", t.text("effect"), t.text("key")));
    taints
        .iter()
        .map(|t| {
            let value = match (t.text("value"), t.text("effect")) {
                ("", _) => String::new(),
                (value, "") => format!("={value}:"),
                (value, _) => format!("={value}"),
            };
            let effect = match t.text("effect") {
                "" => String::new(),
                effect => format!(":{effect}"),
            };
            format!("{}{value}{effect}", t.text("key"))
        })
        .collect()
}

fn lease(_: &Value, page: &mut Page) {
    if let Some(error) = page.answers.error("lease") {
        let text = format!("Failed to get lease: {error}");
        page.field(0, "Lease", text);
        return;
    }
    let spec = page.answers.object("lease").at("spec").clone();
    page.line(0, "Lease:");
    page.rows(
        1,
        &spec,
        &[Row::Or("HolderIdentity", "holderIdentity", "<unset>")],
    );
    for (title, field) in [("AcquireTime", "acquireTime"), ("RenewTime", "renewTime")] {
        let text = match spec.at(field) {
            Value::Null => "<unset>".into(),
            time => page.moment.time(time),
        };
        page.field(1, title, text);
    }
}

fn amounts(title: &str, list: &Value, page: &mut Page) {
    let Some(list) = list.as_object().filter(|m| !m.is_empty()) else {
        return;
    };
    page.line(0, format!("{title}:"));
    for (name, amount) in list {
        page.field(1, name, quantity(amount));
    }
}

/// The devices that only this node has, by driver and pool.
fn pools(_: &Value, page: &mut Page) {
    let mut pools: BTreeMap<String, (String, usize, usize)> = BTreeMap::new();
    for slice in page.answers.items("slices") {
        let (driver, pool) = (slice.text("spec.driver"), slice.text("spec.pool.name"));
        let entry = pools
            .entry(format!("{driver}/{pool}"))
            .or_insert_with(|| (format!("{driver}\t{pool}"), 0, 0));
        entry.1 += 1;
        entry.2 += slice.list("spec.devices").len();
    }
    if pools.is_empty() {
        return;
    }
    page.line(0, "Node-Local ResourceSlices:");
    page.line(1, "Driver\tPool\tSlices\tDevices");
    page.line(1, "------\t----\t------\t-------");
    for (title, slices, devices) in pools.values().take(POOLS) {
        page.line(1, format!("{title}\t{slices}\t{devices}"));
    }
    if pools.len() > POOLS {
        page.line(1, format!("...and {} more pools", pools.len() - POOLS));
    }
}

/// An amount, and how much of what there is.
fn share(amount: Quantity, of: Quantity, milli: bool) -> String {
    let (part, whole) = if milli {
        (amount.millis(), of.millis())
    } else {
        (amount.value(), of.value())
    };
    let percent = match whole {
        0 => 0,
        whole => (part as f64 / whole as f64 * 100.0) as i64,
    };
    format!("{amount} ({percent}%)")
}

fn pods(node: &Value, page: &mut Page) {
    if page.answers.error("pods").is_some() {
        page.field(0, "Pods", "not authorized");
        return;
    }
    let pods = page.answers.items("pods").to_vec();
    let have = match node.at("status.allocatable") {
        Value::Object(map) if !map.is_empty() => node.at("status.allocatable"),
        _ => node.at("status.capacity"),
    };
    let of = |name: &str| Quantity::of(&have[name]);
    page.field(
        0,
        "Non-terminated Pods",
        format!("({} in total)", pods.len()),
    );
    page.line(
        1,
        "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge",
    );
    page.line(
        1,
        "---------\t----\t\t------------\t----------\t---------------\t-------------\t---",
    );
    let (mut requests, mut limits) = (usage::Usage::new(), usage::Usage::new());
    for pod in &pods {
        let now = in_effect(pod);
        let (asks, caps) = (
            usage::totals(&now, "requests"),
            usage::totals(&now, "limits"),
        );
        let part = |amounts: &usage::Usage, name: &str| {
            share(
                amounts.get(name).copied().unwrap_or_default(),
                of(name),
                name == "cpu",
            )
        };
        let since = page.moment.since(pod.at("metadata.creationTimestamp"));
        page.line(
            1,
            format!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{since}",
                pod.text("metadata.namespace"),
                pod.text("metadata.name"),
                part(&asks, "cpu"),
                part(&caps, "cpu"),
                part(&asks, "memory"),
                part(&caps, "memory")
            ),
        );
        for (sum, kind) in [(&mut requests, "requests"), (&mut limits, "limits")] {
            for (name, amount) in usage::totals(pod, kind) {
                *sum.entry(name).or_default() += amount;
            }
        }
    }
    page.line(
        0,
        "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)",
    );
    page.line(1, "Resource\tRequests\tLimits");
    page.line(1, "--------\t--------\t------");
    let mut names = vec!["cpu", "memory", "ephemeral-storage"];
    let others = || {
        let names = have
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str());
        names.filter(|n| !matches!(*n, "cpu" | "memory" | "ephemeral-storage" | "pods"))
    };
    names.extend(others().filter(|n| n.starts_with("hugepages-")));
    let amount =
        |amounts: &usage::Usage, name: &str| amounts.get(name).copied().unwrap_or_default();
    for name in names {
        let part = |amounts: &usage::Usage| share(amount(amounts, name), of(name), name == "cpu");
        page.line(1, format!("{name}\t{}\t{}", part(&requests), part(&limits)));
    }
    for name in others().filter(|n| !n.starts_with("hugepages-")) {
        let (asked, limit) = (amount(&requests, name), amount(&limits, name));
        page.line(1, format!("{name}\t{asked}\t{limit}"));
    }
}

/// The pod with what its containers were resized to counted where that is more (KEP-1287).
fn in_effect(pod: &Value) -> Value {
    let mut now = pod.clone();
    for (list, statuses) in [
        ("spec.containers", "status.containerStatuses"),
        ("spec.initContainers", "status.initContainerStatuses"),
    ] {
        for container in now.list_mut(list) {
            let status = pod
                .list(statuses)
                .iter()
                .find(|s| s.text("name") == container.text("name") && s.has("resources"));
            let Some(status) = status else { continue };
            for (kind, path) in [
                ("resources.requests", "resources.requests"),
                ("resources.requests", "allocatedResources"),
                ("resources.limits", "resources.limits"),
            ] {
                for (name, amount) in status.pairs(path) {
                    let more = match container.at(kind).get(name) {
                        Some(have) => Quantity::of(have) < Quantity::of(amount),
                        None => true,
                    };
                    if more {
                        container.place(kind)[name] = amount.clone();
                    }
                }
            }
        }
    }
    now
}
