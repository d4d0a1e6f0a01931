//! AppArmor profiles, which annotations gave to containers before there were fields for them.

use schema::Value;
use serde_json::json;

use crate::object::Object;

/// What an annotation's key has before the container's name.
pub const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Where containers, and whole pods, say it.
pub const FIELD: &str = "securityContext.appArmorProfile";

/// The field that says what an annotation said.
pub fn profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix("localhost/")?;
            let bad = name.trim().is_empty() || name.trim() != name || name.len() > 4095;
            (!bad).then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// Containers that only an annotation gives a profile get the field, unless the pod's says the same.
pub fn from_annotations(pod: &mut Value) {
    if pod.text("spec.os.name") == "windows" {
        return;
    }
    let annotations = pod.at("metadata.annotations").clone();
    let of_pod = pod.at("spec").at(FIELD).clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in pod.list_mut(&format!("spec.{list}")) {
            let key = format!("{PREFIX}{}", container.text("name"));
            let said = annotations.get(&key).and_then(Value::as_str);
            let Some(field) = said.and_then(profile).filter(|field| *field != of_pod) else {
                continue;
            };
            if !container.has(FIELD) {
                container.set(FIELD, field);
            }
        }
    }
}
