//! Nodes, namespaces, events and the small kinds of the core.

use jiff::Timestamp;
use schema::Value;

use super::{AGE, Column, NAME, NAME_AGE, Printer, age, name, number, or, text, truth, wide};
use crate::{duration, meta, object::Object};

/// How the kind is shown, if it belongs here.
pub fn printer(group: &str, kind: &str) -> Option<Printer> {
    Some(match (group, kind) {
        ("", "Node") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Status"),
                    text("Roles"),
                    AGE,
                    text("Version"),
                    wide("Internal-IP"),
                    wide("External-IP"),
                    wide("OS-Image"),
                    wide("Kernel-Version"),
                    wide("Container-Runtime"),
                ]
            },
            row: node,
        },
        ("", "Namespace") => Printer {
            columns: const { &[NAME, text("Status"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    object.text("status.phase").into(),
                    age(object, now),
                ]
            },
        },
        ("" | "events.k8s.io", "Event") => Printer {
            columns: EVENT,
            row: event,
        },
        ("", "ConfigMap") => Printer {
            columns: const { &[NAME, text("Data"), AGE] },
            row: |object, now| {
                let keys = ["data", "binaryData"]
                    .iter()
                    .filter_map(|field| object.map(field))
                    .map(|map| map.len());
                vec![name(object), keys.sum::<usize>().into(), age(object, now)]
            },
        },
        ("", "ResourceQuota") => Printer {
            columns: const { &[NAME, text("Request"), text("Limit"), AGE] },
            row: quota,
        },
        ("", "LimitRange") => Printer {
            columns: const {
                &[
                    NAME,
                    Column {
                        name: "Created At",
                        kind: "date",
                        format: "",
                        priority: 0,
                    },
                ]
            },
            row: |object, _| {
                vec![
                    name(object),
                    object.at("metadata.creationTimestamp").clone(),
                ]
            },
        },
        ("", "ComponentStatus") => Printer {
            columns: const { &[NAME, text("Status"), text("Message"), text("Error")] },
            row: component,
        },
        ("coordination.k8s.io", "Lease") => Printer {
            columns: const { &[NAME, text("Holder"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    object.text("spec.holderIdentity").into(),
                    age(object, now),
                ]
            },
        },
        ("coordination.k8s.io", "LeaseCandidate") => Printer {
            columns: const {
                &[
                    NAME,
                    text("LeaseName"),
                    text("BinaryVersion"),
                    text("EmulationVersion"),
                    AGE,
                ]
            },
            row: |object, now| {
                let spec = object.at("spec");
                vec![
                    name(object),
                    spec.text("leaseName").into(),
                    spec.text("binaryVersion").into(),
                    spec.text("emulationVersion").into(),
                    age(object, now),
                ]
            },
        },
        ("scheduling.k8s.io", "PriorityClass") => Printer {
            columns: const {
                &[
                    NAME,
                    number("Value"),
                    truth("Global-Default"),
                    AGE,
                    text("PreemptionPolicy"),
                ]
            },
            row: |object, now| {
                vec![
                    name(object),
                    super::count(object, "value"),
                    object.flag("globalDefault").into(),
                    age(object, now),
                    or(object.text("preemptionPolicy"), "PreemptLowerPriority").into(),
                ]
            },
        },
        ("node.k8s.io", "RuntimeClass") => Printer {
            columns: const { &[NAME, text("Handler"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    object.text("handler").into(),
                    age(object, now),
                ]
            },
        },
        ("scheduling.k8s.io", "Workload") => NAME_AGE,
        ("scheduling.k8s.io", "PodGroup") => Printer {
            columns: const { &[NAME, text("Policy"), text("Workload"), text("Status"), AGE] },
            row: |object, now| {
                let policy = if object.has("spec.schedulingPolicy.gang") {
                    "Gang"
                } else {
                    "Basic"
                };
                let reference = object.at("spec.podGroupTemplateRef");
                let workload = if reference.is_null() {
                    "<none>"
                } else {
                    reference.text("workload.workloadName")
                };
                let scheduled = match meta::condition(object, "PodGroupScheduled") {
                    None => "Pending",
                    Some(condition) if condition.text("status") == "True" => "Scheduled",
                    Some(_) => "Unschedulable",
                };
                let status = meta::condition(object, "DisruptionTarget")
                    .map_or(scheduled, |condition| condition.text("reason"));
                vec![
                    name(object),
                    policy.into(),
                    workload.into(),
                    status.into(),
                    age(object, now),
                ]
            },
        },
        _ => return None,
    })
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    let found = object
        .list("status.addresses")
        .iter()
        .find(|address| address.text("type") == kind);
    found.map_or("<none>", |address| address.text("address"))
}

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = match meta::condition(object, "Ready") {
        Some(condition) if condition.text("status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let status = if object.flag("spec.unschedulable") {
        format!("{ready},SchedulingDisabled")
    } else {
        ready.to_owned()
    };
    let mut roles: Vec<&str> = meta::labels(object)
        .filter_map(|(key, value)| {
            if key == "kubernetes.io/role" {
                Some(value)
            } else {
                key.strip_prefix("node-role.kubernetes.io/")
            }
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let info = object.at("status.nodeInfo");
    let kernel = or(info.text("kernelVersion"), "<unknown>");
    let architecture = info.text("architecture");
    let kernel = if architecture.is_empty() {
        kernel.to_owned()
    } else {
        format!("{kernel} ({architecture})")
    };
    vec![
        name(object),
        status.into(),
        or(&roles.join(","), "<none>").into(),
        age(object, now),
        info.text("kubeletVersion").into(),
        address(object, "InternalIP").into(),
        address(object, "ExternalIP").into(),
        or(info.text("osImage"), "<unknown>").into(),
        kernel.into(),
        or(info.text("containerRuntimeVersion"), "<unknown>").into(),
    ]
}

const EVENT: &[Column] = &[
    text("Last Seen"),
    text("Type"),
    text("Reason"),
    text("Object"),
    wide("Subobject"),
    wide("Source"),
    text("Message"),
    wide("First Seen"),
    Column {
        name: "Count",
        kind: "string",
        format: "",
        priority: 1,
    },
    Column {
        name: "Name",
        kind: "string",
        format: "name",
        priority: 1,
    },
];

/// Events of both groups; the newer one has its own names for some fields.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let first_of = |old: &str, new: &str| -> String {
        let text = object.text(old);
        or(text, object.text(new)).to_owned()
    };
    let since = |text: &str| duration::since(text, now);
    let first = first_of("firstTimestamp", "deprecatedFirstTimestamp");
    let first = since(or(&first, object.text("eventTime")));
    let last = first_of("lastTimestamp", "deprecatedLastTimestamp");
    let mut last = if last.is_empty() {
        first.clone()
    } else {
        since(&last)
    };
    let mut count = object
        .int("count")
        .or(object.int("deprecatedCount"))
        .unwrap_or(0);
    let series = object.at("series");
    if !series.is_null() {
        last = since(series.text("lastObservedTime"));
        count = series.int("count").unwrap_or(0);
    } else if count == 0 {
        count = 1;
    }
    let about = if object.has("involvedObject") {
        object.at("involvedObject")
    } else {
        object.at("regarding")
    };
    let kind = about.text("kind").to_lowercase();
    let target = if about.text("name").is_empty() {
        kind
    } else {
        format!("{kind}/{}", about.text("name"))
    };
    let source = if object.has("source") {
        object.at("source")
    } else {
        object.at("deprecatedSource")
    };
    let component = first_of("reportingComponent", "reportingController");
    let source = match (
        or(source.text("component"), &component),
        or(source.text("host"), object.text("reportingInstance")),
    ) {
        (component, "") => component.to_owned(),
        (component, host) => format!("{component}, {host}"),
    };
    vec![
        last.into(),
        object.text("type").into(),
        object.text("reason").into(),
        target.into(),
        about.text("fieldPath").into(),
        source.into(),
        first_of("message", "note").trim().into(),
        first.into(),
        count.into(),
        name(object),
    ]
}

fn quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in object.pairs("status.hard") {
        let used = object
            .at("status.used")
            .get(resource)
            .and_then(Value::as_str)
            .unwrap_or("0");
        let text = format!("{resource}: {used}/{}", hard.as_str().unwrap_or("0"));
        if resource.starts_with("limits") {
            &mut limits
        } else {
            &mut requests
        }
        .push(text);
    }
    vec![
        name(object),
        requests.join(", ").into(),
        limits.join(", ").into(),
        age(object, now),
    ]
}

fn component(object: &Value, _now: Timestamp) -> Vec<Value> {
    let healthy = object
        .list("conditions")
        .iter()
        .find(|condition| condition.text("type") == "Healthy");
    let (mut status, mut message, mut error) = ("Unknown", "", "");
    if let Some(condition) = healthy {
        status = if condition.text("status") == "True" {
            "Healthy"
        } else {
            "Unhealthy"
        };
        message = condition.text("message");
        error = condition.text("error");
    }
    vec![name(object), status.into(), message.into(), error.into()]
}
