//! What the status of a Job may say, and what it may become. A rule is judged where something it speaks of
//! has changed, so that a status that broke it before can still be written.

use schema::{Path, Value, field_error::FieldError};

use super::rules::{indexes, intervals};
use crate::{meta, object::Object, validation::checks::not_negative};

/// Is the condition there and true?
pub fn is_true(job: &Value, kind: &str) -> bool {
    job.list("status.conditions")
        .iter()
        .any(|condition| condition.text("type") == kind && condition.text("status") == "True")
}

/// What a Job's status says, now or before.
struct Seen<'a> {
    job: &'a Value,
    complete: bool,
    failed: bool,
    target: bool,
    met: bool,
}

impl<'a> Seen<'a> {
    fn of(job: &'a Value) -> Self {
        Seen {
            job,
            complete: is_true(job, "Complete"),
            failed: is_true(job, "Failed"),
            target: is_true(job, "FailureTarget"),
            met: is_true(job, "SuccessCriteriaMet"),
        }
    }

    fn finished(&self) -> bool {
        self.complete || self.failed
    }

    fn at(&self, field: &str) -> &'a Value {
        self.job.at("status").at(field)
    }

    fn number(&self, field: &str) -> i64 {
        self.at(field).as_i64().unwrap_or(0)
    }
}

/// Everything wrong with a changed status.
pub fn update(job: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        not_negative(job.at("status"), field, &path, errors);
    }
    uncounted(job, &path, errors);
    let (now, before) = (Seen::of(job), Seen::of(old));
    conditions(&now, &before, &path, errors);
    times(&now, &before, &path, errors);
    numbers(&now, &before, &path, errors);
    named_indexes(&now, &before, &path, errors);
}

/// Pods that are not in the numbers yet, each once.
fn uncounted(job: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("uncountedTerminatedPods");
    let mut seen = Vec::new();
    for field in ["succeeded", "failed"] {
        let list = path.field(field);
        let uids = job.at("status.uncountedTerminatedPods").texts(field);
        for (index, uid) in uids.enumerate() {
            if uid.is_empty() {
                errors.push(FieldError::invalid(
                    list.index(index),
                    uid,
                    "must not be empty",
                ));
            } else if seen.contains(&uid) {
                errors.push(FieldError::duplicate(list.index(index), uid));
            } else {
                seen.push(uid);
            }
        }
    }
}

fn conditions(now: &Seen<'_>, before: &Seen<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let completed = now.complete != before.complete;
    let failed = now.failed != before.failed;
    let by_policy = now.job.has("spec.successPolicy");
    let failed_indexes = now.at("failedIndexes") != before.at("failedIndexes");
    let rules = [
        (
            (completed || failed) && now.complete && now.failed,
            "cannot set Complete=True and Failed=true conditions",
        ),
        (
            (completed || now.target != before.target) && now.complete && now.target,
            "cannot set Complete=True and FailureTarget=true conditions",
        ),
        (
            (failed || failed_indexes) && now.failed && !now.target,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            (completed || now.met != before.met) && now.complete && !now.met,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (
            now.met && now.failed,
            "cannot set SuccessCriteriaMet=True and Failed=true conditions",
        ),
        (
            now.met && now.target,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            by_policy && !now.met && now.complete,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
        (
            before.failed && !now.failed,
            "cannot disable the terminal Failed=True condition",
        ),
        (
            before.complete && !now.complete,
            "cannot disable the terminal Complete=True condition",
        ),
        (
            before.target && !now.target,
            "cannot disable the terminal FailureTarget=True condition",
        ),
        (
            before.met && !now.met,
            "cannot disable the SuccessCriteriaMet=True condition",
        ),
        (
            before.complete && !before.met && now.met,
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        ),
    ];
    for (_, wrong) in rules.into_iter().filter(|(broken, _)| *broken) {
        let error = FieldError::invalid(path.field("conditions"), Value::Null, wrong);
        errors.push(error.unshown());
    }
}

fn times(now: &Seen<'_>, before: &Seen<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let changed = |field: &str| now.at(field) != before.at(field);
    let (started, ended) = (now.at("startTime"), now.at("completionTime"));
    let field = path.field("completionTime");
    let completed = now.complete != before.complete || changed("completionTime");
    let mut end = |wrong: &str| errors.push(FieldError::invalid(field, ended.clone(), wrong));
    if completed && !ended.is_null() && !now.complete {
        end("cannot set completionTime when there is no Complete=True condition");
    }
    let (from, to) = (
        meta::time(now.job, "status.startTime"),
        meta::time(now.job, "status.completionTime"),
    );
    if (changed("startTime") || changed("completionTime"))
        && from.zip(to).is_some_and(|(from, to)| to < from)
    {
        end("must be equal to or after `startTime`");
    }
    if !ended.is_null() && !before.at("completionTime").is_null() && changed("completionTime") {
        end("field is immutable");
    }
    if completed && ended.is_null() && now.complete {
        let wrong = "completionTime is required for Complete jobs";
        errors.push(FieldError::required(field, wrong));
    }
    let field = path.field("startTime");
    let suspended = now.job.flag("spec.suspend");
    let never = suspended && now.job.int("spec.completions") == Some(0);
    if (now.finished() != before.finished() || changed("startTime"))
        && !never
        && started.is_null()
        && now.finished()
    {
        let wrong = "startTime is required for finished job";
        errors.push(FieldError::required(field, wrong));
    }
    let resumes = is_true(before.job, "Suspended")
        && now
            .job
            .list("status.conditions")
            .iter()
            .any(|c| c.text("type") == "Suspended" && c.text("status") == "False");
    if !before.at("startTime").is_null() && changed("startTime") && !suspended && !resumes {
        let wrong = "field is immutable for unsuspended job once set";
        errors.push(FieldError::invalid(field, started.clone(), wrong));
    }
}

fn numbers(now: &Seen<'_>, before: &Seen<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let changed = |field: &str| now.at(field) != before.at(field);
    let mut wrong = |field: &str, wrong: &str| {
        let value = match now.at(field) {
            Value::Null => Value::from(0),
            value => value.clone(),
        };
        errors.push(FieldError::invalid(path.field(field), value, wrong));
    };
    let ended = now.finished();
    let just = now.finished() != before.finished();
    if (just || changed("active")) && ended && now.number("active") > 0 {
        wrong("active", "active>0 is invalid for finished job");
    }
    let uncounted = now.at("uncountedTerminatedPods");
    let any = ["failed", "succeeded"]
        .iter()
        .any(|field| !uncounted.list(field).is_empty());
    if (just || changed("uncountedTerminatedPods")) && ended && any {
        wrong("uncountedTerminatedPods", "must be empty for finished job");
    }
    if (just || changed("terminating")) && ended && now.number("terminating") > 0 {
        wrong("terminating", "terminating>0 is invalid for finished job");
    }
    if (changed("ready") || changed("active"))
        && !now.at("ready").is_null()
        && now.number("ready") > now.number("active")
    {
        wrong("ready", "cannot set more ready pods than active");
    }
    if now.number("failed") < before.number("failed") {
        wrong("failed", "cannot decrease the failed counter");
    }
    let spec = now.job.at("spec");
    let elastic = spec.text("completionMode") == "Indexed"
        && spec.at("completions") == spec.at("parallelism");
    if !elastic && now.number("succeeded") < before.number("succeeded") {
        wrong("succeeded", "cannot decrease the succeeded counter");
    }
}

fn named_indexes(now: &Seen<'_>, before: &Seen<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let spec = now.job.at("spec");
    let completions = spec.int("completions");
    let completed = now.at("completedIndexes").as_str().unwrap_or("");
    let failed = now.at("failedIndexes").as_str();
    let completed_changed = completed != before.at("completedIndexes").as_str().unwrap_or("");
    let failed_changed = failed != before.at("failedIndexes").as_str();
    let mut wrong = |field: &str, text: &str, wrong: String| {
        errors.push(FieldError::invalid(path.field(field), text, wrong));
    };
    let per_index = spec.has("backoffLimitPerIndex");
    if completed_changed {
        if let Some(Err(why)) = completions.map(|most| indexes(completed, most)) {
            let why = format!("error parsing completedIndexes: {why}");
            wrong("completedIndexes", completed, why);
        }
        if !completed.is_empty() && spec.text("completionMode") != "Indexed" {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            wrong("completedIndexes", completed, why.to_owned());
        }
    }
    let Some(failed) = failed else {
        return;
    };
    if failed_changed {
        if per_index && let Some(Err(why)) = completions.map(|most| indexes(failed, most)) {
            let why = format!("error parsing failedIndexes: {why}");
            wrong("failedIndexes", failed, why);
        }
        if !per_index {
            let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            wrong("failedIndexes", failed, why.to_owned());
        }
    }
    if let Some(most) = completions.filter(|_| failed_changed || completed_changed)
        && let Some(index) = overlap(completed, failed, most)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        wrong("failedIndexes", failed, why);
    }
}

/// The first index that both name, where both can be read.
fn overlap(completed: &str, failed: &str, most: i64) -> Option<i64> {
    let (completed, failed) = (
        intervals(completed, most).ok()?,
        intervals(failed, most).ok()?,
    );
    completed
        .iter()
        .flat_map(|(from, to)| {
            failed
                .iter()
                .map(move |(low, high)| (*from.max(low), *to.min(high)))
        })
        .find(|(from, to)| from <= to)
        .map(|(from, _)| from)
}
