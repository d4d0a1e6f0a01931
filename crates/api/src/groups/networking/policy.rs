//! NetworkPolicies.

use schema::{Path, Value, field_error::FieldError};
use serde_json::json;

use crate::{
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::{
        addresses::{self, Range, cidr_warnings},
        checks::{label_selector_after, required},
    },
};

/// What NetworkPolicies do specially.
pub struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        defaults(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        spec(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        spec(object, old, errors);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        for_each_block(object, &mut |block, path| {
            cidr_warnings(block.text("cidr"), &format!("{path}.cidr"), &mut warnings);
            for (index, text) in block.texts("except").enumerate() {
                cidr_warnings(text, &format!("{path}.except[{index}]"), &mut warnings);
            }
        });
        warnings
    }

    fn warnings_on_update(&self, _: Part<'_>, object: &Value, _: &Value) -> Vec<String> {
        self.warnings(object)
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }
}

const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// Every block of addresses, with its path.
fn for_each_block(object: &Value, see: &mut dyn FnMut(&Value, String)) {
    for (direction, peers) in DIRECTIONS {
        for (at, rule) in object.at("spec").list(direction).iter().enumerate() {
            for (index, peer) in rule.list(peers).iter().enumerate() {
                if peer.has("ipBlock") {
                    let path = format!("spec.{direction}[{at}].{peers}[{index}].ipBlock");
                    see(peer.at("ipBlock"), path);
                }
            }
        }
    }
}

fn defaults(object: &mut Value) {
    let spec = object.place("spec");
    for direction in ["ingress", "egress"] {
        for rule in spec.list_mut(direction) {
            for port in rule.list_mut("ports") {
                port.set_default("protocol", "TCP");
            }
        }
    }
    if spec.list("policyTypes").is_empty() {
        let egress = !spec.list("egress").is_empty();
        spec.set(
            "policyTypes",
            if egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            },
        );
    }
}

fn spec(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    // Ranges that were there before stay, wherever they are now.
    let mut before = Vec::new();
    for_each_block(old, &mut |block, _| {
        before.push(block.text("cidr").to_owned());
        before.extend(block.texts("except").map(str::to_owned));
    });
    let known = Before {
        ranges: before,
        selector: old.at("spec.podSelector"),
    };
    label_selector_after(
        spec.at("podSelector"),
        known.selector,
        &path.field("podSelector"),
        errors,
    );
    for (direction, peers) in DIRECTIONS {
        let list = path.field(direction);
        for (index, rule) in spec.list(direction).iter().enumerate() {
            let path = list.index(index);
            let list = path.field("ports");
            for (index, port) in rule.list("ports").iter().enumerate() {
                policy_port(port, &list.index(index), errors);
            }
            let list = path.field(peers);
            for (index, peer) in rule.list(peers).iter().enumerate() {
                policy_peer(peer, &known, &list.index(index), errors);
            }
        }
    }
    let list = path.field("policyTypes");
    if spec.list("policyTypes").len() > 2 {
        let wrong = "may not specify more than two policyTypes";
        let shown = spec.at("policyTypes").clone();
        errors.push(FieldError::invalid(list, shown, wrong));
        return;
    }
    for (index, kind) in spec.texts("policyTypes").enumerate() {
        let known = ["Ingress", "Egress"];
        if !known.contains(&kind) {
            errors.push(FieldError::not_supported(list.index(index), kind, &known));
        }
    }
}

/// What was there before a change.
struct Before<'a> {
    ranges: Vec<String>,
    selector: &'a Value,
}

fn policy_port(port: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let protocol = port.text("protocol");
    let known = ["TCP", "UDP", "SCTP"];
    if port.has("protocol") && !known.contains(&protocol) {
        errors.push(FieldError::not_supported(
            path.field("protocol"),
            protocol,
            &known,
        ));
    }
    let end = port.int("endPort");
    let number = port.at("port");
    if !number.is_null() {
        crate::validation::checks::port_or_name(number, &path.field("port"), errors);
    }
    let Some(end) = end else { return };
    let field = path.field("endPort");
    match number {
        Value::Null => {
            errors.push(FieldError::invalid(
                field,
                end,
                "may not be specified when `port` is not specified",
            ));
        }
        Value::String(_) => {
            errors.push(FieldError::invalid(
                field,
                end,
                "may not be specified when `port` is non-numeric",
            ));
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            if end < number {
                errors.push(FieldError::invalid(
                    field,
                    number,
                    "must be greater than or equal to `port`",
                ));
            }
            for wrong in names::port_number(end) {
                errors.push(FieldError::invalid(field, end, wrong));
            }
        }
    }
}

fn policy_peer(peer: &Value, before: &Before<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut selectors = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if peer.has(field) {
            selectors += 1;
            label_selector_after(peer.at(field), before.selector, &path.field(field), errors);
        }
    }
    let block = peer.at("ipBlock");
    if block.is_null() {
        if selectors == 0 {
            errors.push(FieldError::required(path, "must specify a peer"));
        }
        return;
    }
    if selectors > 0 {
        errors.push(FieldError::forbidden(
            path,
            "may not specify both ipBlock and another peer",
        ));
    }
    let path = path.field("ipBlock");
    let cidr = required(block, "cidr", &path, errors);
    if cidr.is_empty() {
        return;
    }
    let range = |text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>| {
        if before.ranges.iter().any(|known| known == text) {
            Range::sloppy(text)
        } else {
            addresses::cidr(text, path, errors)
        }
    };
    let Some(whole) = range(cidr, &path.field("cidr"), errors) else {
        return;
    };
    let list = path.field("except");
    for (index, text) in block.texts("except").enumerate() {
        let path = list.index(index);
        let Some(part) = range(text, &path, errors) else {
            continue;
        };
        if !whole.holds(part.network().address) || whole.length >= part.length {
            let wrong = "must be a strict subset of `cidr`";
            errors.push(FieldError::invalid(path, text, wrong));
        }
    }
}
