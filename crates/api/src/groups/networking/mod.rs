//! The group networking.k8s.io.

mod ingress;
mod policy;

pub use ingress::Ingress;
pub use policy::NetworkPolicy;
use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    validation::{
        addresses::{self, Range},
        checks::{IMMUTABLE, immutable, prefixed_path, required, supported, wrongs},
    },
};

const CONTROLLER_MAX: usize = 250;

/// Defaults of an IngressClass.
pub fn ingress_class(object: &mut Value) {
    if let Some(parameters) = object.at_mut("spec.parameters") {
        parameters.set_default("scope", "Cluster");
    }
}

/// An object of some group, by kind and name.
fn reference(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if value.has("apiGroup") {
        let group = value.text("apiGroup");
        let field = path.field("apiGroup");
        wrongs(group, names::dns1123_subdomain(group), &field, errors);
    }
    for field in ["kind", "name"] {
        segment(value, field, path, errors);
    }
}

/// A text that must be given and fit in a path.
fn segment(value: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let text = required(value, field, path, errors);
    wrongs(text, names::path_segment(text), &path.field(field), errors);
}

/// Everything wrong with an IngressClass.
pub fn validate_class(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let controller = object.text("spec.controller");
    if controller.len() > CONTROLLER_MAX {
        errors.push(FieldError::too_long(
            path.field("controller"),
            CONTROLLER_MAX,
        ));
    }
    prefixed_path(controller, &path.field("controller"), errors);
    let parameters = object.at("spec.parameters");
    if parameters.is_null() {
        return;
    }
    let path = path.field("parameters");
    reference(parameters, &path, errors);
    let namespace = parameters.text("namespace");
    let field = path.field("namespace");
    match (parameters.text("scope"), parameters.has("namespace")) {
        ("Namespace", false) => {
            let wrong = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(field, wrong));
        }
        ("Namespace", true) => {
            wrongs(namespace, names::dns1123_label(namespace), &field, errors);
        }
        ("Cluster", true) => {
            let wrong = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(field, wrong));
        }
        _ => supported(
            parameters,
            "scope",
            &["Cluster", "Namespace"],
            &path,
            errors,
        ),
    }
}

/// What of an IngressClass may not change.
pub fn update_class(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(
        object.at("spec"),
        old.at("spec"),
        "controller",
        &Path::ROOT.field("spec"),
        errors,
    );
}

/// Everything wrong with a new ServiceCIDR.
pub fn validate_cidr(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let list = path.field("cidrs");
    let cidrs: Vec<&str> = object.texts("spec.cidrs").collect();
    if cidrs.is_empty() {
        errors.push(FieldError::required(list, "at least one CIDR required"));
        return;
    }
    if cidrs.len() > 2 {
        let wrong = "may only hold up to 2 values";
        errors.push(FieldError::invalid(list, object.at("spec").clone(), wrong));
        return;
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        addresses::strict_cidr(cidr, &list.index(index), errors);
    }
    let families: Vec<bool> = cidrs
        .iter()
        .filter_map(|cidr| Some(Range::sloppy(cidr)?.address.is_ipv6()))
        .collect();
    if matches!(families[..], [first, second] if first == second) {
        let wrong = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        let shown = object.at("spec.cidrs").clone();
        errors.push(FieldError::invalid(list, shown, wrong));
    }
}

/// What of a ServiceCIDR may change: a range of the other family may be added.
pub fn update_cidr(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let list = path.field("cidrs");
    let (new, before) = (object.list("spec.cidrs"), old.list("spec.cidrs"));
    match (before.len(), new.len()) {
        (1, 2) => {
            if new[0] != before[0] {
                errors.push(FieldError::invalid(
                    list.index(0),
                    new[0].clone(),
                    IMMUTABLE,
                ));
            }
            validate_cidr(object, errors);
        }
        (was, is) if was == is => {
            for (index, (new, old)) in new.iter().zip(before).enumerate() {
                if new != old {
                    errors.push(FieldError::invalid(
                        list.index(index),
                        new.clone(),
                        IMMUTABLE,
                    ));
                }
            }
        }
        _ => {
            let shown = object.at("spec.cidrs").clone();
            errors.push(FieldError::invalid(list, shown, IMMUTABLE));
        }
    }
}

/// What of an IPAddress may not change.
pub fn update_address(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    immutable(
        object.at("spec"),
        old.at("spec"),
        "parentRef",
        &path,
        errors,
    );
}

/// The name of an IPAddress is the address.
pub fn ip_name(name: &str, _prefix: bool) -> Vec<String> {
    let mut errors = Vec::new();
    addresses::strict_ip(name, &Path::ROOT, &mut errors);
    errors.into_iter().map(|error| error.detail).collect()
}

/// Everything wrong with an IPAddress.
pub fn validate_address(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = Path::ROOT.field("spec");
    let path = spec.field("parentRef");
    let parent = object.at("spec.parentRef");
    if parent.is_null() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let group = parent.text("group");
    if !group.is_empty() {
        let field = path.field("group");
        wrongs(group, names::dns1123_subdomain(group), &field, errors);
    }
    segment(parent, "resource", &path, errors);
    segment(parent, "name", &path, errors);
    let namespace = parent.text("namespace");
    let field = path.field("namespace");
    wrongs(namespace, names::path_segment(namespace), &field, errors);
}
