//! Jobs and CronJobs.

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use super::defaults;
use crate::{
    core::pod::validation::template,
    labels::Selector,
    meta,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{
        immutable, label_selector, not_negative, one_of, one_of_if_set, required,
    },
};

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";

/// What Jobs do specially.
pub struct Job;

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        defaults::job(object);
    }

    fn prepare_create(&self, object: &mut Value, _now: Timestamp) {
        if object.flag("spec.manualSelector") {
            return;
        }
        let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
        let template = object.place("spec.template");
        for (key, value) in [
            (UID, &uid),
            (OLD_UID, &uid),
            (NAME, &name),
            (OLD_NAME, &name),
        ] {
            meta::set_label(template, key, value);
        }
        meta::map_mut(object.place("spec.selector.matchLabels")).insert(UID.to_owned(), uid.into());
        // Upstream's defaults see these labels when they read what was stored.
        defaults::labels_of_template(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        job_spec(spec, &path, errors);
        let selector = spec.at("selector");
        if selector.is_null() {
            errors.push(FieldError::required(path.field("selector"), ""));
            return;
        }
        label_selector(selector, &path.field("selector"), errors);
        let matches = Selector::from_label_selector(selector)
            .is_ok_and(|s| s.matches_object(spec.at("template")));
        if !matches {
            let template = path.field("template");
            let metadata = template.field("metadata");
            let found = spec.at("template.metadata.labels").clone();
            let wrong = "`selector` does not match template `labels`";
            errors.push(FieldError::invalid(metadata.field("labels"), found, wrong));
        }
        let name = meta::name(object);
        let bad = crate::names::dns1123_label(name);
        if spec.text("completionMode") == "Indexed"
            && !name.is_empty()
            && !bad.is_empty()
            && !object.has("metadata.resourceVersion")
        {
            for wrong in bad {
                let wrong =
                    format!("will not able to create pod with invalid DNS label: {name}: {wrong}");
                errors.push(FieldError::invalid("metadata.name", name, wrong));
            }
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Main {
            return;
        }
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        let elastic = spec.text("completionMode") == "Indexed"
            && spec.int("completions") == spec.int("parallelism");
        if !elastic {
            immutable(spec, before, "completions", &path, errors);
        }
        for field in [
            "selector",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            immutable(spec, before, field, &path, errors);
        }
        let mut allowed = before.at("template").clone();
        // A suspended job that never ran may still learn where its pods may go.
        if before.flag("suspend") && !old.has("status.startTime") {
            let template = spec.at("template");
            for field in [
                "spec.affinity",
                "spec.nodeSelector",
                "spec.tolerations",
                "spec.schedulingGates",
                "metadata.annotations",
                "metadata.labels",
            ] {
                allowed.restore(field, template);
            }
        }
        if *spec.at("template") != allowed {
            let value = spec.at("template").clone();
            errors.push(FieldError::invalid(
                path.field("template"),
                value,
                "field is immutable",
            ));
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.successful",
            object.int("status.succeeded").unwrap_or(0).to_string(),
        )]
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        crate::core::pod::template_warnings(object)
    }
}

const MOST_INDEXES: i64 = 100_000;

fn job_spec(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(spec, field, path, errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.push(FieldError::required(
            path.field("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        ));
    }
    one_of_if_set(
        spec,
        "completionMode",
        &["Indexed", "NonIndexed"],
        path,
        errors,
    );
    if spec.text("completionMode") == "Indexed" {
        if !spec.has("completions") {
            errors.push(FieldError::required(
                path.field("completions"),
                "when completion mode is Indexed",
            ));
        }
        if let Some(parallelism) = spec
            .int("parallelism")
            .filter(|number| *number > MOST_INDEXES)
        {
            let wrong = format!(
                "must be less than or equal to {MOST_INDEXES} when completion mode is Indexed"
            );
            errors.push(FieldError::invalid(
                path.field("parallelism"),
                parallelism,
                wrong,
            ));
        }
        if let (Some(failed), Some(completions)) =
            (spec.int("maxFailedIndexes"), spec.int("completions"))
            && failed > completions
        {
            let wrong = "must be less than or equal to completions";
            errors.push(FieldError::invalid(
                path.field("maxFailedIndexes"),
                failed,
                wrong,
            ));
        }
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = spec.int(field) {
                errors.push(FieldError::invalid(
                    path.field(field),
                    number,
                    "requires indexed completion mode",
                ));
            }
        }
        if spec.has("successPolicy") {
            let value = spec.at("successPolicy").clone();
            errors.push(FieldError::invalid(
                path.field("successPolicy"),
                value,
                "requires indexed completion mode",
            ));
        }
    }
    failure_policy(spec, path, errors);
    if spec.has("podReplacementPolicy") {
        let known: &[&str] = if spec.has("podFailurePolicy") {
            &["Failed"]
        } else {
            &["Failed", "TerminatingOrFailed"]
        };
        one_of(spec, "podReplacementPolicy", known, path, errors);
    }
    template(spec.at("template"), &path.field("template"), errors);
    let template = path.field("template");
    let pod = template.field("spec");
    match spec.text("template.spec.restartPolicy") {
        "" | "Always" => {
            let wrong = "valid values: \"OnFailure\", \"Never\"";
            errors.push(FieldError::required(pod.field("restartPolicy"), wrong));
        }
        "Never" => {}
        "OnFailure" => {
            if spec.has("podFailurePolicy") {
                let wrong = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.push(FieldError::invalid(
                    pod.field("restartPolicy"),
                    "OnFailure",
                    wrong,
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            pod.field("restartPolicy"),
            other,
            &["OnFailure", "Never"],
        )),
    }
}

fn failure_policy(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let policy = path.field("podFailurePolicy");
    let list = policy.field("rules");
    let rules = spec.list("podFailurePolicy.rules");
    if rules.len() > 20 {
        errors.push(FieldError::too_many(list, rules.len(), 20));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        one_of(
            rule,
            "action",
            &["Count", "FailIndex", "FailJob", "Ignore"],
            &path,
            errors,
        );
        let (codes, conditions) = (rule.at("onExitCodes"), rule.list("onPodConditions"));
        if !codes.is_null() {
            let path = path.field("onExitCodes");
            one_of(codes, "operator", &["In", "NotIn"], &path, errors);
            let values = codes.list("values");
            if values.is_empty() {
                let wrong = "at least one value is required";
                errors.push(FieldError::invalid(
                    path.field("values"),
                    codes.at("values").clone(),
                    wrong,
                ));
            }
            if codes.text("operator") == "In"
                && values.iter().any(|value| value.as_i64() == Some(0))
            {
                let wrong = "must not be 0 for the In operator";
                errors.push(FieldError::invalid(path.field("values"), 0, wrong));
            }
        }
        match (codes.is_null(), conditions.is_empty()) {
            (false, false) => {
                let wrong = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(FieldError::invalid(path, Value::Null, wrong));
            }
            (true, true) => {
                let wrong = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(FieldError::invalid(path, Value::Null, wrong));
            }
            _ => {}
        }
    }
}

/// What CronJobs do specially.
pub struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        defaults::cron_job(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        let schedule = required(spec, "schedule", &path, errors);
        if !schedule.is_empty() {
            if let Err(wrong) = schedule_fits(schedule) {
                errors.push(FieldError::invalid(path.field("schedule"), schedule, wrong));
            }
            if schedule.contains("TZ") {
                let wrong = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                errors.push(FieldError::invalid(path.field("schedule"), schedule, wrong));
            }
        }
        if spec.has("timeZone") {
            let zone = spec.text("timeZone");
            if zone.is_empty() {
                let wrong = "timeZone must be nil or non-empty string";
                errors.push(FieldError::invalid(path.field("timeZone"), zone, wrong));
            } else if zone.eq_ignore_ascii_case("local") {
                let wrong = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
                errors.push(FieldError::invalid(path.field("timeZone"), zone, wrong));
            }
        }
        for field in [
            "startingDeadlineSeconds",
            "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit",
        ] {
            not_negative(spec, field, &path, errors);
        }
        one_of(
            spec,
            "concurrencyPolicy",
            &["Allow", "Forbid", "Replace"],
            &path,
            errors,
        );
        let template = path.field("jobTemplate");
        let job = spec.at("jobTemplate.spec");
        if job.flag("manualSelector") || job.has("selector") {
            let wrong = "`selector` will be auto-generated";
            let value = job.at("selector").clone();
            errors.push(FieldError::invalid(
                template.field("spec").field("selector"),
                value,
                wrong,
            ));
        }
        job_spec(job, &template.field("spec"), errors);
        let name = meta::name(object);
        // Eleven more characters make the names of its jobs.
        if name.len() > 52 {
            errors.push(FieldError::invalid(
                "metadata.name",
                name,
                "must be no more than 52 characters",
            ));
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }
}

/// Has a cron schedule its five fields, each made of what may stand in one?
fn schedule_fits(schedule: &str) -> Result<(), String> {
    let schedule = match schedule.split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => {
            rest.trim()
        }
        _ => schedule,
    };
    if let Some(name) = schedule.strip_prefix('@') {
        let known = [
            "yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly",
        ];
        return if known.contains(&name) || name.starts_with("every ") {
            Ok(())
        } else {
            Err(format!("unrecognized descriptor: {schedule}"))
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    for (at, (field, (low, high))) in fields.iter().zip(BOUNDS).enumerate() {
        for part in field.split(',') {
            let (range, step) = part
                .split_once('/')
                .map_or((part, None), |(range, step)| (range, Some(step)));
            if step.is_some_and(|step| step.parse::<u32>().map_or(true, |step| step == 0)) {
                return Err(format!("step of range should be a positive number: {part}"));
            }
            if matches!(range, "*" | "?") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let from =
                number(from, at).ok_or_else(|| format!("failed to parse int from {from}"))?;
            let to = number(to, at).ok_or_else(|| format!("failed to parse int from {to}"))?;
            if from < low {
                return Err(format!(
                    "beginning of range ({from}) below minimum ({low}): {part}"
                ));
            }
            if to > high {
                return Err(format!(
                    "end of range ({to}) above maximum ({high}): {part}"
                ));
            }
            if from > to {
                return Err(format!(
                    "beginning of range ({from}) beyond end of range ({to}): {part}"
                ));
            }
        }
    }
    Ok(())
}

/// A number, or the name of a month or weekday.
fn number(text: &str, field: usize) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let (names, first): (&[&str], usize) = match field {
        3 => (&MONTHS, 1),
        4 => (&DAYS, 0),
        _ => (&[], 0),
    };
    let place = names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text));
    place
        .and_then(|place| u32::try_from(place + first).ok())
        .or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for good in [
            "* * * * *",
            "*/5 0-6 1,15 jan-mar MON",
            "@daily",
            "0 0 ? * 0",
        ] {
            assert_eq!(schedule_fits(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "a * * * *",
            "5-1 * * * *",
            "@never",
        ] {
            assert!(schedule_fits(bad).is_err(), "{bad}");
        }
    }
}
