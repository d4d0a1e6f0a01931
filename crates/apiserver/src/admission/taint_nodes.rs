//! TaintNodesByCondition: a new node is not ready until it says so.

use api::object::Object;
use api::status::Status;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct TaintNodesByCondition;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        node: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !admission.is("", "nodes") || admission.operation != Operation::Create {
            return Ok(());
        }
        let taints = node.place("spec.taints");
        if !taints.is_array() {
            *taints = json!([]);
        }
        if let Some(list) = taints.as_array_mut()
            && !list
                .iter()
                .any(|t| t.text("key") == NOT_READY && t.text("effect") == "NoSchedule")
        {
            list.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
