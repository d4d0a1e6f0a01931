//! Priority: a pod's class becomes its number; one class at most is the default.

use api::object::Object;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct Priority;

const GROUP: &str = "scheduling.k8s.io";

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        pod: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if !admission.is("", "pods") {
            return Ok(());
        }
        match (admission.operation, old) {
            (Operation::Create, _) => create(admission, pod),
            (Operation::Update, Some(old)) => {
                // An update that leaves the numbers out keeps them.
                for path in ["spec.priority", "spec.preemptionPolicy"] {
                    if !pod.has(path) && old.has(path) {
                        pod.restore(path, old);
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        class: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        let asked = matches!(admission.operation, Operation::Create | Operation::Update);
        if !asked || !admission.is(GROUP, "priorityclasses") || !class.flag("globalDefault") {
            return Ok(());
        }
        let other = admission
            .objects()
            .values(GROUP, "priorityclasses", None)
            .into_iter()
            .find(|c| {
                c.flag("globalDefault") && c.text("metadata.name") != class.text("metadata.name")
            });
        match other {
            Some(other) => Err(admission.forbid(
                class,
                format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.text("metadata.name")
                ),
            )),
            None => Ok(()),
        }
    }
}

fn create(admission: &Admission<'_>, pod: &mut Value) -> Result<(), Status> {
    let name = pod.text("spec.priorityClassName").to_owned();
    let class = if name.is_empty() {
        // Of several defaults the lowest counts.
        admission
            .objects()
            .values(GROUP, "priorityclasses", None)
            .into_iter()
            .filter(|class| class.flag("globalDefault"))
            .min_by_key(|class| class.int("value").unwrap_or(0))
    } else {
        let class = admission
            .objects()
            .value(GROUP, "priorityclasses", "", &name);
        if class.is_none() {
            return Err(
                admission.forbid(pod, format!("no PriorityClass with name {name} was found"))
            );
        }
        class
    };
    let (name, priority, preemption) = match &class {
        Some(class) => (
            class.text("metadata.name"),
            class.int("value").unwrap_or(0),
            match class.text("preemptionPolicy") {
                "" => "PreemptLowerPriority",
                policy => policy,
            },
        ),
        None => ("", 0, "PreemptLowerPriority"),
    };
    if let Some(sent) = pod.int("spec.priority").filter(|sent| *sent != priority) {
        return Err(admission.forbid(
            pod,
            format!(
                "the integer value of priority ({sent}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
            ),
        ));
    }
    let sent = pod.text("spec.preemptionPolicy");
    if !sent.is_empty() && sent != preemption {
        return Err(admission.forbid(
            pod,
            format!(
                "the string value of PreemptionPolicy ({sent}) must not be provided in pod spec; priority admission controller computed {preemption} from the given PriorityClass name"
            ),
        ));
    }
    if !name.is_empty() {
        pod.set("spec.priorityClassName", name);
    }
    pod.set("spec.priority", priority);
    pod.set("spec.preemptionPolicy", preemption);
    Ok(())
}
