//! PodTopologyLabels (KEP-4742): a pod gets the zone and the region of its node as labels, when it is
//! bound or created on a node.

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct PodTopologyLabels;

const LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if admission.operation != Operation::Create || !admission.of("", "pods") {
            return Ok(());
        }
        let node = match admission.subresource {
            "" => object.text("spec.nodeName"),
            "binding" if object.text("target.kind") == "Node" => object.text("target.name"),
            _ => "",
        };
        // A node that is not known gives no labels.
        let Some(node) = admission.objects().entry("", "nodes", "", node) else {
            return Ok(());
        };
        for label in LABELS {
            if let Some(value) = node.attributes.label(label) {
                meta::set_label(object, label, value);
            }
        }
        Ok(())
    }
}
