//! LimitRanges and ResourceQuotas.

use schema::{Path, Value, field_error::FieldError};

use super::pod::validation::{resource_name, standard_or_qualified, whole_amount};
use super::resource_names;
use crate::{
    names,
    object::Object,
    quantity::Quantity,
    strategy::{Part, Strategy},
    validation::checks::wrongs,
};

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// Can the scope say which of these are counted?
fn scope_fits(scope: &str, name: &str) -> bool {
    if !resource_names::is_standard_quota(name) {
        return true;
    }
    let compute = |name: &str| {
        matches!(
            name.trim_start_matches("limits.")
                .trim_start_matches("requests."),
            "cpu" | "memory"
        )
    };
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => {
            matches!(name, "persistentvolumeclaims" | "requests.storage")
        }
        _ if SCOPES.contains(&scope) => name == "pods" || compute(name),
        _ => true,
    }
}

/// What ResourceQuotas do specially.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn default(&self, object: &mut Value) {
        super::small::resource_quota(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        quota(object, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Main => quota_update(object, old, errors),
            _ => counted(object, errors),
        }
    }
}

/// Everything wrong with a ResourceQuota.
fn quota(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    hard(spec.at("hard"), &path.field("hard"), errors);
    let list = path.field("scopes");
    let scopes: Vec<&str> = spec.texts("scopes").collect();
    let value = || spec.at("scopes").clone();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid(list, value(), "unsupported scope"));
        }
        for (name, _) in spec.pairs("hard") {
            if !scope_fits(scope, name) {
                let wrong = "unsupported scope applied to resource";
                errors.push(FieldError::invalid(list, value(), wrong));
            }
        }
    }
    for pair in [
        ["BestEffort", "NotBestEffort"],
        ["Terminating", "NotTerminating"],
    ] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            errors.push(FieldError::invalid(list, value(), "conflicting scopes"));
        }
    }
    let selector = path.field("scopeSelector");
    let expressions = selector.field("matchExpressions");
    for expression in spec.list("scopeSelector.matchExpressions") {
        let (scope, operator) = (expression.text("scopeName"), expression.text("operator"));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(
                expressions.field("scopeName"),
                scope,
                "unsupported scope",
            ));
        }
        for (name, _) in spec.pairs("hard") {
            if !scope_fits(scope, name) {
                let wrong = "unsupported scope applied to resource";
                let shown = spec.at("scopeSelector").clone();
                errors.push(FieldError::invalid(expressions, shown, wrong));
            }
        }
        if SCOPES.contains(&scope)
            && !matches!(scope, "PriorityClass" | "VolumeAttributesClass")
            && operator != "Exists"
        {
            let wrong = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(
                expressions.field("operator"),
                operator,
                wrong,
            ));
        }
        let values = expression.list("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let wrong = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(expressions.field("values"), wrong));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let wrong = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(
                    expressions.field("values"),
                    expression.at("values").clone(),
                    wrong,
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(FieldError::invalid(
                    expressions.field("operator"),
                    other,
                    "not a valid selector operator",
                ));
            }
        }
    }
}

/// Amounts of what quotas count.
fn hard(map: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (name, value) in map.as_object().into_iter().flatten() {
        let path = path.key(name);
        standard_or_qualified(name, &path, errors);
        if !name.contains('/') && !resource_names::is_standard_quota(name) {
            let wrong = "must be a standard resource for quota";
            errors.push(FieldError::invalid(path, name.as_str(), wrong));
        }
        whole_amount(name, value, &path, errors);
    }
}

/// What is wrong with the status of a ResourceQuota.
fn counted(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    for field in ["hard", "used"] {
        hard(object.at("status").at(field), &path.field(field), errors);
    }
}

/// What of a ResourceQuota may not change.
fn quota_update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let sorted = |object: &Value| {
        let mut scopes: Vec<String> = object.texts("spec.scopes").map(str::to_owned).collect();
        scopes.sort_unstable();
        scopes
    };
    if sorted(object) != sorted(old) {
        errors.push(FieldError::invalid(
            "spec.scopes",
            object.at("spec.scopes").clone(),
            "field is immutable",
        ));
    }
}

/// Everything wrong with a LimitRange.
pub fn limit_range(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = Path::ROOT.field("spec");
    let list = spec.field("limits");
    let limits = object.list("spec.limits");
    for (index, limit) in limits.iter().enumerate() {
        let path = list.index(index);
        let kind = limit.text("type");
        let bad = names::qualified_name(kind);
        if bad.is_empty()
            && !kind.contains('/')
            && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim")
        {
            let wrong = "must be a standard limit type or fully qualified";
            errors.push(FieldError::invalid(path.field("type"), kind, wrong));
        }
        wrongs(kind, bad, &path.field("type"), errors);
        if limits[..index]
            .iter()
            .any(|other| other.text("type") == kind)
        {
            errors.push(FieldError::duplicate(path.field("type"), kind));
        }
        limit_item(limit, kind, &path, errors);
    }
}

fn limit_item(limit: &Value, kind: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut keys: Vec<&str> = Vec::new();
    for field in [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ] {
        if kind == "Pod" && matches!(field, "default" | "defaultRequest") {
            if limit.map(field).is_some_and(|map| !map.is_empty()) {
                let wrong = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(path.field(field), wrong));
            }
            continue;
        }
        let map_path = path.field(field);
        for (name, _) in limit.pairs(field) {
            let path = map_path.key(name);
            if matches!(kind, "Pod" | "Container") {
                resource_name(name, &path, errors);
            } else {
                standard_or_qualified(name, &path, errors);
            }
            keys.push(name);
        }
    }
    if kind == "PersistentVolumeClaim"
        && limit.at("min").get("storage").is_none()
        && limit.at("max").get("storage").is_none()
    {
        let wrong = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(path.field("limits"), wrong));
    }
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let amount = |field: &str| limit.at(field).get(key).map(Quantity::of);
        let (minimum, maximum) = (amount("min"), amount("max"));
        let (default, request) = (amount("default"), amount("defaultRequest"));
        let mut ordered = |low: Option<Quantity>,
                           high: Option<Quantity>,
                           field: &str,
                           shown: Option<Quantity>,
                           text: [&str; 2]| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let wrong = format!(
                    "{} value {low} is greater than {} value {high}",
                    text[0], text[1]
                );
                errors.push(FieldError::invalid(
                    path.field(field).key(key),
                    shown,
                    wrong,
                ));
            }
        };
        ordered(minimum, maximum, "min", minimum, ["min", "max"]);
        ordered(
            minimum,
            request,
            "defaultRequest",
            request,
            ["min", "default request"],
        );
        ordered(
            request,
            maximum,
            "defaultRequest",
            request,
            ["default request", "max"],
        );
        ordered(
            request,
            default,
            "defaultRequest",
            request,
            ["default request", "default limit"],
        );
        ordered(minimum, default, "default", minimum, ["min", "default"]);
        ordered(default, maximum, "default", maximum, ["default", "max"]);
        if let Some(ratio) = amount("maxLimitRequestRatio").filter(|ratio| ratio.millis() < 1000) {
            let wrong = format!("ratio {ratio} is less than 1");
            errors.push(FieldError::invalid(
                path.field("maxLimitRequestRatio").key(key),
                ratio,
                wrong,
            ));
        }
        let ratio = amount("maxLimitRequestRatio");
        if let (Some(ratio), Some(minimum), Some(maximum)) = (ratio, minimum, maximum) {
            let limit = maximum.as_f64() / minimum.as_f64();
            if ratio.as_f64() > limit {
                let wrong = format!("ratio {ratio} is greater than max/min = {limit:.6}");
                errors.push(FieldError::invalid(
                    path.field("maxLimitRequestRatio").key(key),
                    ratio,
                    wrong,
                ));
            }
        }
        let overcommit = resource_names::is_native(key) && !key.starts_with("hugepages-");
        if let (false, Some(default), Some(request)) = (overcommit, default, request)
            && default != request
        {
            let wrong = format!(
                "default value {default} must equal to defaultRequest value {request} in {key}"
            );
            errors.push(FieldError::invalid(
                path.field("defaultRequest").key(key),
                request,
                wrong,
            ));
        }
    }
}
