//! Jobs and CronJobs.

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use super::{defaults, rules::job_spec};
use crate::{
    labels::Selector,
    meta,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{immutable, label_selector, not_negative, one_of, required},
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
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate(object, errors);
        let name = meta::name(object);
        let completions = object.int("spec.completions").unwrap_or(0);
        if object.text("spec.completionMode") == "Indexed" && completions > 0 {
            let last = format!("{name}-{}", completions - 1);
            if !crate::names::dns1123_label(&last).is_empty() {
                let wrong = format!("will not able to create pod with invalid DNS label: {last}");
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
        if part == Part::Status {
            let path = Path::ROOT.field("status");
            for field in ["active", "succeeded", "failed", "ready", "terminating"] {
                not_negative(object.at("status"), field, &path, errors);
            }
        }
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
        let mut warnings = Vec::new();
        crate::core::pod::host_name_warnings(object, NAMES_PODS, &mut warnings);
        job_warnings(object, "spec", &mut warnings);
        warnings
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if part == Part::Main && meta::generation(object) != meta::generation(old) {
            job_warnings(object, "spec", &mut warnings);
        }
        warnings
    }
}

const NAMES_PODS: &str =
    "this is used in Pod names and hostnames, which can result in surprising behavior";

/// What a Job's spec is warned of.
fn job_warnings(object: &Value, path: &str, warnings: &mut Vec<String>) {
    let spec = object.at(path);
    let number = |field: &str| spec.int(field).unwrap_or(0);
    if spec.text("completionMode") == "Indexed"
        && number("completions") > 100_000
        && number("parallelism") > 10_000
    {
        warnings.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    let template = format!("{path}.template");
    warnings.extend(crate::core::pod::template_warnings(object, &template));
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
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate(object, errors);
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

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        crate::core::pod::host_name_warnings(object, NAMES_PODS, &mut warnings);
        job_warnings(object, "spec.jobTemplate.spec", &mut warnings);
        warnings
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if part == Part::Main && meta::generation(object) != meta::generation(old) {
            job_warnings(object, "spec.jobTemplate.spec", &mut warnings);
        }
        warnings
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
