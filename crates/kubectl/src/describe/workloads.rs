//! What keeps pods running: Deployments, ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets.

use api::object::Object;
use serde_json::Value;

use super::{
    Ask, Layout,
    page::{Cell, Page, Row, Table, controller, joined, or_none, quantity, selector, shown},
    storage::class_of,
    template::template,
};
use crate::session::escape;

/// `type status reason`.
const CONDITIONS: Row = Row::Table(&Table {
    title: "Conditions:",
    head: "Type\tStatus\tReason",
    under: "----\t------\t------",
    list: "status.conditions",
    cells: &[
        Cell::Spaced("type"),
        Cell::Text("status"),
        Cell::Text("reason"),
    ],
});

const PODS: Row = Row::Part(pods_line);

const TEMPLATE: Row = Row::Part(|object, page| template(object.at("spec.template"), page));

/// The selector as kubectl writes one that was parsed: nothing where it selects everything.
fn plain_selector(value: &Value) -> String {
    match selector(value) {
        none if none == "<none>" => String::new(),
        text => text,
    }
}

fn pods_of(object: &Value) -> Vec<Ask> {
    let labels = match object.at("spec.selector") {
        map if object.text("kind") == "ReplicationController" => {
            api::labels::Selector::from_map(map).to_string()
        }
        labels => plain_selector(labels),
    };
    vec![Ask::new(
        "pods",
        format!(
            "/api/v1/namespaces/{}/pods?labelSelector={}",
            object.text("metadata.namespace"),
            escape(&labels)
        ),
    )]
}

/// How many of the pods it controls are running, waiting, done and failed.
fn pods_line(object: &Value, page: &mut Page) {
    let uid = object.text("metadata.uid");
    let own = |pod: &&Value| {
        pod.list("metadata.ownerReferences")
            .iter()
            .any(|o| o.flag("controller") && o.text("uid") == uid)
    };
    let pods: Vec<&Value> = page.answers.items("pods").iter().filter(own).collect();
    let count = |phase: &str| {
        pods.iter()
            .filter(|p| p.text("status.phase") == phase)
            .count()
    };
    let text = format!(
        "{} Running / {} Waiting / {} Succeeded / {} Failed",
        count("Running"),
        count("Pending"),
        count("Succeeded"),
        count("Failed")
    );
    page.field(0, "Pods Status", text);
}

fn number(object: &Value, path: &str) -> i64 {
    object.int(path).unwrap_or_default()
}

/// How Deployments are described.
pub const DEPLOYMENT: Layout = Layout {
    asks: |object| {
        vec![
            Ask::new(
                "replicasets",
                format!(
                    "/apis/apps/v1/namespaces/{}/replicasets?labelSelector={}",
                    object.text("metadata.namespace"),
                    escape(&plain_selector(object.at("spec.selector")))
                ),
            )
            .optional(),
        ]
    },
    ..Layout::new(
        "apps/v1",
        "Deployment",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Time("CreationTimestamp", "metadata.creationTimestamp"),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Line("Selector", |d| plain_selector(d.at("spec.selector"))),
            Row::Line("Replicas", |d| {
                format!(
                    "{} desired | {} updated | {} total | {} available | {} unavailable",
                    number(d, "spec.replicas"),
                    number(d, "status.updatedReplicas"),
                    number(d, "status.replicas"),
                    number(d, "status.availableReplicas"),
                    number(d, "status.unavailableReplicas")
                )
            }),
            Row::Field("StrategyType", "spec.strategy.type"),
            Row::Or("MinReadySeconds", "spec.minReadySeconds", "0"),
            Row::GivenLine("RollingUpdateStrategy", |d| {
                let update = d.at("spec.strategy.rollingUpdate");
                update.is_object().then(|| {
                    format!(
                        "{} max unavailable, {} max surge",
                        shown(update.at("maxUnavailable")),
                        shown(update.at("maxSurge"))
                    )
                })
            }),
            TEMPLATE,
            CONDITIONS,
            Row::Part(replica_sets),
        ],
    )
};

/// The ReplicaSet whose template is the Deployment's (the oldest of them), and the others.
fn replica_sets(deployment: &Value, page: &mut Page) {
    let uid = deployment.text("metadata.uid");
    let mut sets: Vec<&Value> = page
        .answers
        .items("replicasets")
        .iter()
        .filter(|set| {
            let owners = set.list("metadata.ownerReferences");
            owners
                .iter()
                .any(|o| o.flag("controller") && o.text("uid") == uid)
        })
        .collect();
    if sets.is_empty() {
        return;
    }
    sets.sort_by_key(|s| {
        (
            s.text("metadata.creationTimestamp"),
            s.text("metadata.name"),
        )
    });
    let wanted = without_hash(deployment.at("spec.template"));
    let new = sets
        .iter()
        .position(|s| without_hash(s.at("spec.template")) == wanted);
    let shown = |sets: &[&Value]| {
        let texts: Vec<String> = sets
            .iter()
            .map(|s| {
                format!(
                    "{} ({}/{} replicas created)",
                    s.text("metadata.name"),
                    number(s, "status.replicas"),
                    number(s, "spec.replicas")
                )
            })
            .collect();
        or_none(texts.join(", "))
    };
    let new: Vec<&Value> = new.map(|at| sets.remove(at)).into_iter().collect();
    let (old, new) = (shown(&sets), shown(&new));
    page.field(0, "OldReplicaSets", old);
    page.field(0, "NewReplicaSet", new);
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template
        .at_mut("metadata.labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove("pod-template-hash");
    }
    template
}

/// How ReplicaSets are described.
pub const REPLICA_SET: Layout = Layout {
    asks: pods_of,
    ..Layout::new(
        "apps/v1",
        "ReplicaSet",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Line("Selector", |r| selector(r.at("spec.selector"))),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::GivenLine("Controlled By", controller),
            CURRENT,
            PODS,
            TEMPLATE,
            CONDITIONS,
        ],
    )
};

const CURRENT: Row = Row::Line("Replicas", |r| {
    format!(
        "{} current / {} desired",
        number(r, "status.replicas"),
        number(r, "spec.replicas")
    )
});

/// How ReplicationControllers are described.
pub const REPLICATION_CONTROLLER: Layout = Layout {
    asks: pods_of,
    ..Layout::new(
        "v1",
        "ReplicationController",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Pairs("Selector", "spec.selector"),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            CURRENT,
            PODS,
            TEMPLATE,
            CONDITIONS,
        ],
    )
};

/// How DaemonSets are described.
pub const DAEMON_SET: Layout = Layout {
    asks: pods_of,
    ..Layout::new(
        "apps/v1",
        "DaemonSet",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Line("Selector", |d| plain_selector(d.at("spec.selector"))),
            Row::Line("Node-Selector", |d| {
                joined(d.at("spec.template.spec.nodeSelector"))
            }),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Part(nodes),
            PODS,
            TEMPLATE,
        ],
    )
};

fn nodes(set: &Value, page: &mut Page) {
    for (title, field) in [
        (
            "Desired Number of Nodes Scheduled",
            "desiredNumberScheduled",
        ),
        (
            "Current Number of Nodes Scheduled",
            "currentNumberScheduled",
        ),
        (
            "Number of Nodes Scheduled with Up-to-date Pods",
            "updatedNumberScheduled",
        ),
        (
            "Number of Nodes Scheduled with Available Pods",
            "numberAvailable",
        ),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        let count = number(set.at("status"), field);
        page.line(0, format!("{title}: {count}"));
    }
}

/// How StatefulSets are described.
pub const STATEFUL_SET: Layout = Layout {
    asks: pods_of,
    ..Layout::new(
        "apps/v1",
        "StatefulSet",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Time("CreationTimestamp", "metadata.creationTimestamp"),
            Row::Line("Selector", |s| plain_selector(s.at("spec.selector"))),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Line("Replicas", |s| {
                format!(
                    "{} desired | {} total",
                    number(s, "spec.replicas"),
                    number(s, "status.replicas")
                )
            }),
            Row::Field("Update Strategy", "spec.updateStrategy.type"),
            Row::Part(|s, page| {
                let update = s.at("spec.updateStrategy.rollingUpdate");
                if update.has("partition") {
                    page.field(1, "Partition", shown(update.at("partition")));
                    if update.has("maxUnavailable") {
                        page.field(1, "MaxUnavailable", shown(update.at("maxUnavailable")));
                    }
                }
            }),
            PODS,
            TEMPLATE,
            Row::Part(claims),
        ],
    )
};

fn claims(set: &Value, page: &mut Page) {
    let claims = set.list("spec.volumeClaimTemplates");
    if claims.is_empty() {
        page.field(0, "Volume Claims", "<none>");
        return;
    }
    page.line(0, "Volume Claims:");
    for claim in claims {
        page.field(1, "Name", claim.text("metadata.name"));
        page.field(1, "StorageClass", class_of(claim));
        page.labels("Labels", "  ", claim.at("metadata.labels"));
        page.labels("Annotations", "  ", claim.at("metadata.annotations"));
        let capacity = match claim.at("spec.resources.requests.storage") {
            Value::Null => "<default>".into(),
            storage => quantity(storage),
        };
        page.field(1, "Capacity", capacity);
        let modes = match claim.at("spec.accessModes") {
            Value::Null => "[]".into(),
            modes => shown(modes),
        };
        page.field(1, "Access Modes", modes);
    }
}
