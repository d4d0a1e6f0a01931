//! What extends or steers the API server, and devices.

use schema::Value;

use super::{AGE, Column, NAME, NAME_AGE, Printer, age, count, name, number, or, text};
use crate::{meta, object::Object};

const CREATED: &[Column] = &[
    NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        priority: 0,
    },
];

/// How the kind is shown, if it belongs here.
pub fn printer(group: &str, kind: &str) -> Option<Printer> {
    Some(match (group, kind) {
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => Printer {
            columns: const { &[NAME, number("Webhooks"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    object.list("webhooks").len().into(),
                    age(object, now),
                ]
            },
        },
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => Printer {
            columns: const { &[NAME, number("Validations"), text("ParamKind"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    object.list("spec.validations").len().into(),
                    param_kind(object),
                    age(object, now),
                ]
            },
        },
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => Printer {
            columns: const { &[NAME, number("Mutations"), text("ParamKind"), AGE] },
            row: |object, now| {
                vec![
                    name(object),
                    object.list("spec.mutations").len().into(),
                    param_kind(object),
                    age(object, now),
                ]
            },
        },
        ("admissionregistration.k8s.io", _) => Printer {
            columns: const { &[NAME, text("PolicyName"), text("ParamRef"), AGE] },
            row: |object, now| {
                let parameter = object.at("spec.paramRef");
                let text = match (
                    parameter.is_null(),
                    parameter.text("namespace"),
                    parameter.text("name"),
                ) {
                    (true, ..) => "<unset>".to_owned(),
                    (false, _, "") => "<unset>".to_owned(),
                    (false, "", name) => format!("*/{name}"),
                    (false, namespace, name) => format!("{namespace}/{name}"),
                };
                vec![
                    name(object),
                    object.text("spec.policyName").into(),
                    text.into(),
                    age(object, now),
                ]
            },
        },
        ("apiextensions.k8s.io", _) => Printer {
            columns: CREATED,
            row: |object, _| {
                vec![
                    name(object),
                    object.at("metadata.creationTimestamp").clone(),
                ]
            },
        },
        ("apiregistration.k8s.io", _) => Printer {
            columns: const { &[NAME, text("Service"), text("Available"), AGE] },
            row: |object, now| {
                let service = object.at("spec.service");
                let target = if service.is_null() {
                    "Local".to_owned()
                } else {
                    format!("{}/{}", service.text("namespace"), service.text("name"))
                };
                let available = match meta::condition(object, "Available") {
                    None => "Unknown".to_owned(),
                    Some(condition) if condition.text("status") == "True" => "True".to_owned(),
                    Some(condition) => format!(
                        "{} ({})",
                        condition.text("status"),
                        condition.text("reason")
                    ),
                };
                vec![
                    name(object),
                    target.into(),
                    available.into(),
                    age(object, now),
                ]
            },
        },
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => Printer {
            columns: const {
                &[
                    NAME,
                    text("PriorityLevel"),
                    text("MatchingPrecedence"),
                    text("DistinguisherMethod"),
                    AGE,
                    text("MissingPL"),
                ]
            },
            row: |object, now| {
                let dangling = meta::condition(object, "Dangling")
                    .map_or("?", |condition| condition.text("status"));
                vec![
                    name(object),
                    object.text("spec.priorityLevelConfiguration.name").into(),
                    count(object, "spec.matchingPrecedence"),
                    or(object.text("spec.distinguisherMethod.type"), "<none>").into(),
                    age(object, now),
                    dangling.into(),
                ]
            },
        },
        ("flowcontrol.apiserver.k8s.io", _) => Printer {
            columns: const {
                &[
                    NAME,
                    text("Type"),
                    text("NominalConcurrencyShares"),
                    text("Queues"),
                    text("HandSize"),
                    text("QueueLengthLimit"),
                    AGE,
                ]
            },
            row: |object, now| {
                let spec = object.at("spec");
                let cell = |path: &str| spec.int(path).map_or(Value::from("<none>"), Value::from);
                vec![
                    name(object),
                    spec.text("type").into(),
                    cell("limited.nominalConcurrencyShares"),
                    cell("limited.limitResponse.queuing.queues"),
                    cell("limited.limitResponse.queuing.handSize"),
                    cell("limited.limitResponse.queuing.queueLengthLimit"),
                    age(object, now),
                ]
            },
        },
        ("internal.apiserver.k8s.io", _) => Printer {
            columns: const {
                &[
                    NAME,
                    text("CommonEncodingVersion"),
                    text("StorageVersions"),
                    AGE,
                ]
            },
            row: |object, now| {
                let versions = object.list("status.storageVersions").iter();
                let versions: Vec<String> = versions
                    .map(|v| format!("{}={}", v.text("apiServerID"), v.text("encodingVersion")))
                    .collect();
                vec![
                    name(object),
                    or(object.text("status.commonEncodingVersion"), "<unset>").into(),
                    super::some(versions).into(),
                    age(object, now),
                ]
            },
        },
        ("storagemigration.k8s.io", _) => Printer {
            columns: const { &[text("Name"), text("Resource"), text("Status")] },
            row: |object, _| {
                let resource = object.at("spec.resource");
                let resource =
                    crate::resource::qualify(resource.text("resource"), resource.text("group"));
                let status = ["Succeeded", "Failed", "Running"]
                    .into_iter()
                    .find(|state| super::is_true(object, state));
                vec![
                    name(object),
                    resource.into(),
                    status.unwrap_or("Unknown").into(),
                ]
            },
        },
        ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate") => NAME_AGE,
        ("resource.k8s.io", "ResourceClaim") => Printer {
            columns: const { &[NAME, text("State"), AGE] },
            row: |object, now| vec![name(object), claim_state(object).into(), age(object, now)],
        },
        ("resource.k8s.io", "ResourceSlice") => Printer {
            columns: const { &[NAME, text("Node"), text("Driver"), text("Pool"), AGE] },
            row: |object, now| {
                let spec = object.at("spec");
                let all = if spec.flag("allNodes") {
                    "<all>"
                } else {
                    "<unset>"
                };
                vec![
                    name(object),
                    spec.at("nodeName").as_str().unwrap_or(all).into(),
                    spec.text("driver").into(),
                    spec.text("pool.name").into(),
                    age(object, now),
                ]
            },
        },
        ("resource.k8s.io", "ResourcePoolStatusRequest") => super::pools::PRINTER,
        ("resource.k8s.io", "DeviceTaintRule") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Key"),
                    text("Value"),
                    text("Effect"),
                    text("TimeAdded"),
                    AGE,
                ]
            },
            row: |object, now| {
                let taint = object.at("spec.taint");
                let cell = |field: &str| Value::from(taint.text(field));
                vec![
                    name(object),
                    cell("key"),
                    cell("value"),
                    cell("effect"),
                    crate::duration::since(taint.text("timeAdded"), now).into(),
                    age(object, now),
                ]
            },
        },
        _ => return None,
    })
}

fn param_kind(object: &Value) -> Value {
    let kind = object.at("spec.paramKind");
    if kind.is_null() {
        return "<unset>".into();
    }
    format!("{}/{}", kind.text("apiVersion"), kind.text("kind")).into()
}

fn claim_state(object: &Value) -> String {
    let mut states = Vec::new();
    if meta::is_terminating(object) {
        states.push("deleted");
    }
    if object.has("status.allocation") {
        states.push("allocated");
        if !object.list("status.reservedFor").is_empty() {
            states.push("reserved");
        }
    } else if !meta::is_terminating(object) {
        states.push("pending");
    }
    states.join(",")
}
