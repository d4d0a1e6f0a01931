//! Validation of device selectors (`resource.k8s.io`): each is an expression about one device, which must
//! compile, give a truth value, and cost little however large the device's description is. Selectors
//! that an update leaves as they were are not looked at again.

use std::sync::LazyLock;

use api::object::Object;
use cel::{Environment, Opaque, Program, SizeHints, Type};
use schema::Path;
use schema::field_error::FieldError;
use serde_json::Value;

/// The longest expression.
const MAX_LENGTH: usize = 10 * 1024;
/// What one may cost at most.
const MAX_COST: u64 = 1_000_000;

/// What selectors see.
static DEVICE: LazyLock<Environment> = LazyLock::new(|| {
    let by_name = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
    let device = Type::object(
        "kubernetes.DRADevice",
        [
            ("driver", Type::String),
            ("allowMultipleAllocations", Type::Bool),
            ("attributes", by_name(Type::Dyn)),
            ("capacity", by_name(Type::Opaque(Opaque::Quantity))),
        ],
    );
    Environment::new().with("device", device)
});

/// How large a device's description gets, by the rules for ResourceSlices.
struct Sizes;

impl SizeHints for Sizes {
    fn most(&self, path: &[String]) -> Option<u64> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path[..] {
            ["device", "driver"] => Some(63),
            ["device", "allowMultipleAllocations"] => Some(1),
            ["device", "attributes" | "capacity", ref rest @ ..] => match rest {
                [] | ["@values"] => Some(32),
                ["@keys"] => Some(63),
                ["@values", "@keys"] => Some(32),
                ["@values", _] => Some(64),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Everything wrong with the selectors of an object of this kind.
pub(super) fn validate(
    kind: &str,
    object: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) {
    let spec = Path::ROOT.field("spec");
    match kind {
        "DeviceClass" => selectors(object.at("spec"), old.map(|o| o.at("spec")), &spec, errors),
        "ResourceClaim" => claim(object.at("spec"), old.map(|o| o.at("spec")), &spec, errors),
        "ResourceClaimTemplate" => {
            let old = old.map(|old| old.at("spec.spec"));
            claim(object.at("spec.spec"), old, &spec.field("spec"), errors);
        }
        _ => {}
    }
}

fn claim(spec: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    // What claims ask for never changes.
    if old.is_some_and(|old| old.at("devices.requests") == spec.at("devices.requests")) {
        return;
    }
    let devices = path.field("devices");
    let list = devices.field("requests");
    for (index, request) in spec.list("devices.requests").iter().enumerate() {
        let path = list.index(index);
        // Before the first stable version the fields stood in the request itself.
        selectors(request, None, &path, errors);
        selectors(request.at("exactly"), None, &path.field("exactly"), errors);
        let choices = path.field("firstAvailable");
        for (index, choice) in request.list("firstAvailable").iter().enumerate() {
            selectors(choice, None, &choices.index(index), errors);
        }
    }
}

fn selectors(holder: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if old.is_some_and(|old| old.at("selectors") == holder.at("selectors")) {
        return;
    }
    let list = path.field("selectors");
    for (index, selector) in holder.list("selectors").iter().enumerate() {
        let path = list.index(index);
        let path = path.field("cel");
        if selector.has("cel") {
            expression(
                selector.text("cel.expression"),
                &path.field("expression"),
                errors,
            );
        }
    }
}

fn expression(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if text.len() > MAX_LENGTH {
        errors.push(FieldError::too_long(path, MAX_LENGTH));
        return;
    }
    let program = match Program::compile(text, &DEVICE) {
        Ok(program) => program,
        Err(error) => {
            let why = format!("compilation failed: {error}");
            errors.push(FieldError::invalid(path, text, why));
            return;
        }
    };
    match program.output() {
        Type::Bool | Type::Dyn => {}
        other => {
            let why = format!("must evaluate to bool or the unknown type, not {other}");
            errors.push(FieldError::invalid(path, text, why));
            return;
        }
    }
    if program.cost_estimate(&Sizes).max > MAX_COST {
        errors.push(FieldError::forbidden(
            path,
            "too complex, exceeds cost limit",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(expression: &str) -> Vec<String> {
        let class = json!({"spec": {"selectors": [{"cel": {"expression": expression}}]}});
        let mut errors = Vec::new();
        validate("DeviceClass", &class, None, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_drivers_publish_can_be_asked_for() {
        for right in [
            "device.driver == 'gpu.example.com'",
            "device.attributes['gpu.example.com'].model == 'a' && device.allowMultipleAllocations",
            "device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('10Gi'))",
            "device.attributes['gpu.example.com'].version.isLessThan(semver('1.2.3'))",
            "device.attributes['gpu.example.com'].healthy",
            "'gpu.example.com' in device.attributes && device.attributes.exists(d, d.startsWith('gpu'))",
        ] {
            assert_eq!(wrong(right), Vec::<String>::new(), "{right}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let path = "spec.selectors[0].cel.expression";
        for (expression, message) in [
            ("device.nope", "compilation failed: ERROR"),
            (
                "device.driver",
                "must evaluate to bool or the unknown type, not string",
            ),
            ("device.capacity['a'].b > 3", "found no matching overload"),
            ("noSuchVariable", "undeclared reference to 'noSuchVariable'"),
        ] {
            let errors = wrong(expression);
            assert_eq!(errors.len(), 1, "{expression}: {errors:?}");
            assert!(
                errors[0].starts_with(path) && errors[0].contains(message),
                "{errors:?}"
            );
        }
        let costly = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, \
                      device.attributes.all(d, a + b + c + d != 'x'))))";
        assert_eq!(
            wrong(costly),
            [format!(
                "{path}: Forbidden: too complex, exceeds cost limit"
            )]
        );
        let long = format!("{}true", " ".repeat(MAX_LENGTH));
        assert!(wrong(&long)[0].contains("Too long"));
    }

    #[test]
    fn every_place_of_a_claim_is_looked_at_once() {
        let bad = json!([{"cel": {"expression": "1"}}]);
        let spec = json!({"devices": {"requests": [
            {"exactly": {"selectors": bad}}, {"firstAvailable": [{"selectors": bad}]}, {"selectors": bad}]}});
        let places = |kind: &str, object: &Value, old: Option<&Value>| {
            let mut errors = Vec::new();
            validate(kind, object, old, &mut errors);
            errors.iter().map(|e| e.path.clone()).collect::<Vec<_>>()
        };
        let claim = json!({"spec": spec});
        let found = places("ResourceClaim", &claim, None);
        assert_eq!(
            found,
            [
                "spec.devices.requests[0].exactly.selectors[0].cel.expression",
                "spec.devices.requests[1].firstAvailable[0].selectors[0].cel.expression",
                "spec.devices.requests[2].selectors[0].cel.expression",
            ]
        );
        assert_eq!(
            places("ResourceClaim", &claim, Some(&claim)),
            Vec::<String>::new()
        );
        let template = json!({"spec": {"spec": spec}});
        assert_eq!(places("ResourceClaimTemplate", &template, None).len(), 3);
    }
}
