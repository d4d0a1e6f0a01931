//! What a claim asks for.

use schema::{Path, Value, field_error::FieldError};

use super::{
    taint::toleration,
    values::{REQUESTS_MAX, Requests, configuration, duplicates, fully_qualified, label, too_many},
};
use crate::{
    names,
    object::Object,
    validation::checks::{required, supported, wrongs},
};

const CONSTRAINTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;

/// The spec of a claim, but for its expressions.
pub fn spec(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("devices");
    let devices = spec.at("devices");
    let names = Requests::of(spec);
    let list = path.field("requests");
    let requests = devices.list("requests");
    if !too_many(requests, REQUESTS_MAX, &list, errors) {
        for (index, item) in requests.iter().enumerate() {
            request(item, &list.index(index), errors);
        }
        duplicates(requests.iter().map(|item| item.text("name")), &list, errors);
    }
    let list = path.field("constraints");
    let constraints = devices.list("constraints");
    if !too_many(constraints, CONSTRAINTS_MAX, &list, errors) {
        for (index, item) in constraints.iter().enumerate() {
            constraint(item, &names, &list.index(index), errors);
        }
    }
    let list = path.field("config");
    let configs = devices.list("config");
    if !too_many(configs, CONFIGS_MAX, &list, errors) {
        for (index, config) in configs.iter().enumerate() {
            let path = list.index(index);
            names.references(config, &path, errors);
            configuration(config, &path, errors);
        }
    }
}

/// Selectors, but for their expressions.
pub fn selectors(holder: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("selectors");
    too_many(holder.list("selectors"), SELECTORS_MAX, &list, errors);
}

/// Configurations of a class.
pub fn configs(holder: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("config");
    let configs = holder.list("config");
    if !too_many(configs, CONFIGS_MAX, &list, errors) {
        for (index, config) in configs.iter().enumerate() {
            configuration(config, &list.index(index), errors);
        }
    }
}

fn request(request: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    label(request.text("name"), &path.field("name"), errors);
    let alternatives = request.list("firstAvailable");
    match (request.has("exactly"), !alternatives.is_empty()) {
        (false, false) => {
            let wrong = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path, wrong));
        }
        (true, true) => {
            let wrong = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path, Value::Null, wrong));
        }
        (true, false) => one(request.at("exactly"), &path.field("exactly"), errors),
        (false, true) => {
            let list = path.field("firstAvailable");
            if too_many(alternatives, ALTERNATIVES_MAX, &list, errors) {
                return;
            }
            for (index, alternative) in alternatives.iter().enumerate() {
                let path = list.index(index);
                label(alternative.text("name"), &path.field("name"), errors);
                one(alternative, &path, errors);
            }
            duplicates(
                alternatives.iter().map(|item| item.text("name")),
                &list,
                errors,
            );
        }
    }
}

/// Devices of one class.
fn one(request: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let class = required(request, "deviceClassName", path, errors);
    if !class.is_empty() {
        let field = path.field("deviceClassName");
        wrongs(class, names::dns1123_subdomain(class), &field, errors);
    }
    selectors(request, path, errors);
    let count = request.int("count").unwrap_or(0);
    let field = path.field("count");
    match request.text("allocationMode") {
        "All" => {
            if count != 0 {
                let wrong = "must not be specified when allocationMode is 'All'";
                errors.push(FieldError::invalid(field, count, wrong));
            }
        }
        "ExactCount" => {
            if count <= 0 {
                errors.push(FieldError::invalid(
                    field,
                    count,
                    "must be greater than zero",
                ));
            }
        }
        _ => supported(
            request,
            "allocationMode",
            &["All", "ExactCount"],
            path,
            errors,
        ),
    }
    let list = path.field("tolerations");
    let tolerations = request.list("tolerations");
    too_many(tolerations, TOLERATIONS_MAX, &list, errors);
    for (index, item) in tolerations.iter().enumerate() {
        toleration(item, &list.index(index), errors);
    }
}

fn constraint(
    constraint: &Value,
    names: &Requests<'_>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    names.references(constraint, path, errors);
    let attribute = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find(|field| constraint.has(field));
    match attribute {
        Some(field) => {
            fully_qualified(constraint.text(field), &path.field(field), errors);
        }
        None => {
            let wrong = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(path, wrong));
        }
    }
}
