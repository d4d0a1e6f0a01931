//! What of a Service may change.

use std::cmp::Ordering;

use schema::{Path, Value, field_error::FieldError};

use super::{is_headless, needs_health_check};
use crate::{object::Object, validation::checks::IMMUTABLE};

const FIXED: &str = "may not change once set";

/// Everything wrong with a change of the Service itself.
pub fn changes(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let external = |object: &Value| object.text("spec.type") == "ExternalName";
    if !external(object) && !external(old) {
        let (now, before) = (is_headless(object), is_headless(old));
        if !(now && before) {
            addresses(object, old, &path, errors);
        }
        if !now && !before {
            families(object, old, &path, errors);
        }
    }
    let balanced = |object: &Value| object.text("spec.type") == "LoadBalancer";
    let class = object.at("spec.loadBalancerClass");
    if balanced(object) && balanced(old) && class != old.at("spec.loadBalancerClass") {
        let field = path.field("loadBalancerClass");
        errors.push(FieldError::invalid(field, class.clone(), FIXED));
    }
    let health = "spec.healthCheckNodePort";
    if needs_health_check(object) && needs_health_check(old) && object.at(health) != old.at(health)
    {
        errors.push(FieldError::forbidden(health, IMMUTABLE));
    }
}

/// The second of two may come and go, where the policy says so.
fn release(object: &Value, what: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if object.text("spec.ipFamilyPolicy") != "SingleStack" {
        let wrong = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        let value = object.at("spec.ipFamilyPolicy").clone();
        errors.push(FieldError::invalid(
            path.field("ipFamilyPolicy"),
            value,
            wrong,
        ));
    }
}

fn addresses(object: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("clusterIPs");
    let shown = || object.at("spec.clusterIPs").clone();
    let now = object.list("spec.clusterIPs");
    let before = old.list("spec.clusterIPs");
    match now.len().cmp(&before.len()) {
        Ordering::Equal => {
            for (index, _) in now
                .iter()
                .zip(before)
                .enumerate()
                .filter(|(_, (a, b))| a != b)
            {
                errors.push(FieldError::invalid(list.index(index), shown(), FIXED));
            }
        }
        Ordering::Less => {
            match now.first() {
                None => {
                    let wrong = "primary clusterIP can not be unset";
                    errors.push(FieldError::invalid(list.index(0), shown(), wrong));
                }
                Some(first) if Some(first) != before.first() => {
                    errors.push(FieldError::invalid(list.index(0), shown(), FIXED));
                }
                Some(_) => {}
            }
            if now.len() == 1 {
                release(object, "clusterIP", path, errors);
            }
        }
        Ordering::Greater => {
            if !before.is_empty() && now.first() != before.first() {
                errors.push(FieldError::invalid(list.index(0), shown(), FIXED));
            }
        }
    }
}

fn families(object: &Value, old: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("ipFamilies");
    let primary = list.index(0);
    let now = object.list("spec.ipFamilies");
    let before = old.list("spec.ipFamilies");
    let other = !now.is_empty() && !before.is_empty() && now.first() != before.first();
    match now.len().cmp(&before.len()) {
        Ordering::Equal => {
            for _ in now.iter().zip(before).filter(|(a, b)| a != b) {
                let value = object.at("spec.ipFamilies").clone();
                errors.push(FieldError::invalid(primary, value, FIXED));
            }
        }
        Ordering::Less => {
            if object.list("spec.clusterIPs").is_empty() {
                let value = object.at("spec.ipFamilies").clone();
                let wrong = "primary ipFamily can not be unset";
                errors.push(FieldError::invalid(primary, value, wrong));
            }
            if other {
                let value = object.at("spec.clusterIPs").clone();
                errors.push(FieldError::invalid(primary, value, FIXED));
            }
            if now.len() == 1 {
                release(object, "ipFamily", path, errors);
            }
        }
        Ordering::Greater => {
            if other {
                let value = object.at("spec.clusterIPs").clone();
                errors.push(FieldError::invalid(primary, value, FIXED));
            }
        }
    }
}
