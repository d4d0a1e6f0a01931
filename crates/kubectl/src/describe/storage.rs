//! Storage: PersistentVolumes and their claims, classes, nodes' CSI drivers.

use api::object::Object;
use serde_json::Value;

use super::{
    Ask, Layout,
    page::{Cell, Page, Row, Table, or_none, quantity, shown, truth},
    volumes,
};

/// The class a claim or volume asks for: the annotation of old, or the field.
pub fn class_of(object: &Value) -> String {
    let annotations = object.at("metadata.annotations");
    match annotations.get("volume.beta.kubernetes.io/storage-class") {
        Some(class) => shown(class),
        None => object.text("spec.storageClassName").to_string(),
    }
}

/// Access modes in short, in the order upstream gives them.
fn modes(modes: &[Value]) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let had = short
        .iter()
        .filter(|(long, _)| modes.iter().any(|m| m == long));
    had.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// Finalizers as a list in brackets.
fn finalizers(object: &Value) -> String {
    match object.at("metadata.finalizers") {
        Value::Null => "[]".into(),
        names => shown(names),
    }
}

/// How PersistentVolumes are described.
pub const VOLUME: Layout = Layout::new(
    "v1",
    "PersistentVolume",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Line("Finalizers", finalizers),
        Row::Line("StorageClass", class_of),
        Row::Status("status.phase"),
        Row::Line("Claim", |v| match v.at("spec.claimRef") {
            Value::Null => String::new(),
            claim => format!("{}/{}", claim.text("namespace"), claim.text("name")),
        }),
        Row::Field("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        Row::Line("Access Modes", |v| modes(v.list("spec.accessModes"))),
        Row::Given("VolumeMode", "spec.volumeMode"),
        Row::Line("Capacity", |v| quantity(v.at("spec.capacity.storage"))),
        Row::Part(node_affinity),
        Row::Field("Message", "status.message"),
        Row::Words("Source:\n"),
        Row::Part(|v, page| volumes::of_volume(v.at("spec"), page)),
    ],
);

fn node_affinity(volume: &Value, page: &mut Page) {
    let required = volume.at("spec.nodeAffinity.required");
    if required.is_null() {
        page.field(0, "Node Affinity", "<none>");
        return;
    }
    page.field(0, "Node Affinity", "");
    let terms = required.list("nodeSelectorTerms");
    page.field(
        1,
        "Required Terms",
        if terms.is_empty() { "<none>" } else { "" },
    );
    for (at, term) in terms.iter().enumerate() {
        let lines: Vec<String> = term
            .list("matchExpressions")
            .iter()
            .map(|e| expression(e, &e.text("operator").to_lowercase()))
            .collect();
        page.items(&format!("Term {at}"), "    ", &lines);
    }
}

fn expression(expression: &Value, operator: &str) -> String {
    let values: Vec<&str> = expression.texts("values").collect();
    let list = if values.is_empty() {
        String::new()
    } else {
        format!(" [{}]", values.join(", "))
    };
    format!("{} {operator}{list}", expression.text("key"))
}

/// How PersistentVolumeClaims are described.
pub const CLAIM: Layout = Layout {
    asks: |claim| {
        let namespace = claim.text("metadata.namespace");
        vec![Ask::new(
            "pods",
            format!("/api/v1/namespaces/{namespace}/pods"),
        )]
    },
    ..Layout::new(
        "v1",
        "PersistentVolumeClaim",
        &[
            Row::Part(|c, page| claim(c, true, page)),
            Row::Part(users),
            Row::Table(&Table {
                title: "Conditions:",
                head: "Type\tStatus\tLastProbeTime\tLastTransitionTime\tReason\tMessage",
                under: "----\t------\t-----------------\t------------------\t------\t-------",
                list: "status.conditions",
                cells: &[
                    Cell::Spaced("type"),
                    Cell::Spaced("status"),
                    Cell::SpacedTime("lastProbeTime"),
                    Cell::SpacedTime("lastTransitionTime"),
                    Cell::Spaced("reason"),
                    Cell::Text("message"),
                ],
            }),
        ],
    )
};

/// A claim (`whole`), or the template of one.
pub fn claim(claim: &Value, whole: bool, page: &mut Page) {
    if whole {
        page.field(0, "Name", claim.text("metadata.name"));
        page.field(0, "Namespace", claim.text("metadata.namespace"));
    }
    page.field(0, "StorageClass", class_of(claim));
    if whole {
        page.rows(0, claim, &[Row::Status("status.phase")]);
    }
    page.field(0, "Volume", claim.text("spec.volumeName"));
    page.labels("Labels", "", claim.at("metadata.labels"));
    page.annotations("Annotations", claim.at("metadata.annotations"));
    if whole {
        page.field(0, "Finalizers", finalizers(claim));
    }
    let bound = !claim.text("spec.volumeName").is_empty();
    let (capacity, access) = if bound {
        (
            quantity(claim.at("status.capacity.storage")),
            modes(claim.list("status.accessModes")),
        )
    } else {
        Default::default()
    };
    page.field(0, "Capacity", capacity);
    page.field(0, "Access Modes", access);
    page.rows(0, claim, &[Row::Given("VolumeMode", "spec.volumeMode")]);
    if claim.has("spec.dataSource") {
        page.line(0, "DataSource:");
        page.rows(
            1,
            claim.at("spec.dataSource"),
            &[
                Row::Given("APIGroup", "apiGroup"),
                Row::Field("Kind", "kind"),
                Row::Field("Name", "name"),
            ],
        );
    }
}

fn users(claim: &Value, page: &mut Page) {
    let name = claim.text("metadata.name");
    let mounts = |pod: &&Value| {
        pod.list("spec.volumes")
            .iter()
            .any(|v| v.text("persistentVolumeClaim.claimName") == name)
    };
    let owns = |pod: &&Value| {
        claim
            .list("metadata.ownerReferences")
            .iter()
            .any(|o| o.text("kind") == "Pod" && o.text("uid") == pod.text("metadata.uid"))
    };
    let mut names: Vec<String> = page
        .answers
        .items("pods")
        .iter()
        .filter(|pod| mounts(pod) || owns(pod))
        .map(|pod| pod.text("metadata.name").to_string())
        .collect();
    names.sort();
    page.items("Used By", "", &names);
}

/// How StorageClasses are described.
pub const CLASS: Layout = Layout::new(
    "storage.k8s.io/v1",
    "StorageClass",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Line("IsDefaultClass", |class| {
            let annotations = class.at("metadata.annotations");
            let marks = [
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
            ];
            let default = marks.iter().any(|m| annotations[*m] == "true");
            if default { "Yes" } else { "No" }.into()
        }),
        Row::Pairs("Annotations", "metadata.annotations"),
        Row::Field("Provisioner", "provisioner"),
        Row::Pairs("Parameters", "parameters"),
        Row::Line("AllowVolumeExpansion", |c| {
            match c.at("allowVolumeExpansion") {
                Value::Bool(allowed) => truth(*allowed).into(),
                _ => "<unset>".into(),
            }
        }),
        Row::Part(mount_options),
        Row::Given("ReclaimPolicy", "reclaimPolicy"),
        Row::Given("VolumeBindingMode", "volumeBindingMode"),
        Row::Part(topologies),
    ],
);

fn mount_options(class: &Value, page: &mut Page) {
    let options: Vec<&str> = class.texts("mountOptions").collect();
    if options.is_empty() {
        page.field(0, "MountOptions", or_none(String::new()));
        return;
    }
    page.line(0, "MountOptions:");
    for option in options {
        page.line(1, option);
    }
}

fn topologies(class: &Value, page: &mut Page) {
    if !class.has("allowedTopologies") {
        return;
    }
    let terms = class.list("allowedTopologies");
    let none = if terms.is_empty() { "<none>" } else { "" };
    page.field(0, "AllowedTopologies", none);
    for (at, term) in terms.iter().enumerate() {
        let lines: Vec<String> = term
            .list("matchLabelExpressions")
            .iter()
            .map(|e| expression(e, "in"))
            .collect();
        page.items(&format!("Term {at}"), "  ", &lines);
    }
}

/// How VolumeAttributesClasses are described.
pub const ATTRIBUTES_CLASS: Layout = Layout::new(
    "storage.k8s.io/v1",
    "VolumeAttributesClass",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Pairs("Annotations", "metadata.annotations"),
        Row::Field("DriverName", "driverName"),
        Row::Pairs("Parameters", "parameters"),
    ],
);

/// How CSINodes are described.
pub const CSI_NODE: Layout = Layout::new(
    "storage.k8s.io/v1",
    "CSINode",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Time("CreationTimestamp", "metadata.creationTimestamp"),
        Row::Words("Spec:\n"),
        Row::Part(|node, page| {
            if node.has("spec.drivers") {
                page.line(1, "Drivers:");
            }
            for driver in node.list("spec.drivers") {
                page.line(2, format!("{}:", driver.text("name")));
                page.field(3, "Node ID", driver.text("nodeID"));
                if let Some(count) = driver.int("allocatable.count") {
                    page.line(3, "Allocatables:");
                    page.field(4, "Count", count.to_string());
                }
                page.rows(3, driver, &[Row::Given("Topology Keys", "topologyKeys")]);
            }
        }),
    ],
);
