//! NamespaceLifecycle: nothing is created in a namespace that is missing or going, and the
//! namespaces a cluster cannot be without stay.

use api::object::Object;
use api::status::{About, Status};
use serde_json::Value;

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct NamespaceLifecycle;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let namespace = admission.call.namespace();
        if admission.operation != Operation::Create || namespace.is_empty() {
            return Ok(());
        }
        // Questions about access tell nothing of what exists.
        if admission.of("authorization.k8s.io", "localsubjectaccessreviews") {
            return Ok(());
        }
        let Some(live) = admission.objects().value("", "namespaces", "", namespace) else {
            return Err(Status::not_found(About::new("", "namespaces"), namespace));
        };
        if live.text("status.phase") != "Terminating" {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let field = "metadata.namespace";
        Err(admission.forbid(object, why).with_cause(
            "NamespaceTerminating",
            format!("namespace {namespace} is being terminated"),
            field,
        ))
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if admission.operation == Operation::Delete
            && admission.is("", "namespaces")
            && IMMORTAL.contains(&admission.name)
        {
            return Err(admission.forbid(object, "this namespace may not be deleted"));
        }
        Ok(())
    }
}
