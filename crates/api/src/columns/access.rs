//! Who may do what, and with which credentials.

use jiff::Timestamp;
use schema::Value;

use super::{AGE, Column, NAME, NAME_AGE, Printer, age, joined, name, or, text, wide};
use crate::{duration, object::Object};

const BINDING: &[Column] = &[
    NAME,
    text("Role"),
    AGE,
    wide("Users"),
    wide("Groups"),
    wide("ServiceAccounts"),
];

/// How the kind is shown, if it belongs here.
pub fn printer(group: &str, kind: &str) -> Option<Printer> {
    Some(match (group, kind) {
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => Printer {
            columns: BINDING,
            row: binding,
        },
        ("rbac.authorization.k8s.io", _) => Printer {
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
        ("", "ServiceAccount") => NAME_AGE,
        ("", "Secret") => Printer {
            columns: const { &[NAME, text("Type"), text("Data"), AGE] },
            row: |object, now| {
                let keys = object.map("data").map_or(0, |data| data.len());
                vec![
                    name(object),
                    object.text("type").into(),
                    keys.into(),
                    age(object, now),
                ]
            },
        },
        ("certificates.k8s.io", "CertificateSigningRequest") => Printer {
            columns: const {
                &[
                    NAME,
                    AGE,
                    text("SignerName"),
                    text("Requestor"),
                    text("RequestedDuration"),
                    text("Condition"),
                ]
            },
            row: signing_request,
        },
        ("certificates.k8s.io", "ClusterTrustBundle") => Printer {
            columns: const { &[NAME, text("SignerName")] },
            row: |object, _| {
                vec![
                    name(object),
                    or(object.text("spec.signerName"), "<none>").into(),
                ]
            },
        },
        ("certificates.k8s.io", "PodCertificateRequest") => Printer {
            columns: const {
                &[
                    NAME,
                    text("PodName"),
                    text("ServiceAccountName"),
                    text("NodeName"),
                    text("SignerName"),
                    text("State"),
                    text("UnverifiedUserAnnotations"),
                ]
            },
            row: |object, _| {
                let list = object.list("status.conditions").iter();
                let state = list
                    .map(|condition| condition.text("type"))
                    .rfind(|kind| matches!(*kind, "Denied" | "Failed" | "Issued"));
                let spec = object.at("spec");
                vec![
                    name(object),
                    spec.text("podName").into(),
                    spec.text("serviceAccountName").into(),
                    spec.text("nodeName").into(),
                    spec.text("signerName").into(),
                    state.unwrap_or("Pending").into(),
                    super::label_map(spec.at("unverifiedUserAnnotations")).into(),
                ]
            },
        },
        _ => return None,
    })
}

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = object.at("roleRef");
    let subjects = |kind: &str| -> Value {
        let found = object
            .list("subjects")
            .iter()
            .filter(|subject| subject.text("kind") == kind);
        if kind == "ServiceAccount" {
            let names: Vec<String> = found
                .map(|subject| format!("{}/{}", subject.text("namespace"), subject.text("name")))
                .collect();
            names.join(", ").into()
        } else {
            joined(found.map(|subject| subject.text("name")))
                .replace(',', ", ")
                .into()
        }
    };
    vec![
        name(object),
        format!("{}/{}", role.text("kind"), role.text("name")).into(),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let has = |kind: &str| {
        let mut list = object.list("status.conditions").iter();
        list.any(|condition| condition.text("type") == kind)
    };
    let decided = ["Denied", "Approved"].into_iter().find(|kind| has(kind));
    let mut conditions = vec![decided.unwrap_or("Pending")];
    if has("Failed") {
        conditions.push("Failed");
    }
    if !object.text("status.certificate").is_empty() {
        conditions.push("Issued");
    }
    let spec = object.at("spec");
    let requested = spec
        .int("expirationSeconds")
        .map_or("<none>".to_owned(), duration::human);
    vec![
        name(object),
        age(object, now),
        or(spec.text("signerName"), "<none>").into(),
        spec.text("username").into(),
        requested.into(),
        conditions.join(",").into(),
    ]
}
