//! Where a pod may go: affinity, tolerations, spreading.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    validation::checks::{label_selector, one_of, one_of_if_set, wrongs},
};

/// `spec.affinity`.
pub fn affinity(affinity: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if affinity.is_null() {
        return;
    }
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = affinity.at("nodeAffinity");
    let node_path = path.field("nodeAffinity");
    if node.has(REQUIRED) {
        node_selector(node.at(REQUIRED), &node_path.field(REQUIRED), errors);
    }
    let list = node_path.field(PREFERRED);
    for (index, term) in node.list(PREFERRED).iter().enumerate() {
        let path = list.index(index);
        weight(term, &path, errors);
        // Bad values are what a wish may hold: they are warned of.
        term_of(
            term.at("preference"),
            false,
            &path.field("preference"),
            errors,
        );
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.at(kind);
        let path = path.field(kind);
        let list = path.field(REQUIRED);
        for (index, term) in pods.list(REQUIRED).iter().enumerate() {
            pod_term(term, &list.index(index), errors);
        }
        let list = path.field(PREFERRED);
        for (index, term) in pods.list(PREFERRED).iter().enumerate() {
            let path = list.index(index);
            weight(term, &path, errors);
            pod_term(
                term.at("podAffinityTerm"),
                &path.field("podAffinityTerm"),
                errors,
            );
        }
    }
}

fn weight(term: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let weight = term.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(
            path.field("weight"),
            weight,
            "must be in the range 1-100",
        ));
    }
}

fn pod_term(term: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    label_selector(
        term.at("labelSelector"),
        &path.field("labelSelector"),
        errors,
    );
    label_selector(
        term.at("namespaceSelector"),
        &path.field("namespaceSelector"),
        errors,
    );
    for name in term.texts("namespaces") {
        wrongs(
            name,
            names::dns1123_label(name),
            &path.field("namespace"),
            errors,
        );
    }
    label_keys(term, path, errors);
    let key = term.text("topologyKey");
    let field = path.field("topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(field, "can not be empty"));
    }
    wrongs(key, names::qualified_name(key), &field, errors);
}

/// Keys of labels whose values are the pod's own.
fn label_keys(term: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        let field = path.field(list);
        if term.list(list).is_empty() {
            continue;
        }
        if !term.has("labelSelector") {
            let wrong = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(field, wrong));
            continue;
        }
        for (index, key) in term.texts(list).enumerate() {
            wrongs(key, names::qualified_name(key), &field.index(index), errors);
        }
    }
    let keys: Vec<&str> = term.texts("matchLabelKeys").collect();
    // The expressions made of the keys are there already, so a key is given twice only when it is
    // there once more.
    let mut seen: Vec<&str> = term
        .pairs("labelSelector.matchLabels")
        .map(|(key, _)| key)
        .collect();
    for expression in term.list("labelSelector.matchExpressions") {
        let key = expression.text("key");
        if let Some(index) = keys.iter().rposition(|own| *own == key)
            && seen.contains(&key)
        {
            let wrong = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(path.index(index), key, wrong));
        }
        seen.push(key);
    }
    for (index, key) in keys.into_iter().enumerate() {
        if term.texts("mismatchLabelKeys").any(|other| other == key) {
            let list = path.field("matchLabelKeys");
            let wrong = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(list.index(index), key, wrong));
        }
    }
}

/// A `NodeSelector`.
pub fn node_selector(selector: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("nodeSelectorTerms");
    let terms = selector.list("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(FieldError::required(
            list,
            "must have at least one node selector term",
        ));
    }
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term, &list.index(index), errors);
    }
}

/// A `NodeSelectorTerm`.
pub fn node_selector_term(term: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    term_of(term, true, path, errors);
}

fn term_of(term: &Value, values: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let check_values = values;
    let list = path.field("matchExpressions");
    for (index, expression) in term.list("matchExpressions").iter().enumerate() {
        let path = list.index(index);
        let values = expression.list("values");
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let wrong = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(path.field("values"), wrong));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let wrong = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(path.field("values"), wrong));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let wrong = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(path.field("values"), wrong));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(FieldError::invalid(
                path.field("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = expression.text("key");
        wrongs(key, names::qualified_name(key), &path.field("key"), errors);
        for (index, value) in expression.texts("values").enumerate() {
            if !check_values {
                break;
            }
            wrongs(
                value,
                names::label_value(value),
                &path.field("values").index(index),
                errors,
            );
        }
    }
    let list = path.field("matchFields");
    for (index, field) in term.list("matchFields").iter().enumerate() {
        let path = list.index(index);
        match field.text("operator") {
            "In" | "NotIn" => {
                if field.list("values").len() != 1 {
                    let wrong = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.push(FieldError::required(path.field("values"), wrong));
                }
            }
            other => errors.push(FieldError::invalid(
                path.field("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = field.text("key");
        if key != "metadata.name" {
            errors.push(FieldError::invalid(
                path.field("key"),
                key,
                "not a valid field selector key",
            ));
            continue;
        }
        for (index, value) in field.texts("values").enumerate() {
            let path = path.field("values");
            wrongs(
                value,
                names::dns1123_subdomain(value),
                &path.index(index),
                errors,
            );
        }
    }
}

/// `spec.topologySpreadConstraints`.
pub fn spread(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("topologySpreadConstraints");
    let constraints = spec.list("topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let path = list.index(index);
        let skew = constraint.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.push(FieldError::invalid(
                path.field("maxSkew"),
                skew,
                "must be greater than zero",
            ));
        }
        let key = constraint.text("topologyKey");
        if key.is_empty() {
            errors.push(FieldError::required(
                path.field("topologyKey"),
                "can not be empty",
            ));
        }
        let when = constraint.text("whenUnsatisfiable");
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        if !known.contains(&when) {
            errors.push(FieldError::not_supported(
                path.field("whenUnsatisfiable"),
                when,
                &known,
            ));
        }
        let same = |other: &Value| {
            other.text("topologyKey") == key && other.text("whenUnsatisfiable") == when
        };
        if constraints[..index].iter().any(same) {
            let pair = format!("{{{key}, {when}}}");
            errors.push(FieldError::duplicate(
                path.field("{topologyKey, whenUnsatisfiable}"),
                pair,
            ));
        }
        if let Some(domains) = constraint.int("minDomains") {
            if domains <= 0 {
                errors.push(FieldError::invalid(
                    path.field("minDomains"),
                    domains,
                    "must be greater than zero",
                ));
            }
            if when != "DoNotSchedule" {
                let wrong = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
                );
                errors.push(FieldError::invalid(
                    path.field("minDomains"),
                    domains,
                    wrong,
                ));
            }
        }
        one_of_if_set(
            constraint,
            "nodeAffinityPolicy",
            &["Honor", "Ignore"],
            &path,
            errors,
        );
        one_of_if_set(
            constraint,
            "nodeTaintsPolicy",
            &["Honor", "Ignore"],
            &path,
            errors,
        );
        label_keys(constraint, &path, errors);
        label_selector(
            constraint.at("labelSelector"),
            &path.field("labelSelector"),
            errors,
        );
    }
}

/// Tolerations.
pub fn tolerations(tolerations: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        if !key.is_empty() {
            wrongs(key, names::qualified_name(key), &path.field("key"), errors);
        } else if operator != "Exists" {
            let wrong = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(path.field("operator"), operator, wrong));
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let wrong = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(path.field("effect"), effect, wrong));
        }
        match operator {
            "" | "Equal" => {
                let bad = names::label_value(value);
                if !bad.is_empty() {
                    errors.push(FieldError::invalid(
                        path.field("operator"),
                        value,
                        bad.join(";"),
                    ));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let wrong = "value must be empty when `operator` is 'Exists'";
                    errors.push(FieldError::invalid(path.field("operator"), value, wrong));
                }
            }
            other => errors.push(FieldError::not_supported(
                path.field("operator"),
                other,
                &["Equal", "Exists"],
            )),
        }
        if !effect.is_empty() {
            taint_effect(toleration, &path, errors);
        }
    }
}

fn taint_effect(holder: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    one_of(
        holder,
        "effect",
        &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        path,
        errors,
    );
}

/// A node's taints.
pub fn taints(taints: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let key = taint.text("key");
        wrongs(key, names::qualified_name(key), &path.field("key"), errors);
        let value = taint.text("value");
        let bad = names::label_value(value);
        if !bad.is_empty() {
            errors.push(FieldError::invalid(
                path.field("value"),
                value,
                bad.join(";"),
            ));
        }
        taint_effect(taint, &path, errors);
        let same = |other: &Value| {
            other.text("key") == key && other.text("effect") == taint.text("effect")
        };
        if taints[..index].iter().any(same) {
            let wrong = FieldError {
                detail: "taints must be unique by key and effect pair".to_owned(),
                ..FieldError::duplicate(path, taint.clone())
            };
            errors.push(wrong);
        }
    }
}
