//! What makes pods.

use jiff::Timestamp;
use schema::Value;

use super::{
    AGE, NAME, Printer, age, containers, count, is_true, label_map, name, number, or, selector,
    text, truth, wide,
};
use crate::{duration, labels::Selector, meta, object::Object};

/// How the kind is shown, if it belongs here.
pub fn printer(group: &str, kind: &str) -> Option<Printer> {
    Some(match (group, kind) {
        ("apps", "Deployment") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Ready"),
                    text("Up-to-date"),
                    text("Available"),
                    AGE,
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            },
            row: deployment,
        },
        ("apps", "ReplicaSet") | ("", "ReplicationController") => Printer {
            columns: const {
                &[
                    NAME,
                    number("Desired"),
                    number("Current"),
                    number("Ready"),
                    AGE,
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            },
            row: replica_set,
        },
        ("apps", "DaemonSet") => Printer {
            columns: const {
                &[
                    NAME,
                    number("Desired"),
                    number("Current"),
                    number("Ready"),
                    number("Up-to-date"),
                    number("Available"),
                    text("Node Selector"),
                    AGE,
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            },
            row: daemon_set,
        },
        ("apps", "StatefulSet") => Printer {
            columns: const { &[NAME, text("Ready"), AGE, wide("Containers"), wide("Images")] },
            row: stateful_set,
        },
        ("apps", "ControllerRevision") => Printer {
            columns: const { &[NAME, text("Controller"), text("Revision"), AGE] },
            row: |object, now| {
                let owner = meta::controller(object).map_or("<none>".to_owned(), |owner| {
                    let (group, _) = meta::split_api_version(owner.text("apiVersion"));
                    let kind = crate::resource::qualify(&owner.text("kind").to_lowercase(), group);
                    format!("{kind}/{}", owner.text("name"))
                });
                vec![
                    name(object),
                    owner.into(),
                    count(object, "revision"),
                    age(object, now),
                ]
            },
        },
        ("batch", "Job") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Status"),
                    text("Completions"),
                    text("Duration"),
                    AGE,
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            },
            row: job,
        },
        ("batch", "CronJob") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Schedule"),
                    text("Timezone"),
                    truth("Suspend"),
                    number("Active"),
                    text("Last Schedule"),
                    AGE,
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            },
            row: cron_job,
        },
        ("autoscaling", "HorizontalPodAutoscaler") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Reference"),
                    text("Targets"),
                    text("MinPods"),
                    text("MaxPods"),
                    text("Replicas"),
                    AGE,
                ]
            },
            row: autoscaler,
        },
        ("policy", "PodDisruptionBudget") => Printer {
            columns: const {
                &[
                    NAME,
                    text("Min Available"),
                    text("Max Unavailable"),
                    number("Allowed Disruptions"),
                    AGE,
                ]
            },
            row: |object, now| {
                let bound = |path: &str| match object.at(path) {
                    Value::Null => Value::from("N/A"),
                    Value::String(text) => text.as_str().into(),
                    other => other.to_string().into(),
                };
                vec![
                    name(object),
                    bound("spec.minAvailable"),
                    bound("spec.maxUnavailable"),
                    count(object, "status.disruptionsAllowed"),
                    age(object, now),
                ]
            },
        },
        _ => return None,
    })
}

fn ready(object: &Value) -> Value {
    let (ready, wanted) = (
        object.int("status.readyReplicas"),
        object.int("spec.replicas"),
    );
    format!("{}/{}", ready.unwrap_or(0), wanted.unwrap_or(0)).into()
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object.at("spec.template.spec"));
    let selector = match Selector::from_label_selector(object.at("spec.selector")) {
        Ok(selector) => selector.to_string(),
        Err(_) => "<invalid>".to_owned(),
    };
    vec![
        name(object),
        ready(object),
        count(object, "status.updatedReplicas"),
        count(object, "status.availableReplicas"),
        age(object, now),
        names,
        images,
        selector.into(),
    ]
}

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object.at("spec.template.spec"));
    let wanted = object.at("spec.selector");
    let structured = wanted.has("matchLabels") || wanted.has("matchExpressions");
    vec![
        name(object),
        count(object, "spec.replicas"),
        count(object, "status.replicas"),
        count(object, "status.readyReplicas"),
        age(object, now),
        names,
        images,
        if structured {
            selector(wanted).into()
        } else {
            label_map(wanted).into()
        },
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object.at("spec.template.spec"));
    vec![
        name(object),
        count(object, "status.desiredNumberScheduled"),
        count(object, "status.currentNumberScheduled"),
        count(object, "status.numberReady"),
        count(object, "status.updatedNumberScheduled"),
        count(object, "status.numberAvailable"),
        label_map(object.at("spec.template.spec.nodeSelector")).into(),
        age(object, now),
        names,
        images,
        selector(object.at("spec.selector")).into(),
    ]
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object.at("spec.template.spec"));
    vec![name(object), ready(object), age(object, now), names, images]
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = object.int("status.succeeded").unwrap_or(0);
    let completions = match (
        object.int("spec.completions"),
        object.int("spec.parallelism").unwrap_or(0),
    ) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        _ => format!("{succeeded}/1"),
    };
    let duration = match (
        meta::time(object, "status.startTime"),
        meta::time(object, "status.completionTime"),
    ) {
        (None, _) => String::new(),
        (Some(start), end) => duration::human(end.unwrap_or(now).duration_since(start).as_secs()),
    };
    let status = if is_true(object, "Complete") {
        "Complete"
    } else if is_true(object, "Failed") {
        "Failed"
    } else if meta::is_terminating(object) {
        "Terminating"
    } else {
        let known = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        known
            .into_iter()
            .find(|condition| is_true(object, condition))
            .unwrap_or("Running")
    };
    let [names, images] = containers(object.at("spec.template.spec"));
    vec![
        name(object),
        status.into(),
        completions.into(),
        duration.into(),
        age(object, now),
        names,
        images,
        selector(object.at("spec.selector")).into(),
    ]
}

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let last = object.text("status.lastScheduleTime");
    let last = if last.is_empty() {
        "<none>".to_owned()
    } else {
        duration::since(last, now)
    };
    let [names, images] = containers(object.at("spec.jobTemplate.spec.template.spec"));
    let suspend = match object.at("spec.suspend") {
        Value::Bool(true) => "True",
        Value::Bool(false) => "False",
        _ => "<unset>",
    };
    vec![
        name(object),
        object.text("spec.schedule").into(),
        or(object.text("spec.timeZone"), "<none>").into(),
        suspend.into(),
        object.list("status.active").len().into(),
        last.into(),
        age(object, now),
        names,
        images,
        selector(object.at("spec.jobTemplate.spec.selector")).into(),
    ]
}

fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let target = object.at("spec.scaleTargetRef");
    let reference = format!("{}/{}", target.text("kind"), target.text("name"));
    let minimum = object
        .int("spec.minReplicas")
        .map_or("<unset>".to_owned(), |number| number.to_string());
    vec![
        name(object),
        reference.into(),
        metrics(object).into(),
        minimum.into(),
        count(object, "spec.maxReplicas"),
        count(object, "status.currentReplicas"),
        age(object, now),
    ]
}

/// `cpu: 20%/80%, …`, the first two.
fn metrics(object: &Value) -> String {
    if let Some(target) = object.int("spec.targetCPUUtilizationPercentage") {
        let now = object.int("status.currentCPUUtilizationPercentage");
        return format!(
            "cpu: {}/{target}%",
            now.map_or("<unknown>".to_owned(), |now| format!("{now}%"))
        );
    }
    let specs = object.list("spec.metrics");
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let current = object.list("status.currentMetrics");
    let mut texts: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| metric(spec, current.get(at)))
        .collect();
    let more = texts.len().saturating_sub(2);
    texts.truncate(2);
    let text = texts.join(", ");
    if more > 0 {
        format!("{text} + {more} more...")
    } else {
        text
    }
}

fn metric(spec: &Value, current: Option<&Value>) -> String {
    let (source, named) = match spec.text("type") {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "External" => ("external", false),
        _ => return "<unknown type>".to_owned(),
    };
    let target = spec.at(source).at("target");
    let now = current
        .map_or(&crate::object::NULL, |current| current.at(source))
        .at("current");
    let prefix = if named {
        format!("{}: ", spec.at(source).text("name"))
    } else {
        String::new()
    };
    if named && !target.has("averageValue") {
        let percent = |at: &Value, none: &str| {
            at.int("averageUtilization")
                .map_or(none.to_owned(), |percent| format!("{percent}%"))
        };
        let (now, wanted) = (percent(now, "<unknown>"), percent(target, "<auto>"));
        return format!("{prefix}{now}/{wanted}");
    }
    let (field, suffix) = if target.has("averageValue") {
        (
            "averageValue",
            if matches!(source, "object" | "external") {
                " (avg)"
            } else {
                ""
            },
        )
    } else {
        ("value", "")
    };
    format!(
        "{prefix}{}/{}{suffix}",
        or(now.text(field), "<unknown>"),
        target.text(field)
    )
}
