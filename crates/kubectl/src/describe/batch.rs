//! Jobs and CronJobs.

use api::object::Object;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Layout,
    page::{Page, Row, controller, or_none, shown, truth},
    template::template,
};

/// The selector; a Job's own is never empty, and none at all selects nothing.
fn selector(value: &Value) -> String {
    match api::labels::Selector::from_label_selector(value) {
        Ok(selector) => selector.to_string(),
        Err(error) => format!("Failed to get selector: {error}"),
    }
}

/// How Jobs are described.
pub const JOB: Layout = Layout::new(
    "batch/v1",
    "Job",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Line("Selector", |j| selector(j.at("spec.selector"))),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::GivenLine("Controlled By", controller),
        Row::Given("Parallelism", "spec.parallelism"),
        Row::Or("Completions", "spec.completions", "<unset>"),
        Row::Given("Completion Mode", "spec.completionMode"),
        Row::Given("Suspend", "spec.suspend"),
        Row::Given("Backoff Limit", "spec.backoffLimit"),
        Row::Given("TTL Seconds After Finished", "spec.ttlSecondsAfterFinished"),
        Row::GivenTime("Start Time", "status.startTime"),
        Row::GivenTime("Completed At", "status.completionTime"),
        Row::GivenLine("Duration", |j| {
            let time = |path: &str| j.text(path).parse::<Timestamp>().ok();
            let (start, end) = (time("status.startTime")?, time("status.completionTime")?);
            Some(api::duration::human(end.duration_since(start).as_secs()))
        }),
        Row::GivenUnit("Active Deadline Seconds", "spec.activeDeadlineSeconds", "s"),
        Row::Line("Pods Statuses", |j| {
            let count = |field: &str| j.at("status").int(field).unwrap_or_default();
            let ready = match j.int("status.ready") {
                Some(ready) => format!(" ({ready} Ready)"),
                None => String::new(),
            };
            format!(
                "{} Active{ready} / {} Succeeded / {} Failed",
                count("active"),
                count("succeeded"),
                count("failed")
            )
        }),
        Row::GivenLine("Completed Indexes", |j| {
            let indexed = j.text("spec.completionMode") == "Indexed";
            indexed.then(|| indexes(j.text("status.completedIndexes")))
        }),
        Row::Part(|j, page| template(j.at("spec.template"), page)),
    ],
);

/// The first fifty characters of the list and what is left of the index there.
fn indexes(list: &str) -> String {
    match list.bytes().skip(50).position(|b| b == b',') {
        Some(at) => format!("{}...", &list[..50 + at + 1]),
        None => or_none(list.to_string()),
    }
}

/// How CronJobs are described.
pub const CRON_JOB: Layout = Layout::new(
    "batch/v1",
    "CronJob",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Field("Schedule", "spec.schedule"),
        Row::Field("Concurrency Policy", "spec.concurrencyPolicy"),
        Row::Line("Suspend", |c| match c.at("spec.suspend") {
            Value::Bool(suspended) => truth(*suspended).into(),
            _ => "<unset>".into(),
        }),
        Row::Or("Time Zone", "spec.timeZone", "<unset>"),
        Row::Or(
            "Successful Job History Limit",
            "spec.successfulJobsHistoryLimit",
            "<unset>",
        ),
        Row::Or(
            "Failed Job History Limit",
            "spec.failedJobsHistoryLimit",
            "<unset>",
        ),
        Row::Line("Starting Deadline Seconds", |c| {
            match c.at("spec.startingDeadlineSeconds") {
                Value::Null => "<unset>".into(),
                seconds => shown(seconds) + "s",
            }
        }),
        Row::Line("Selector", |c| {
            match c.at("spec.jobTemplate.spec.selector") {
                Value::Null => "<unset>".into(),
                labels => selector(labels),
            }
        }),
        Row::Or(
            "Parallelism",
            "spec.jobTemplate.spec.parallelism",
            "<unset>",
        ),
        Row::Or(
            "Completions",
            "spec.jobTemplate.spec.completions",
            "<unset>",
        ),
        Row::GivenUnit(
            "Active Deadline Seconds",
            "spec.jobTemplate.spec.activeDeadlineSeconds",
            "s",
        ),
        Row::Part(|c, page| template(c.at("spec.jobTemplate.spec.template"), page)),
        Row::Part(last),
        Row::Line("Active Jobs", |c| {
            let active = c.list("status.active").iter();
            or_none(
                active
                    .map(|j| j.text("name"))
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        }),
    ],
);

fn last(job: &Value, page: &mut Page) {
    let text = match job.at("status.lastScheduleTime") {
        Value::Null => "<unset>".into(),
        time => page.moment.time(time),
    };
    page.field(0, "Last Schedule Time", text);
}
