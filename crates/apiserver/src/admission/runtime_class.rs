//! RuntimeClass: a pod gets the overhead, node selector and tolerations of its class.

use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct RuntimeClass;

fn class(admission: &Admission<'_>, pod: &Value) -> Result<Option<Arc<Value>>, Status> {
    let name = pod.text("spec.runtimeClassName");
    if !admission.is("", "pods") || admission.operation != Operation::Create || name.is_empty() {
        return Ok(None);
    }
    match admission
        .objects()
        .value("node.k8s.io", "runtimeclasses", "", name)
    {
        Some(class) => Ok(Some(class)),
        None => Err(admission.forbid(
            pod,
            format!("pod rejected: RuntimeClass {name:?} not found"),
        )),
    }
}

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        pod: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(class) = class(admission, pod)? else {
            return Ok(());
        };
        let overhead = class.at("overhead.podFixed");
        if !overhead.is_null() {
            let sent = pod.at("spec.overhead");
            if !sent.is_null() && sent != overhead {
                return Err(admission.forbid(
                    pod,
                    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
                ));
            }
            pod.set("spec.overhead", overhead.clone());
        }
        for (key, value) in class.pairs("scheduling.nodeSelector") {
            let conflict = pod
                .at("spec.nodeSelector")
                .get(key)
                .is_some_and(|held| held != value);
            if conflict {
                return Err(admission.forbid(
                    pod,
                    format!("conflict: runtimeClass.scheduling.nodeSelector[{key}] differs from the pod's"),
                ));
            }
            meta::map_mut(pod.place("spec.nodeSelector")).insert(key.to_owned(), value.clone());
        }
        for toleration in class.list("scheduling.tolerations") {
            let list = pod.place("spec.tolerations");
            match list.as_array_mut() {
                Some(list) if list.contains(toleration) => {}
                Some(list) => list.push(toleration.clone()),
                None => *list = json!([toleration]),
            }
        }
        Ok(())
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        pod: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let asked = admission.is("", "pods") && admission.operation == Operation::Create;
        if asked && pod.text("spec.runtimeClassName").is_empty() && pod.has("spec.overhead") {
            return Err(admission.forbid(
                pod,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ));
        }
        Ok(())
    }
}
