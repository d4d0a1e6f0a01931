//! Requests and limits.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    core::resource_names::{self, huge_page_size},
    names,
    object::Object,
    quantity::Quantity,
    validation::checks::{quantity, wrongs},
};

/// A container's resource name.
pub fn resource_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    standard_or_qualified(name, path, errors);
    let wrong = if !name.contains('/') && !resource_names::is_standard_container(name) {
        "must be a standard resource for containers"
    } else if !resource_names::is_native(name) && !resource_names::is_extended(name) {
        "doesn't follow extended resource name standard"
    } else {
        return;
    };
    errors.push(FieldError::invalid(path, name, wrong));
}

/// A name of the API's own, or one with a domain before it.
pub fn standard_or_qualified(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let bad = names::qualified_name(name);
    if bad.is_empty() && !name.contains('/') && !resource_names::is_standard(name) {
        let wrong = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, wrong));
    }
    wrongs(name, bad, path, errors);
}

/// The name of a resource of a whole pod.
fn pod_resource_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    standard_or_qualified(name, path, errors);
    if errors.len() == before
        && !matches!(name, "cpu" | "memory")
        && !name.starts_with("hugepages-")
    {
        let known = ["cpu", "hugepages-", "memory"];
        errors.push(FieldError::not_supported(path, name, &known));
    }
}

type NameCheck = fn(&str, &Path<'_>, &mut Vec<FieldError>);

/// Requests and limits of a container.
pub fn resources(resources: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    requirements(resources, resource_name, path, errors);
}

fn requirements(
    resources: &Value,
    name_check: NameCheck,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let (mut basic, mut huge) = (false, false);
    let limits_path = path.field("limits");
    let requests_path = path.field("requests");
    for (kind, kind_path) in [("limits", limits_path), ("requests", requests_path)] {
        for (name, value) in resources.pairs(kind) {
            let path = kind_path.key(name);
            name_check(name, &path, errors);
            amount(name, value, &path, errors);
            basic |= matches!(name, "cpu" | "memory");
            huge |= name.starts_with("hugepages-");
            if kind == "requests" {
                beside_limit(
                    name,
                    value,
                    resources,
                    (&limits_path, &requests_path),
                    errors,
                );
            }
        }
    }
    if huge && !basic {
        errors.push(FieldError::forbidden(
            path,
            "HugePages require cpu or memory",
        ));
    }
}

/// A request beside the limit of the same resource.
fn beside_limit(
    name: &str,
    value: &Value,
    resources: &Value,
    (limits, requests): (&Path<'_>, &Path<'_>),
    errors: &mut Vec<FieldError>,
) {
    let overcommit = resource_names::is_native(name) && !name.starts_with("hugepages-");
    let request = Quantity::of(value);
    let Some(limit) = resources.at("limits").get(name).map(Quantity::of) else {
        if !overcommit {
            let wrong = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(limits, wrong));
        }
        return;
    };
    let wrong = if request != limit && !overcommit {
        format!("must be equal to {name} limit of {limit}")
    } else if request > limit {
        format!("must be less than or equal to {name} limit of {limit}")
    } else {
        return;
    };
    errors.push(FieldError::invalid(requests, request, wrong));
}

/// An amount of a resource: not negative, whole where parts make no sense.
pub fn whole_amount(
    name: &str,
    value: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Quantity> {
    let quantity = quantity(value, path, errors)?;
    if resource_names::is_integer(name) && !quantity.is_whole() {
        errors.push(FieldError::invalid(path, quantity, "must be an integer"));
    }
    Some(quantity)
}

/// As [`whole_amount`], and full huge pages.
pub fn amount(name: &str, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(quantity) = whole_amount(name, value, path, errors) else {
        return;
    };
    if let Some(page) = name.strip_prefix("hugepages-") {
        let size = huge_page_size(page).unwrap_or(0);
        if size <= 0 || quantity.value() % size != 0 {
            let wrong = format!("{quantity} is not positive integer multiple of {name}");
            errors.push(FieldError::invalid(path, quantity, wrong));
        }
    }
}

/// Amounts of no container in particular (overhead), which count as its limits.
pub fn overhead(amounts: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let limits = serde_json::json!({"limits": amounts});
    resources(&limits, path, errors);
}

/// References of a container to the claims of its pod.
pub fn claims(claims: &[Value], known: &[&str], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<String> = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        if seen.iter().any(|other| other == name) {
            errors.push(FieldError::duplicate(path, name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                let field = path.field("request");
                wrongs(request, names::dns1123_label(request), &field, errors);
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.push(FieldError::duplicate(path, key.as_str()));
            } else if request.is_empty() {
                let parts = seen.iter().filter(|other| {
                    other
                        .split_once('/')
                        .is_some_and(|(other, _)| other == name)
                });
                for _ in parts {
                    errors.push(FieldError::duplicate(path, name));
                }
            }
            seen.push(key);
        }
        if !known.contains(&name) {
            let mut wrong = FieldError::not_found(path, name);
            wrong.detail = if known.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                let mut known = known.to_vec();
                known.sort_unstable();
                let known = known.join(", ");
                format!("must be one of the names in pod.spec.resourceClaims: {known}")
            };
            errors.push(wrong);
        }
    }
}

/// Requests and limits of the pod as a whole.
pub fn pod_resources(
    spec: &Value,
    claim_names: &[&str],
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let own = spec.at("resources");
    if own.is_null() {
        return;
    }
    let path = path.field("resources");
    if spec.text("os.name") == "windows" {
        errors.push(FieldError::forbidden(
            path,
            "may not be set for a windows pod",
        ));
        return;
    }
    if own.has("claims") {
        let wrong = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(path.field("claims"), wrong));
    }
    requirements(own, pod_resource_name, &path, errors);
    claims(
        own.list("claims"),
        claim_names,
        &path.field("claims"),
        errors,
    );
    consistency(spec, &path, errors);
}

/// The pod's own amounts beside those of its containers.
fn consistency(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let own = spec.at("resources");
    let requests = path.field("requests");
    for (name, value) in own.pairs("requests") {
        let (sum, any) = aggregate(spec, "requests", name);
        if any && sum > Quantity::of(value) {
            let wrong =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            let value = Quantity::of(value);
            errors.push(FieldError::invalid(requests.key(name), value, wrong));
        }
    }
    let limits = path.field("limits");
    for (name, value) in own.pairs("limits") {
        if !name.starts_with("hugepages-") {
            continue;
        }
        let (sum, any) = aggregate(spec, "limits", name);
        if any && sum > Quantity::of(value) {
            let wrong =
                format!("must be greater than or equal to aggregate container limits of {sum}");
            let value = Quantity::of(value);
            errors.push(FieldError::invalid(limits.key(name), value, wrong));
        }
    }
    let list = path.field("containers");
    for (index, item) in spec.list("containers").iter().enumerate() {
        let path = list.index(index);
        for (name, limit) in item.pairs("resources.limits") {
            let Some(whole) = own.at("limits").get(name).map(Quantity::of) else {
                continue;
            };
            if Quantity::of(limit) > whole {
                let wrong = format!("must be less than or equal to pod limits of {whole}");
                errors.push(FieldError::invalid(
                    path.key(name).field("limits"),
                    Quantity::of(limit),
                    wrong,
                ));
            }
        }
    }
}

/// What the containers need together: those that run at once, or the most that a step of the
/// initialization needs.
fn aggregate(spec: &Value, kind: &str, name: &str) -> (Quantity, bool) {
    let of = |item: &Value| item.at("resources").at(kind).get(name).map(Quantity::of);
    let add = |a: Quantity, b: Quantity| [a, b].into_iter().sum::<Quantity>();
    let mut any = false;
    let mut sum = Quantity::ZERO;
    for amount in spec.list("containers").iter().filter_map(of) {
        any = true;
        sum = add(sum, amount);
    }
    let (mut sidecars, mut most) = (Quantity::ZERO, Quantity::ZERO);
    for item in spec.list("initContainers") {
        let Some(amount) = of(item) else { continue };
        any = true;
        let step = if item.text("restartPolicy") == "Always" {
            sidecars = add(sidecars, amount);
            sum = add(sum, amount);
            sidecars
        } else {
            add(sidecars, amount)
        };
        if step > most {
            most = step;
        }
    }
    (if most > sum { most } else { sum }, any)
}
