//! What is wrong with the spec of a Job, in a Job or in a CronJob's template.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    core::pod::validation::template,
    names,
    object::Object,
    validation::checks::{not_negative, one_of, one_of_if_set, prefixed_path, wrongs},
};

/// Most pods at once, and most failed indexes, of a Job with indexes.
const MOST_INDEXES: i64 = 100_000;
/// As [`MOST_INDEXES`], where there are more completions than that.
const MOST_OF_MANY: i64 = 10_000;
const MANAGER_MAX: usize = 63;
const RULES_MAX: usize = 20;
const CODES_MAX: usize = 255;
const INDEXES_MAX: usize = 64 * 1024;

/// Everything wrong with a Job's spec but its selector.
pub fn job_spec(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
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
        let wrong = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(
            path.field("backoffLimitPerIndex"),
            wrong,
        ));
    }
    if spec.has("managedBy") {
        let manager = spec.text("managedBy");
        let field = path.field("managedBy");
        prefixed_path(manager, &field, errors);
        if manager.len() > MANAGER_MAX {
            errors.push(FieldError::too_long(field, MANAGER_MAX));
        }
    }
    let modes = ["NonIndexed", "Indexed"];
    one_of_if_set(spec, "completionMode", &modes, path, errors);
    match spec.text("completionMode") {
        "Indexed" => indexed(spec, path, errors),
        "NonIndexed" | "" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(number) = spec.int(field) {
                    let field = path.field(field);
                    errors.push(FieldError::invalid(field, number, NEEDS_INDEXES));
                }
            }
        }
        _ => {}
    }
    if spec.has("podFailurePolicy") {
        failure_policy(spec, path, errors);
    }
    if spec.has("successPolicy") {
        success_policy(spec, path, errors);
    }
    let replacement: &[&str] = if spec.has("podFailurePolicy") {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    };
    one_of_if_set(spec, "podReplacementPolicy", replacement, path, errors);
    template(spec.at("template"), &path.field("template"), errors);
    restart_policy(spec, path, errors);
}

const NEEDS_INDEXES: &str = "requires indexed completion mode";

fn indexed(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let completions = spec.int("completions");
    let parallelism = spec.int("parallelism").unwrap_or(0);
    let failed = spec.int("maxFailedIndexes");
    if completions.is_none() {
        let wrong = "when completion mode is Indexed";
        errors.push(FieldError::required(path.field("completions"), wrong));
    }
    let completions = completions.unwrap_or(0);
    let mut at_most = |field: &str, number: i64, most: i64, end: &str| {
        if number > most {
            let wrong = format!("must be less than or equal to {most}{end}");
            errors.push(FieldError::invalid(path.field(field), number, wrong));
        }
    };
    let mode = " when completion mode is Indexed";
    at_most("parallelism", parallelism, MOST_INDEXES, mode);
    let many = completions > MOST_INDEXES && spec.has("backoffLimitPerIndex");
    let end =
        format!(" when completions are above {MOST_INDEXES} and used with backoff limit per index");
    if let Some(failed) = failed {
        at_most("maxFailedIndexes", failed, MOST_INDEXES, "");
        if many {
            at_most("maxFailedIndexes", failed, MOST_OF_MANY, &end);
        }
    }
    if many {
        at_most("parallelism", parallelism, MOST_OF_MANY, &end);
    }
    let field = path.field("maxFailedIndexes");
    match failed {
        None if many => {
            let wrong = format!("must be specified when completions is above {MOST_INDEXES}");
            errors.push(FieldError::required(field, wrong));
        }
        Some(failed) if spec.has("completions") && failed > completions => {
            let wrong = "must be less than or equal to completions";
            errors.push(FieldError::invalid(field, failed, wrong));
        }
        _ => {}
    }
}

fn restart_policy(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let template = path.field("template");
    let pod = template.field("spec");
    let field = pod.field("restartPolicy");
    match spec.text("template.spec.restartPolicy") {
        "" | "Always" => {
            let wrong = "valid values: \"OnFailure\", \"Never\"";
            errors.push(FieldError::required(field, wrong));
        }
        "Never" => {}
        "OnFailure" => {
            if spec.has("podFailurePolicy") {
                let wrong = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.push(FieldError::invalid(field, "OnFailure", wrong));
            }
        }
        other => errors.push(FieldError::not_supported(
            field,
            other,
            &["OnFailure", "Never"],
        )),
    }
}

/// A text that must be given and one of these; what is told of its absence lists them.
fn listed(
    holder: &Value,
    field: &str,
    known: &[&str],
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    if holder.text(field).is_empty() {
        let list: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        let wrong = format!("valid values: [{}]", list.join(" "));
        errors.push(FieldError::required(path.field(field), wrong));
    } else {
        one_of(holder, field, known, path, errors);
    }
}

fn failure_policy(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let policy = path.field("podFailurePolicy");
    let list = policy.field("rules");
    let rules = spec.list("podFailurePolicy.rules");
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(list, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        if rule.text("action") == "FailIndex" {
            if !spec.has("backoffLimitPerIndex") {
                let wrong = "requires the backoffLimitPerIndex to be set";
                errors.push(FieldError::invalid(
                    path.field("action"),
                    "FailIndex",
                    wrong,
                ));
            }
        } else {
            let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
            listed(rule, "action", &actions, &path, errors);
        }
        let (codes, conditions) = (rule.at("onExitCodes"), rule.list("onPodConditions"));
        if !codes.is_null() {
            exit_codes(codes, spec, &path.field("onExitCodes"), errors);
        }
        on_conditions(conditions, &path.field("onPodConditions"), errors);
        let wrong = match (codes.is_null(), conditions.is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(FieldError::invalid(path, Value::Null, wrong).unshown());
    }
}

fn on_conditions(conditions: &[Value], list: &Path<'_>, errors: &mut Vec<FieldError>) {
    if conditions.len() > RULES_MAX {
        errors.push(FieldError::too_many(list, conditions.len(), RULES_MAX));
    }
    for (index, pattern) in conditions.iter().enumerate() {
        let path = list.index(index);
        let kind = pattern.text("type");
        wrongs(
            kind,
            names::qualified_name(kind),
            &path.field("type"),
            errors,
        );
        let known = ["False", "True", "Unknown"];
        listed(pattern, "status", &known, &path, errors);
    }
}

fn exit_codes(codes: &Value, spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    listed(codes, "operator", &["In", "NotIn"], path, errors);
    if codes.has("containerName") {
        let name = codes.text("containerName");
        let mut all = spec
            .list("template.spec.containers")
            .iter()
            .chain(spec.list("template.spec.initContainers"));
        if !all.any(|item| item.text("name") == name) {
            let wrong = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(
                path.field("containerName"),
                name,
                wrong,
            ));
        }
    }
    let list = path.field("values");
    let values: Vec<i64> = codes
        .list("values")
        .iter()
        .filter_map(Value::as_i64)
        .collect();
    let shown = || codes.at("values").clone();
    if values.is_empty() {
        let wrong = "at least one value is required";
        errors.push(FieldError::invalid(list, shown(), wrong));
    } else if values.len() > CODES_MAX {
        errors.push(FieldError::too_many(list, values.len(), CODES_MAX));
    }
    for (index, value) in values.iter().enumerate() {
        if codes.text("operator") == "In" && *value == 0 {
            let wrong = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(list.index(index), 0, wrong));
        }
        if values[..index].contains(value) {
            errors.push(FieldError::duplicate(list.index(index), *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(list, shown(), "must be ordered"));
    }
}

fn success_policy(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("successPolicy");
    let policy = spec.at("successPolicy");
    if spec.text("completionMode") != "Indexed" {
        errors.push(FieldError::invalid(path, policy.clone(), NEEDS_INDEXES));
        return;
    }
    let list = path.field("rules");
    let rules = policy.list("rules");
    if rules.is_empty() {
        let wrong = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(list, wrong));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(list, rules.len(), RULES_MAX));
    }
    let completions = spec.int("completions").unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        let has_indexes = rule.has("succeededIndexes");
        let Some(count) = rule.int("succeededCount") else {
            if !has_indexes {
                let wrong = "at least one of succeededCount or succeededIndexes must be specified";
                errors.push(FieldError::required(path, wrong));
            } else {
                succeeded_indexes(rule, completions, &path, errors);
            }
            continue;
        };
        let total = if has_indexes {
            succeeded_indexes(rule, completions, &path, errors)
        } else {
            i64::MAX
        };
        not_negative(rule, "succeededCount", &path, errors);
        for (most, what) in [
            (completions, "the number of specified completions"),
            (
                total,
                "the number of indexes in the specified succeededIndexes field",
            ),
        ] {
            if count > most {
                let wrong = format!("must be less than or equal to {most} ({what})");
                let field = path.field("succeededCount");
                errors.push(FieldError::invalid(field, count, wrong));
            }
        }
    }
}

fn succeeded_indexes(
    rule: &Value,
    completions: i64,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> i64 {
    let text = rule.text("succeededIndexes");
    let field = path.field("succeededIndexes");
    if text.len() > INDEXES_MAX {
        errors.push(FieldError::too_long(field, INDEXES_MAX));
    }
    match indexes(text, completions) {
        Ok(total) => total,
        Err(wrong) => {
            let wrong = format!("error parsing succeededIndexes: {wrong}");
            errors.push(FieldError::invalid(field, text, wrong));
            0
        }
    }
}

/// How many indexes `1,3-5` names, all below `completions` and in order.
pub fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    let ranges = intervals(text, completions)?;
    Ok(ranges.iter().map(|(from, to)| to - from + 1).sum())
}

/// First and last of each part of `1,3-5`.
pub fn intervals(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    if text.is_empty() {
        return Ok(ranges);
    }
    for part in text.split(',') {
        let number = |text: &str| {
            let number: i64 = text
                .parse()
                .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
            if number >= completions {
                return Err(format!("too large index: {text:?}"));
            }
            Ok(number)
        };
        let order = |previous: i64, current: i64| {
            Err(format!(
                "non-increasing order, previous: {previous}, current: {current}"
            ))
        };
        let ends: Vec<&str> = part.split('-').collect();
        let (from, to) = match ends[..] {
            [one] => (number(one)?, number(one)?),
            [from, to] => {
                let (from, to) = (number(from)?, number(to)?);
                if from >= to {
                    return order(from, to);
                }
                (from, to)
            }
            _ => {
                return Err(format!(
                    "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if let Some((_, last)) = ranges.last().filter(|(_, last)| *last >= from) {
            return order(*last, from);
        }
        ranges.push((from, to));
    }
    Ok(ranges)
}
