//! The FlowSchemas and PriorityLevelConfigurations of a new cluster, which are upstream's, and the
//! condition that says whether a schema's level exists.

use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::Status;
use api::strategy::Part;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::bootstrap::ensure_same;
use crate::bootstrap::follow::Follower;
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{Change, update};
use crate::server::{ApiServer, StartError};

/// The group.
pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Objects with this annotation set to `true` are kept as they are here.
pub const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

type LevelRow = (&'static str, i64, i64, Option<(i64, i64)>);

/// Shares, lendable percent, queues and hand of the limited levels; without queues, what finds no seat
/// is sent away.
const LEVELS: [LevelRow; 7] = [
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
];

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}},
        "spec": spec,
    })
}

/// The levels.
pub fn levels() -> Vec<Value> {
    let exempt = json!({
        "type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    });
    let limited = LEVELS.iter().map(|(name, shares, lendable, queues)| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => json!({
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
            }),
        };
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": response,
        });
        object(
            "PriorityLevelConfiguration",
            name,
            &json!({"type": "Limited", "limited": limited}),
        )
    });
    std::iter::once(object("PriorityLevelConfiguration", "exempt", &exempt))
        .chain(limited)
        .collect()
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn kube_system() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
}

fn resources(verbs: &[&str], groups: &[&str], resources: &[&str], cluster: bool) -> Value {
    let mut rule =
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

/// The schemas.
pub fn schemas() -> Vec<Value> {
    let everything = || {
        (
            vec![resources(&["*"], &["*"], &["*"], true)],
            vec![json!({"verbs": ["*"], "nonResourceURLs": ["*"]})],
        )
    };
    let anybody = || {
        vec![
            group("system:unauthenticated"),
            group("system:authenticated"),
        ]
    };
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let probes = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]});
    let leases = ["get", "create", "update"];
    let coordination = ["coordination.k8s.io"];
    let elections = resources(&leases, &coordination, &["leases"], false);
    let nodes = vec![
        resources(&["*"], &[""], &["nodes", "nodes/status"], true),
        resources(&["*"], &coordination, &["leases"], false),
    ];
    type Rules = (Vec<Value>, Vec<Value>);
    type Row = (
        &'static str,
        &'static str,
        i64,
        &'static str,
        Vec<Value>,
        Rules,
    );
    let rows: [Row; 11] = [
        (
            "exempt",
            "exempt",
            1,
            "",
            vec![group("system:masters")],
            everything(),
        ),
        ("probes", "exempt", 2, "", anybody(), (vec![], vec![probes])),
        (
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            vec![user(manager), user(scheduler), kube_system()],
            (vec![elections], vec![]),
        ),
        (
            "system-node-high",
            "node-high",
            400,
            "ByUser",
            vec![group("system:nodes")],
            (nodes, vec![]),
        ),
        (
            "system-nodes",
            "system",
            500,
            "ByUser",
            vec![group("system:nodes")],
            everything(),
        ),
        (
            "kube-controller-manager",
            "workload-high",
            800,
            "ByNamespace",
            vec![user(manager)],
            everything(),
        ),
        (
            "kube-scheduler",
            "workload-high",
            800,
            "ByNamespace",
            vec![user(scheduler)],
            everything(),
        ),
        (
            "kube-system-service-accounts",
            "workload-high",
            900,
            "ByNamespace",
            vec![kube_system()],
            everything(),
        ),
        (
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            vec![group("system:serviceaccounts")],
            everything(),
        ),
        (
            "global-default",
            "global-default",
            9900,
            "ByUser",
            anybody(),
            everything(),
        ),
        (
            "catch-all",
            "catch-all",
            10000,
            "ByUser",
            anybody(),
            everything(),
        ),
    ];
    rows.into_iter()
        .map(
            |(name, level, precedence, by, subjects, (resources, paths))| {
                let mut rule = json!({"subjects": subjects});
                if !resources.is_empty() {
                    rule["resourceRules"] = resources.into();
                }
                if !paths.is_empty() {
                    rule["nonResourceRules"] = paths.into();
                }
                let mut spec = json!({
                    "matchingPrecedence": precedence,
                    "priorityLevelConfiguration": {"name": level},
                    "rules": [rule],
                });
                if !by.is_empty() {
                    spec["distinguisherMethod"] = json!({"type": by});
                }
                object("FlowSchema", name, &spec)
            },
        )
        .collect()
}

/// The schema with the condition that says whether its level is there; none where it says so already.
fn concluded(schema: &Value, exists: bool, now: jiff::Timestamp) -> Option<Value> {
    let level = schema.text("spec.priorityLevelConfiguration.name");
    let reference =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = if exists {
        ("False", "Found", format!("{reference} and it exists"))
    } else {
        (
            "True",
            "NotFound",
            format!("{reference} but there is no such object"),
        )
    };
    let held = meta::condition(schema, "Dangling");
    if held.is_some_and(|c| c.text("status") == status && c.text("message") == message) {
        return None;
    }
    let condition = json!({
        "type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": api::clock::rfc3339(now),
    });
    let mut object = schema.clone();
    let mut conditions = schema.list("status.conditions").to_vec();
    conditions.retain(|c| c.text("type") != "Dangling");
    conditions.push(condition);
    object.set("status.conditions", conditions);
    Some(object)
}

/// Makes the schemas and levels that are missing, and brings those that are kept as they are here back
/// to that.
pub async fn ensure(server: &Arc<ApiServer>) -> Result<(), StartError> {
    let keep = |plural: &'static str, value: Value| async move {
        let (path, name) = ((GROUP, "v1", plural), meta::name(&value).to_owned());
        let live = server.objects.value(GROUP, plural, "", &name);
        if live.is_some_and(|live| meta::annotation(&live, AUTOUPDATE) != Some("true")) {
            return Ok(());
        }
        ensure_same(server, path, "", &name, value, &["spec"]).await
    };
    let levels = levels()
        .into_iter()
        .map(|value| keep("prioritylevelconfigurations", value));
    futures::future::try_join_all(levels).await?;
    let schemas = schemas()
        .into_iter()
        .map(|value| keep("flowschemas", value));
    futures::future::try_join_all(schemas).await.map(|_| ())
}

/// Follows schemas and levels from now on.
pub fn start(server: &Arc<ApiServer>) {
    let changed = Arc::new(Notify::new());
    for plural in ["flowschemas", "prioritylevelconfigurations"] {
        let changed = changed.clone();
        let seen = move |_: &str, _: &str, _: Option<&Value>| changed.notify_one();
        let follower = Follower::new(server.store.clone(), GROUP, plural);
        follower.start(seen, server.ending.clone());
    }
    let (weak, ending) = (Arc::downgrade(server), server.ending.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = changed.notified() => {}
            }
            let Some(server) = weak.upgrade() else { return };
            take_over(&server);
            if let Err(status) = conclude(&server).await {
                tracing::warn!(%status, "write the status of flow schemas");
                // Tried again with the next change, and at the next start.
            }
        }
    });
}

fn read(server: &ApiServer, plural: &str) -> Vec<Value> {
    let objects = server.objects.values(GROUP, plural, None);
    objects.iter().map(|object| Value::clone(object)).collect()
}

fn take_over(server: &ApiServer) {
    server.flow.configure(
        &read(server, "flowschemas"),
        &read(server, "prioritylevelconfigurations"),
    );
}

async fn conclude(server: &Arc<ApiServer>) -> Result<(), Status> {
    let endpoint = server.endpoints.get(GROUP, "v1", "flowschemas");
    let endpoint = endpoint.ok_or_else(|| Status::internal("FlowSchemas are not served"))?;
    let levels = read(server, "prioritylevelconfigurations");
    let exists = |schema: &Value| {
        let level = schema.text("spec.priorityLevelConfiguration.name");
        levels.iter().any(|l| meta::name(l) == level)
    };
    for schema in read(server, "flowschemas") {
        if concluded(&schema, exists(&schema), server.clock.now()).is_none() {
            continue;
        }
        let call = Call::internal(server, endpoint.clone(), "");
        let name = meta::name(&schema);
        let change = Change {
            part: Part::Status,
            subresource: "status",
            create_missing: false,
            managed: false,
            propose: Box::new(|live| {
                let live = live.ok_or_else(|| Status::not_found(&*endpoint.resource, name))?;
                let now = server.clock.now();
                Ok(concluded(live, exists(live), now).unwrap_or_else(|| live.clone()))
            }),
        };
        let options = WriteOptions {
            field_manager: "api-priority-and-fairness-config-consumer-v1".to_owned(),
            ..WriteOptions::default()
        };
        match update(&call, name, change, &options).await {
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}
