//! Pods.

use api::{object::Object, quantity::Quantity};
use serde_json::Value;

use super::{
    Layout, containers,
    page::{Cell, Page, Row, Table, controller, shown},
    template, volumes,
};

/// How pods are described.
pub const POD: Layout = Layout {
    events: super::Events::AnyKind,
    ..Layout::new("v1", "Pod", ROWS)
};

const ROWS: &[Row] = &[
    Row::Field("Name", "metadata.name"),
    Row::Field("Namespace", "metadata.namespace"),
    Row::Given("Priority", "spec.priority"),
    Row::Given("Priority Class Name", "spec.priorityClassName"),
    Row::Given("Runtime Class Name", "spec.runtimeClassName"),
    Row::Given("Service Account", "spec.serviceAccountName"),
    Row::Line("Node", |pod| match pod.text("spec.nodeName") {
        "" => "<none>".into(),
        node => format!("{node}/{}", pod.text("status.hostIP")),
    }),
    Row::GivenTime("Start Time", "status.startTime"),
    Row::Labels("Labels", "metadata.labels"),
    Row::Annotations,
    Row::Part(status),
    Row::Given("Reason", "status.reason"),
    Row::Given("Message", "status.message"),
    Row::Part(|pod, page| {
        containers::seccomp(pod.at("spec.securityContext.seccompProfile"), 0, 0, page);
    }),
    Row::Field("IP", "status.podIP"),
    Row::Part(addresses),
    Row::GivenLine("Controlled By", controller),
    Row::Given("NominatedNodeName", "status.nominatedNodeName"),
    Row::Part(|pod, page| {
        if pod.has("spec.resources") {
            page.line(0, "Resources:");
            containers::resources(pod.at("spec.resources"), 1, page);
        }
    }),
    Row::Part(all_containers),
    Row::Part(gates),
    Row::Table(&Table {
        title: "Conditions:",
        head: "Type\tStatus",
        under: "",
        list: "status.conditions",
        cells: &[Cell::Spaced("type"), Cell::Spaced("status")],
    }),
    Row::Part(|pod, page| volumes::of_pod(pod.list("spec.volumes"), "", page)),
    Row::Line("QoS Class", quality),
    Row::Labels("Node-Selectors", "spec.nodeSelector"),
    Row::Part(|pod, page| {
        template::tolerations("Tolerations", pod.list("spec.tolerations"), page);
        template::spread(pod.list("spec.topologySpreadConstraints"), "", page);
        template::group(pod.at("spec"), "", page);
    }),
];

fn status(pod: &Value, page: &mut Page) {
    let phase = pod.text("status.phase");
    let deleted = pod.at("metadata.deletionTimestamp");
    if deleted.is_null() || matches!(phase, "Failed" | "Succeeded") {
        page.field(0, "Status", phase);
        return;
    }
    let since = page.moment.since(deleted);
    page.field(0, "Status", format!("Terminating (lasts {since})"));
    let grace = shown(pod.at("metadata.deletionGracePeriodSeconds"));
    page.field(0, "Termination Grace Period", grace + "s");
}

fn addresses(pod: &Value, page: &mut Page) {
    let addresses = pod.list("status.podIPs");
    if addresses.is_empty() {
        page.field(0, "IPs", "<none>");
        return;
    }
    page.line(0, "IPs:");
    for address in addresses {
        page.field(1, "IP", address.text("ip"));
    }
}

fn all_containers(pod: &Value, page: &mut Page) {
    for (title, field) in [
        ("Init Containers", "initContainers"),
        ("Containers", "containers"),
        ("Ephemeral Containers", "ephemeralContainers"),
    ] {
        let spec = pod.at("spec");
        if field == "containers" || !spec.list(field).is_empty() {
            containers::list(title, field, spec, Some(pod), "", page);
        }
    }
}

fn gates(pod: &Value, page: &mut Page) {
    let gates = pod.list("spec.readinessGates");
    if gates.is_empty() {
        return;
    }
    page.line(0, "Readiness Gates:\n  Type\tStatus");
    for gate in gates {
        let kind = gate.text("conditionType");
        let condition = pod
            .list("status.conditions")
            .iter()
            .find(|c| c.text("type") == kind);
        let status = condition.map_or("<none>", |c| c.text("status"));
        page.line(1, format!("{kind} \t{status} "));
    }
}

/// The class the status says, or what the requests and limits make it.
fn quality(pod: &Value) -> String {
    let said = pod.text("status.qosClass");
    if !said.is_empty() {
        return said.into();
    }
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let spec = pod.at("spec");
    let whole = [spec];
    let holders: Vec<&Value> = if spec.has("resources") {
        whole.to_vec()
    } else {
        let lists = ["containers", "initContainers"];
        lists.iter().flat_map(|l| spec.list(l)).collect()
    };
    let amount = |holder: &Value, kind: &str, name: &str| {
        Quantity::of(&holder.at("resources").at(kind)[name])
    };
    let total = |kind: &str, name: &str| -> Quantity {
        holders.iter().map(|h| amount(h, kind, name)).sum()
    };
    let asked = |kind: &str| COUNTED.iter().any(|n| !total(kind, n).is_zero());
    if !asked("requests") && !asked("limits") {
        return "BestEffort".into();
    }
    let limited = holders
        .iter()
        .all(|h| COUNTED.iter().all(|n| !amount(h, "limits", n).is_zero()));
    let equal = COUNTED
        .iter()
        .all(|n| total("requests", n) == total("limits", n));
    if limited && equal {
        "Guaranteed".into()
    } else {
        "Burstable".into()
    }
}
