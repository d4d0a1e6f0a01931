//! What an autoscaler looks at.

use schema::{Path, Value, field_error::FieldError};

use super::{Versions, reference};
use crate::{
    core::pod::validation::resource_name, names, object::Object, quantity::Quantity,
    validation::checks::wrongs,
};

const TYPES: [&str; 5] = [
    "ContainerResource",
    "External",
    "Object",
    "Pods",
    "Resource",
];

/// The field of each type, in the order in which they are looked at.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

/// The metrics of a spec, which was another before.
pub fn metrics(spec: &Value, before: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("metrics");
    let odd = |metric: &Value| {
        let described = metric.text("object.describedObject.apiVersion");
        metric.text("type") == "Object"
            && metric.has("object")
            && Versions::Parsed.wrong(described).is_some()
    };
    let versions = if before.list("metrics").iter().any(odd) {
        Versions::Any
    } else {
        Versions::Parsed
    };
    let mut from_outside = false;
    for (index, metric) in spec.list("metrics").iter().enumerate() {
        source(metric, versions, &list.index(index), errors);
        from_outside |= matches!(metric.text("type"), "Object" | "External");
    }
    if spec.int("minReplicas") == Some(0) && !from_outside {
        let wrong = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(list, wrong));
    }
}

fn source(metric: &Value, versions: Versions, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let kind = metric.text("type");
    if kind.is_empty() {
        let wrong = "must specify a metric source type";
        errors.push(FieldError::required(path.field("type"), wrong));
    }
    let mut present: Vec<&str> = SOURCES
        .iter()
        .map(|(_, field)| *field)
        .filter(|field| metric.has(field))
        .collect();
    let unknown = !TYPES.contains(&kind);
    if unknown {
        errors.push(FieldError::not_supported(path.field("type"), kind, &TYPES));
    }
    if let Some(first) = present.first() {
        one(
            metric.at(first),
            first,
            versions,
            &path.field(first),
            errors,
        );
    }
    let expected = SOURCES.iter().find(|(known, _)| *known == kind);
    if let Some((_, field)) = expected
        && !metric.has(field)
    {
        let wrong = "must populate information for the given metric source";
        errors.push(FieldError::required(path.field(field), wrong));
    }
    if present.len() != 1 {
        present.retain(|field| expected.is_none_or(|(_, expected)| expected != field));
        for field in present {
            let wrong = "must populate the given metric source only";
            errors.push(FieldError::forbidden(path.field(field), wrong));
        }
    }
}

/// One source, by its field.
fn one(
    source: &Value,
    field: &str,
    versions: Versions,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let named = |holder: &Value,
                 field: &str,
                 missing: &str,
                 path: &Path<'_>,
                 errors: &mut Vec<FieldError>| {
        let empty = holder.text(field).is_empty();
        if empty {
            errors.push(FieldError::required(path.field(field), missing));
        }
        !empty
    };
    if matches!(field, "resource" | "containerResource") {
        let name = source.text("name");
        if named(source, "name", "must specify a resource name", path, errors)
            && field == "containerResource"
        {
            resource_name(name, &path.field("name"), errors);
        }
        if field == "containerResource"
            && named(
                source,
                "container",
                "must specify a container",
                path,
                errors,
            )
        {
            let container = source.text("container");
            let field = path.field("container");
            wrongs(container, names::dns1123_label(container), &field, errors);
        }
    } else {
        if field == "object" {
            let described = path.field("describedObject");
            reference(source.at("describedObject"), versions, &described, errors);
        }
        let metric = path.field("metric");
        if named(
            source.at("metric"),
            "name",
            "must specify a metric name",
            &metric,
            errors,
        ) {
            let name = source.text("metric.name");
            wrongs(
                name,
                names::path_segment(name),
                &metric.field("name"),
                errors,
            );
        }
    }
    let path = path.field("target");
    let target = source.at("target");
    target_of(target, &path, errors);
    let has = |field: &str| target.has(field);
    let (average, value) = (path.field("averageValue"), path.field("value"));
    match field {
        "object" if !has("value") && !has("averageValue") => {
            let wrong = "must set either a target value or averageValue";
            errors.push(FieldError::required(average, wrong));
        }
        "external" if !has("value") && !has("averageValue") => {
            let wrong = "must set either a target value for metric or a per-pod target";
            errors.push(FieldError::required(average, wrong));
        }
        "external" if has("value") && has("averageValue") => {
            let wrong = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(value, wrong));
        }
        "pods" if !has("averageValue") => {
            let wrong = "must specify a positive target averageValue";
            errors.push(FieldError::required(average, wrong));
        }
        "resource" | "containerResource" => {
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => {
                    let wrong = "must set either a target raw value or a target utilization";
                    errors.push(FieldError::required(
                        path.field("averageUtilization"),
                        wrong,
                    ));
                }
                (true, true) => {
                    let wrong = "may not set both a target raw value and a target utilization";
                    errors.push(FieldError::forbidden(average, wrong));
                }
                _ => {}
            }
        }
        _ => {}
    }
}

fn target_of(target: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let kind = target.text("type");
    if kind.is_empty() {
        let wrong = "must specify a metric target type";
        errors.push(FieldError::required(path.field("type"), wrong));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let wrong = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(path.field("type"), kind, wrong));
    }
    for field in ["value", "averageValue"] {
        if !target.has(field) {
            continue;
        }
        let amount = Quantity::of(target.at(field));
        if amount.is_zero() || amount.is_negative() {
            errors.push(FieldError::invalid(
                path.field(field),
                amount,
                "must be positive",
            ));
        }
    }
    if let Some(number) = target
        .int("averageUtilization")
        .filter(|number| *number < 1)
    {
        let field = path.field("averageUtilization");
        errors.push(FieldError::invalid(field, number, "must be greater than 0"));
    }
}
