//! Defaults of jobs.

use schema::Value;

use crate::{core::pod::defaults::template, object::Object};

fn job_spec(spec: &mut Value) {
    template(spec.place("template"));
    for rule in spec.list_mut("podFailurePolicy.rules") {
        for pattern in rule.list_mut("onPodConditions") {
            pattern.set_default_text("status", "True");
        }
    }
}

/// Defaults of a Job.
pub fn job(object: &mut Value) {
    job_spec(object.place("spec"));
    let spec = object.place("spec");
    if !spec.has("completions") && !spec.has("parallelism") {
        spec.set("completions", 1);
    }
    spec.set_default("parallelism", 1);
    if !spec.has("backoffLimit") {
        spec.set(
            "backoffLimit",
            if spec.has("backoffLimitPerIndex") {
                i32::MAX
            } else {
                6
            },
        );
    }
    spec.set_default("completionMode", "NonIndexed");
    spec.set_default("suspend", false);
    let replacement = if spec.has("podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    spec.set_default("podReplacementPolicy", replacement);
    spec.set_default("manualSelector", false);
    labels_of_template(object);
}

/// A Job without labels has its pods'.
pub fn labels_of_template(object: &mut Value) {
    let labels = object.at("spec.template.metadata.labels").clone();
    if labels.is_object()
        && object
            .map("metadata.labels")
            .is_none_or(|own| own.is_empty())
    {
        object.set("metadata.labels", labels);
    }
}

/// Defaults of a CronJob.
pub fn cron_job(object: &mut Value) {
    object.set_default_text("spec.concurrencyPolicy", "Allow");
    object.set_default("spec.suspend", false);
    object.set_default("spec.successfulJobsHistoryLimit", 3);
    object.set_default("spec.failedJobsHistoryLimit", 1);
    job_spec(object.place("spec.jobTemplate.spec"));
}
