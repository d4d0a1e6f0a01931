//! Services.

mod defaults;
mod update;
mod validation;
mod warnings;

pub use defaults::defaults;

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use crate::{
    object::Object,
    strategy::{Part, Strategy, label_name},
};

/// What Services do specially.
pub struct Service;

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        defaults(object);
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _now: Timestamp) {
        if part == Part::Main {
            drop_of_other_types(object, old);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        validation::service(object, &Value::Null, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Main => {
                update::changes(object, old, errors);
                validation::service(object, old, errors);
            }
            Part::Status => {
                let status = Path::ROOT.field("status");
                let own = status.field("loadBalancer");
                validation::load_balancer(object, old, &own, errors);
            }
            Part::Sub(_) => {}
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        label_name(name, prefix)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings::warnings(object)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

/// Has it no address of its own?
fn is_headless(object: &Value) -> bool {
    match object.list("spec.clusterIPs") {
        [] => object.text("spec.clusterIP") == "None",
        [only] => only.as_str() == Some("None"),
        _ => false,
    }
}

fn needs_health_check(object: &Value) -> bool {
    object.text("spec.type") == "LoadBalancer"
        && object.text("spec.externalTrafficPolicy") == "Local"
}

fn is_external(object: &Value) -> bool {
    let kind = object.text("spec.type");
    matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !object.list("spec.externalIPs").is_empty())
}

/// A change of type takes away what only the old type has, unless the writer changed it as well.
fn drop_of_other_types(object: &mut Value, old: &Value) {
    let (now, before) = (
        object.text("spec.type").to_owned(),
        old.text("spec.type").to_owned(),
    );
    if now == before {
        return;
    }
    let has_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    let ports = |object: &Value| {
        object
            .list("spec.ports")
            .iter()
            .map(|port| port.int("nodePort").unwrap_or(0))
            .collect::<Vec<_>>()
    };
    if has_ports(&before) && !has_ports(&now) && ports(object) == ports(old) {
        for port in object
            .at_mut("spec")
            .map_or(&mut [][..], |spec| spec.list_mut("ports"))
        {
            port.remove("nodePort");
        }
    }
    let mut drop_same = |fields: &[&str]| {
        for field in fields {
            let path = format!("spec.{field}");
            if object.at(&path) == old.at(&path) {
                object.remove(&path);
            }
        }
    };
    if now == "ExternalName" {
        drop_same(&[
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ]);
    }
    if before == "ExternalName" {
        drop_same(&["externalName"]);
    }
    if before == "LoadBalancer" {
        drop_same(&[
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
            "healthCheckNodePort",
        ]);
    }
    if !is_external(object) {
        object.remove("spec.externalTrafficPolicy");
    }
}
