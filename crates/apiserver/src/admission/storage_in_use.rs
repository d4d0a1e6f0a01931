//! StorageObjectInUseProtection: volumes and claims stay while something uses them.

use api::object::Object;
use api::status::Status;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if admission.operation != Operation::Create {
            return Ok(());
        }
        let finalizer = if admission.is("", "persistentvolumes") {
            "kubernetes.io/pv-protection"
        } else if admission.is("", "persistentvolumeclaims") {
            "kubernetes.io/pvc-protection"
        } else {
            return Ok(());
        };
        if api::meta::finalizers(object).any(|f| f == finalizer) {
            return Ok(());
        }
        let list = object.place("metadata.finalizers");
        match list.as_array_mut() {
            Some(list) => list.push(finalizer.into()),
            None => *list = json!([finalizer]),
        }
        Ok(())
    }
}
