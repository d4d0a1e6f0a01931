//! Requests and limits.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    quantity::Quantity,
    validation::checks::{quantity, wrongs},
};

/// Is this a resource that the API itself names?
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// A container's resource name.
pub fn resource_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let bad = names::qualified_name(name);
    if !bad.is_empty() {
        wrongs(name, bad, path, errors);
        return;
    }
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage")
            && !name.starts_with("hugepages-")
        {
            errors.push(FieldError::invalid(
                path,
                name,
                "must be a standard resource type or fully qualified",
            ));
            errors.push(FieldError::invalid(
                path,
                name,
                "must be a standard resource for containers",
            ));
        }
    } else if !is_native(name)
        && (name.starts_with("requests.")
            || !names::qualified_name(&format!("requests.{name}")).is_empty())
    {
        errors.push(FieldError::invalid(
            path,
            name,
            "doesn't follow extended resource name standard",
        ));
    }
}

/// Requests and limits of a container.
pub fn resources(resources: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let limits_path = path.field("limits");
    for (name, value) in resources.pairs("limits") {
        let path = limits_path.key(name);
        resource_name(name, &path, errors);
        amount(name, value, &path, errors);
    }
    let requests_path = path.field("requests");
    for (name, value) in resources.pairs("requests") {
        let path = requests_path.key(name);
        resource_name(name, &path, errors);
        let Some(request) = amount(name, value, &path, errors) else {
            continue;
        };
        let overcommit = is_native(name) && !name.starts_with("hugepages-");
        match resources.at("limits").get(name) {
            Some(limit) => {
                let limit = Quantity::of(limit);
                if request > limit {
                    let wrong = format!("must be less than or equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(
                        requests_path,
                        request.to_string(),
                        wrong,
                    ));
                } else if request != limit && !overcommit {
                    let wrong = format!("must be equal to {name} limit of {limit}");
                    errors.push(FieldError::invalid(
                        requests_path,
                        request.to_string(),
                        wrong,
                    ));
                }
            }
            None if !overcommit => {
                let wrong = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(limits_path, wrong));
            }
            None => {}
        }
    }
}

fn amount(
    name: &str,
    value: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Quantity> {
    let quantity = quantity(value, path, errors)?;
    if !is_native(name) && !quantity.is_whole() {
        errors.push(FieldError::invalid(
            path,
            quantity.to_string(),
            "must be an integer",
        ));
    }
    Some(quantity)
}

/// Requests and limits of the pod as a whole.
pub fn pod_resources(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let own = spec.at("resources");
    if own.is_null() {
        return;
    }
    let path = path.field("resources");
    resources(own, &path, errors);
    for kind in ["limits", "requests"] {
        for (name, _) in own.pairs(kind) {
            if !matches!(name, "cpu" | "memory") && !name.starts_with("hugepages-") {
                let known = ["cpu", "hugepages-", "memory"];
                errors.push(FieldError::not_supported(
                    path.field(kind).key(name),
                    name,
                    &known,
                ));
            }
        }
    }
    for name in ["cpu", "memory"] {
        let Some(request) = own.at("requests").get(name) else {
            continue;
        };
        let containers = spec.list("containers").iter();
        let sum: Quantity = containers
            .filter_map(|item| item.at("resources.requests").get(name))
            .map(Quantity::of)
            .sum();
        if sum > Quantity::of(request) {
            let wrong =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(FieldError::invalid(
                path.field("requests").key(name),
                request.clone(),
                wrong,
            ));
        }
    }
}
