//! The Node authorizer: a kubelet reaches what the pods bound to its node refer to, its own node,
//! lease and CSINode, and otherwise what the role `system:node` says.
//!
//! Upstream keeps a graph of references. Here the pods of the node are looked through when the
//! question comes: a node has few pods, and its kubelet asks for one object once per watch.

use std::sync::{Arc, LazyLock};

use api::object::Object;
use serde_json::Value;

use super::rbac::Rule;
use super::{Attributes, Decision};
use crate::bootstrap::policy;
use crate::objects::Objects;

/// The rules of the role `system:node`.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| policy::cluster_role_rules("system:node"));

fn no(reason: &str) -> Decision {
    Decision::NoOpinion(reason.to_owned())
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

fn by_rules(attributes: &Attributes<'_>) -> Decision {
    if RULES.iter().any(|rule| rule.covers(attributes)) {
        yes()
    } else {
        no("")
    }
}

/// Decides for the kubelet of `node`.
pub fn decide(node: &str, attributes: &Attributes<'_>, objects: &Objects) -> Decision {
    if !attributes.is_resource {
        return by_rules(attributes);
    }
    let Attributes {
        verb,
        subresource,
        name,
        namespace,
        ..
    } = *attributes;
    match (attributes.group, attributes.resource) {
        ("", resource @ ("secrets" | "configmaps")) => {
            if !matches!(verb, "get" | "list" | "watch") || !subresource.is_empty() {
                return no("can only read resources of this type");
            }
            if name.is_empty() || namespace.is_empty() {
                return no("can only read namespaced object of this type");
            }
            related(node, resource, namespace, name, objects)
        }
        ("", "persistentvolumeclaims") => match (verb, subresource) {
            ("get", "") | ("get" | "update" | "patch", "status") => {
                related(node, "persistentvolumeclaims", namespace, name, objects)
            }
            ("get", _) => no("cannot get subresource"),
            _ => no("can only update PersistentVolumeClaim status"),
        },
        ("", "persistentvolumes") => {
            if verb != "get" || !subresource.is_empty() || name.is_empty() {
                return no("can only get individual resources of this type");
            }
            related(node, "persistentvolumes", "", name, objects)
        }
        ("resource.k8s.io", "resourceclaims") => {
            if verb != "get" || !subresource.is_empty() {
                return no("can only get individual resources of this type");
            }
            related(node, "resourceclaims", namespace, name, objects)
        }
        ("storage.k8s.io", "volumeattachments") => {
            if verb != "get" || !subresource.is_empty() || name.is_empty() {
                return no("can only get individual resources of this type");
            }
            let attached = objects
                .value("storage.k8s.io", "volumeattachments", "", name)
                .is_some_and(|object| object.text("spec.nodeName") == node);
            if attached {
                yes()
            } else {
                no(&unrelated(node))
            }
        }
        ("", "serviceaccounts") => match (verb, subresource) {
            ("create", "token") | ("get", "") => {
                related(node, "serviceaccounts", namespace, name, objects)
            }
            _ => no("can only get, or create tokens for, individual service accounts"),
        },
        ("coordination.k8s.io", "leases") => {
            if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
                return no("can only get, create, update, patch, or delete a node lease");
            }
            if namespace != "kube-node-lease" {
                return no("can only access leases in the \"kube-node-lease\" system namespace");
            }
            if verb != "create" && name != node {
                return no("can only access node lease with the same name as the requesting node");
            }
            yes()
        }
        ("storage.k8s.io", "csinodes") => {
            if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
                return no("can only get, create, update, patch, or delete a CSINode");
            }
            if !subresource.is_empty() {
                return no("cannot authorize CSINode subresources");
            }
            if verb != "create" && name != node {
                return no("can only access CSINode with the same name as the requesting node");
            }
            yes()
        }
        ("resource.k8s.io", "resourceslices") => resource_slices(node, attributes, objects),
        ("", "nodes") => own_node(node, attributes),
        ("", "pods") => own_pods(node, attributes, objects),
        _ => by_rules(attributes),
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn selects(attributes: &Attributes<'_>, field: &str, node: &str) -> bool {
    attributes.field_selector.split(',').any(|term| {
        let (key, value) = term.split_once('=').unwrap_or((term, ""));
        key == field && value.trim_start_matches('=') == node
    })
}

fn resource_slices(node: &str, attributes: &Attributes<'_>, objects: &Objects) -> Decision {
    match attributes.verb {
        // The admission plugin NodeRestriction sees to it that a new slice is the node's own.
        "create" => yes(),
        "list" | "watch" | "deletecollection" if selects(attributes, "spec.nodeName", node) => {
            yes()
        }
        "get" | "update" | "patch" | "delete" => {
            let own = objects
                .value("resource.k8s.io", "resourceslices", "", attributes.name)
                .is_some_and(|slice| slice.text("spec.nodeName") == node);
            if own { yes() } else { no(&unrelated(node)) }
        }
        _ => no("only the node's own resource slices can be accessed"),
    }
}

fn own_node(node: &str, attributes: &Attributes<'_>) -> Decision {
    match (attributes.verb, attributes.subresource) {
        ("create" | "update" | "patch", _) => by_rules(attributes),
        ("get", "") if attributes.name == node => yes(),
        ("list" | "watch", "")
            if attributes.name == node || selects(attributes, "metadata.name", node) =>
        {
            yes()
        }
        ("get" | "list" | "watch", _) => no(&format!(
            "node '{node}' cannot read '{}', only its own Node object",
            attributes.name
        )),
        _ => by_rules(attributes),
    }
}

fn own_pods(node: &str, attributes: &Attributes<'_>, objects: &Objects) -> Decision {
    match (attributes.verb, attributes.subresource) {
        ("get", "") => {
            let own = objects
                .entry("", "pods", attributes.namespace, attributes.name)
                .is_some_and(|pod| pod.attributes.field("spec.nodeName") == Some(node));
            if own { yes() } else { no(&unrelated(node)) }
        }
        ("list" | "watch", "") => {
            if selects(attributes, "spec.nodeName", node) {
                yes()
            } else {
                no("can only list/watch pods with spec.nodeName field selector")
            }
        }
        _ => by_rules(attributes),
    }
}

/// Does any pod bound to the node refer to this object?
fn related(node: &str, resource: &str, namespace: &str, name: &str, objects: &Objects) -> Decision {
    if name.is_empty() {
        return no("No Object name found");
    }
    let found = objects
        .by_field("", "pods", ("spec.nodeName", node))
        .iter()
        .filter(|pod| namespace.is_empty() || pod.key.namespace() == Some(namespace))
        .filter_map(|pod| serde_json::from_slice::<Value>(&pod.json).ok())
        .any(|pod| refers(&pod, resource, name, objects));
    if found { yes() } else { no(&unrelated(node)) }
}

fn refers(pod: &Value, resource: &str, name: &str, objects: &Objects) -> bool {
    let namespace = pod.text("metadata.namespace");
    match resource {
        "serviceaccounts" => pod.text("spec.serviceAccountName") == name,
        "secrets" => {
            secret_names(pod).any(|secret| secret == name)
                || claims(pod).any(|claim| {
                    volume_of(namespace, &claim, objects).is_some_and(|volume| {
                        volume.to_string().contains(&format!("\"name\":{name:?}"))
                    })
                })
        }
        "configmaps" => config_map_names(pod).any(|config_map| config_map == name),
        "persistentvolumeclaims" => claims(pod).any(|claim| claim == name),
        "persistentvolumes" => claims(pod).any(|claim| {
            objects
                .value("", "persistentvolumeclaims", namespace, &claim)
                .is_some_and(|claim| claim.text("spec.volumeName") == name)
        }),
        "resourceclaims" => pod
            .list("spec.resourceClaims")
            .iter()
            .chain(pod.list("status.resourceClaimStatuses"))
            .any(|claim| claim.text("resourceClaimName") == name),
        _ => false,
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    [
        "spec.containers",
        "spec.initContainers",
        "spec.ephemeralContainers",
    ]
    .into_iter()
    .flat_map(|path| pod.list(path))
}

fn secret_names(pod: &Value) -> impl Iterator<Item = &str> {
    let pulls = pod
        .list("spec.imagePullSecrets")
        .iter()
        .map(|s| s.text("name"));
    let environment = containers(pod).flat_map(|c| {
        let all = c.list("envFrom").iter().map(|e| e.text("secretRef.name"));
        all.chain(
            c.list("env")
                .iter()
                .map(|e| e.text("valueFrom.secretKeyRef.name")),
        )
    });
    let volumes = pod.list("spec.volumes").iter().flat_map(|v| {
        let plain = [
            "secret.secretName",
            "csi.nodePublishSecretRef.name",
            "flexVolume.secretRef.name",
            "iscsi.secretRef.name",
            "cephfs.secretRef.name",
            "rbd.secretRef.name",
            "azureFile.secretName",
        ];
        let projected = v
            .list("projected.sources")
            .iter()
            .map(|s| s.text("secret.name"));
        plain.into_iter().map(|path| v.text(path)).chain(projected)
    });
    pulls.chain(environment).chain(volumes)
}

fn config_map_names(pod: &Value) -> impl Iterator<Item = &str> {
    let environment = containers(pod).flat_map(|c| {
        let all = c
            .list("envFrom")
            .iter()
            .map(|e| e.text("configMapRef.name"));
        all.chain(
            c.list("env")
                .iter()
                .map(|e| e.text("valueFrom.configMapKeyRef.name")),
        )
    });
    let volumes = pod.list("spec.volumes").iter().flat_map(|v| {
        let projected = v
            .list("projected.sources")
            .iter()
            .map(|s| s.text("configMap.name"));
        std::iter::once(v.text("configMap.name")).chain(projected)
    });
    environment.chain(volumes)
}

fn claims(pod: &Value) -> impl Iterator<Item = String> {
    let name = pod.text("metadata.name");
    pod.list("spec.volumes").iter().filter_map(move |v| {
        if v.has("ephemeral") {
            return Some(format!("{name}-{}", v.text("name")));
        }
        let claim = v.text("persistentVolumeClaim.claimName");
        (!claim.is_empty()).then(|| claim.to_owned())
    })
}

fn volume_of(namespace: &str, claim: &str, objects: &Objects) -> Option<Arc<Value>> {
    let claim = objects.value("", "persistentvolumeclaims", namespace, claim)?;
    objects.value("", "persistentvolumes", "", claim.text("spec.volumeName"))
}
