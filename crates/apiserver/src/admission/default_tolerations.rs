//! DefaultTolerationSeconds: a pod bears an unready or unreachable node for five minutes, unless it
//! says otherwise.

use api::object::Object;
use api::status::Status;
use serde_json::{Value, json};

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct DefaultTolerationSeconds;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        pod: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let asked = matches!(admission.operation, Operation::Create | Operation::Update);
        if !asked || !admission.is("", "pods") {
            return Ok(());
        }
        let missing: Vec<&str> = TAINTS
            .into_iter()
            .filter(|taint| {
                !pod.list("spec.tolerations").iter().any(|t| {
                    let key = t.text("key");
                    (key == *taint || key.is_empty())
                        && matches!(t.text("effect"), "" | "NoExecute")
                })
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let tolerations = pod.place("spec.tolerations");
        if !tolerations.is_array() {
            *tolerations = json!([]);
        }
        if let Some(list) = tolerations.as_array_mut() {
            list.extend(missing.into_iter().map(|taint| {
                json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS})
            }));
        }
        Ok(())
    }
}
