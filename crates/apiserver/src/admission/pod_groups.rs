//! PodGroupWorkloadExists and JobValidation: a group of pods follows a template that is there, and a Job
//! whose pods are scheduled together keeps their number. (`scheduling.k8s.io/v1alpha2`, which is served
//! only when asked for.)

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};

const GROUP: &str = "scheduling.k8s.io";

/// See the module.
pub struct PodGroups;

impl Plugin for PodGroups {
    fn name(&self) -> &'static str {
        "PodGroupWorkloadExists"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        match (admission.operation, old) {
            (Operation::Create, _) if admission.is(GROUP, "podgroups") => group(admission, object),
            (Operation::Update, Some(old)) if admission.is("batch", "jobs") => {
                job(admission, object, old)
            }
            _ => Ok(()),
        }
    }
}

fn group(admission: &Admission<'_>, group: &Value) -> Result<(), Status> {
    let wanted = group.at("spec.podGroupTemplateRef.workload");
    if wanted.is_null() {
        return Ok(());
    }
    let refuse = |why: String| Err(admission.forbid(group, format!("PodGroup rejected: {why}")));
    let name = wanted.text("workloadName");
    let namespace = admission.call.namespace();
    let Some(workload) = admission
        .objects()
        .value(GROUP, "workloads", namespace, name)
    else {
        return refuse(format!("Workload {name:?} not found"));
    };
    if meta::is_terminating(&workload) {
        return refuse(format!("Workload {name:?} is being deleted"));
    }
    let template = wanted.text("podGroupTemplateName");
    let mut templates = workload.list("spec.podGroupTemplates").iter();
    if templates.any(|known| known.text("name") == template) {
        return Ok(());
    }
    refuse(format!(
        "PodGroupTemplate {template:?} not found in Workload {name:?}"
    ))
}

fn job(admission: &Admission<'_>, job: &Value, old: &Value) -> Result<(), Status> {
    if job.at("spec.parallelism") == old.at("spec.parallelism") {
        return Ok(());
    }
    let (objects, namespace) = (admission.objects(), admission.call.namespace());
    let named = old.text("spec.template.spec.schedulingGroup.podGroupName");
    let gang = |group: &Value| !group.at("spec.schedulingPolicy.gang").is_null();
    let bound = if named.is_empty() {
        let owns = |group: &Value| {
            meta::controller(group).is_some_and(|owner| owner.text("uid") == meta::uid(old))
        };
        let groups = objects.values(GROUP, "podgroups", Some(namespace));
        groups.into_iter().find(|group| owns(group) && gang(group))
    } else {
        let group = objects.value(GROUP, "podgroups", namespace, named);
        group.filter(|group| gang(group))
    };
    match bound {
        None => Ok(()),
        Some(group) => Err(admission.forbid(
            job,
            format_args!(
                "cannot change parallelism for a Job referencing gang-scheduled PodGroup {:?}",
                meta::name(&group)
            ),
        )),
    }
}
