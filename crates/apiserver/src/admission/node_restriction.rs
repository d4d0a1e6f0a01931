//! NodeRestriction: a kubelet writes its own node, the status of its own pods, its own lease, and
//! tokens bound to its own pods.

use api::object::Object;
use api::status::{About, Status};
use serde_json::Value;

use super::{Admission, Operation, Plugin};
use crate::registry::call::Call;

/// See the module.
pub struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(node) = admission.user().node() else {
            return Ok(());
        };
        let why = match (
            &*admission.call.endpoint.resource.gvk.group,
            admission.call.info.resource.as_str(),
        ) {
            ("", "pods") => pods(node, admission, object, old),
            ("", "nodes") => nodes(node, admission, object, old),
            ("coordination.k8s.io", "leases") => named("lease", node, admission, object),
            ("storage.k8s.io", "csinodes") => named("CSINode", node, admission, object),
            _ => Ok(()),
        };
        why.map_err(|why| admission.forbid(object, why))
    }
}

fn pods(
    node: &str,
    admission: &Admission<'_>,
    pod: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let bound = |pod: &Value| pod.text("spec.nodeName") == node;
    match (admission.operation, admission.subresource) {
        (Operation::Create, "") => {
            if api::meta::annotation(pod, "kubernetes.io/config.mirror").is_none() {
                return Err(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                ));
            }
            if !bound(pod) {
                return Err(format!(
                    "node {node:?} can only create pods with spec.nodeName set to itself"
                ));
            }
            if !pod.text("spec.serviceAccountName").is_empty() {
                return Err(format!(
                    "node {node:?} can not create pods that reference a service account"
                ));
            }
            Ok(())
        }
        (Operation::Delete, _) if !bound(old.unwrap_or(pod)) => Err(format!(
            "node {node:?} can only delete pods with spec.nodeName set to itself"
        )),
        (Operation::Update, "status") => {
            let Some(old) = old else { return Ok(()) };
            if !bound(old) {
                return Err(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            if pod.at("metadata.labels") != old.at("metadata.labels") {
                return Err(format!(
                    "node {node:?} cannot update labels through pod status"
                ));
            }
            Ok(())
        }
        (Operation::Update, _) => Err(format!(
            "unexpected pod subresource {:?}, only 'status' and 'eviction' are allowed",
            admission.subresource
        )),
        _ => Ok(()),
    }
}

fn nodes(
    node: &str,
    admission: &Admission<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let name = object.text("metadata.name");
    if admission.operation == Operation::Delete {
        return Err(format!("node {node:?} cannot delete node {name:?}"));
    }
    if name != node {
        return Err(format!(
            "node {node:?} is not allowed to modify node {name:?}"
        ));
    }
    let none = Value::Null;
    let old = old.unwrap_or(&none);
    if admission.operation == Operation::Update
        && admission.subresource.is_empty()
        && object.at("spec.taints") != old.at("spec.taints")
    {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    let mut forbidden: Vec<&str> = Vec::new();
    let changed = |key: &str| api::meta::label(object, key) != api::meta::label(old, key);
    for (key, _) in api::meta::labels(object).chain(api::meta::labels(old)) {
        let Some((namespace, _)) = key.split_once('/') else {
            continue;
        };
        let restricted = namespace == "node-restriction.kubernetes.io"
            || namespace.ends_with(".node-restriction.kubernetes.io");
        if restricted && changed(key) && !forbidden.contains(&key) {
            forbidden.push(key);
        }
    }
    if forbidden.is_empty() {
        return Ok(());
    }
    forbidden.sort_unstable();
    let verb = if admission.operation == Operation::Create {
        "set"
    } else {
        "modify"
    };
    Err(format!(
        "is not allowed to {verb} the following labels: {}",
        forbidden.join(", ")
    ))
}

fn named(what: &str, node: &str, admission: &Admission<'_>, object: &Value) -> Result<(), String> {
    let name = match object.text("metadata.name") {
        "" => admission.name,
        name => name,
    };
    if name == node {
        return Ok(());
    }
    Err(format!(
        "can only access node {what} with the same name as the requesting node"
    ))
}

/// A kubelet's TokenRequest must be bound to a pod on its node.
pub fn token(call: &Call, request: &Value) -> Result<(), Status> {
    let Some(node) = call.user.node() else {
        return Ok(());
    };
    let refuse = |why: String| {
        Err(Status::forbidden(
            About::new("", "serviceaccounts"),
            &call.info.name,
            why,
        ))
    };
    let reference = request.at("spec.boundObjectRef");
    if reference.text("kind") != "Pod" || reference.text("name").is_empty() {
        return refuse(format!(
            "node requested token not bound to a pod (node {node:?})"
        ));
    }
    if reference.text("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = call
        .server
        .objects
        .entry("", "pods", call.namespace(), reference.text("name"));
    let bound = pod.is_some_and(|pod| pod.attributes.field("spec.nodeName") == Some(node));
    if !bound {
        return refuse(
            "node requested token bound to a pod scheduled on a different node".to_owned(),
        );
    }
    Ok(())
}
