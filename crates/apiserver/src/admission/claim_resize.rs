//! PersistentVolumeClaimResize: a claim grows only once it is bound, and only where its class says that
//! its volumes can.

use api::meta;
use api::object::Object;
use api::quantity::Quantity;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct PersistentVolumeClaimResize;

fn class(claim: &Value) -> &str {
    meta::annotation(claim, "volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| claim.text("spec.storageClassName"))
}

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        claim: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(old) = old else { return Ok(()) };
        let updated = admission.operation == Operation::Update;
        if !updated || !admission.is("", "persistentvolumeclaims") {
            return Ok(());
        }
        let size = |claim: &Value| Quantity::of(claim.at("spec.resources.requests.storage"));
        if size(claim) <= size(old) {
            return Ok(());
        }
        if old.text("status.phase") != "Bound" {
            return Err(
                admission.forbid(claim, "Only bound persistent volume claims can be expanded")
            );
        }
        let grows = class(claim) == class(old)
            && admission
                .objects()
                .value("storage.k8s.io", "storageclasses", "", class(claim))
                .is_some_and(|class| class.flag("allowVolumeExpansion"));
        if grows {
            return Ok(());
        }
        Err(admission.forbid(
            claim,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }
}
