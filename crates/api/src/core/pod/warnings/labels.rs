//! Labels of nodes that have other names by now.

use schema::Value;

use crate::{names, object::Object};

/// What is said of a node's label that should be used no more.
pub fn deprecated_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => {
            "deprecated since v1.22; use Taints and Tolerations instead"
        }
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// Warnings for a `NodeSelectorTerm`; `values` says that bad values are told of as well, where they
/// are no errors.
pub fn node_selector_term(term: &Value, values: bool, path: &str, warnings: &mut Vec<String>) {
    for (index, expression) in term.list("matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        expression_key(expression, &path, warnings);
        if !values {
            continue;
        }
        for (at, value) in expression.texts("values").enumerate() {
            for wrong in names::label_value(value) {
                warnings.push(format!("{path}.values[{at}]: {value} is invalid, {wrong}"));
            }
        }
    }
}

/// Warnings for a `LabelSelector` that selects nodes.
pub fn label_selector(selector: &Value, path: &str, warnings: &mut Vec<String>) {
    for (index, expression) in selector.list("matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        expression_key(expression, &path, warnings);
    }
    for (key, _) in selector.pairs("matchLabels") {
        if let Some(why) = deprecated_label(key) {
            warnings.push(format!("{path}.matchLabels.{key}: {why}"));
        }
    }
}

fn expression_key(expression: &Value, path: &str, warnings: &mut Vec<String>) {
    let key = expression.text("key");
    if let Some(why) = deprecated_label(key) {
        warnings.push(format!("{path}.key: {key} is {why}"));
    }
}
