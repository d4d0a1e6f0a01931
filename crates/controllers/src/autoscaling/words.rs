//! How messages name the metrics of autoscalers.

use k8s_openapi::api::autoscaling::v2::{MetricIdentifier, MetricSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// How the sum of failures names a metric.
pub(super) fn described(metric: &MetricSpec) -> String {
    let of = |name: &str, kind: &str| format!("failed to get {name} {kind} metric value: ");
    let resource = metric.resource.as_ref();
    let container = metric.container_resource.as_ref();
    let external = metric.external.as_ref();
    match metric.type_.as_str() {
        "Object" => "failed to get object metric value: ".to_owned(),
        "Pods" => "failed to get pods metric value: ".to_owned(),
        "Resource" => of(resource.map_or("", |source| &source.name), "resource"),
        "ContainerResource" => of(
            container.map_or("", |source| &source.container),
            "container",
        ),
        "External" => of(
            external.map_or("", |source| &source.metric.name),
            "external",
        ),
        _ => String::new(),
    }
}

/// How messages name a metric that replicas share.
pub(super) fn shared_name(metric: &MetricIdentifier) -> String {
    let selector = go_text(metric.selector.as_ref());
    format!("external metric {}({selector})", metric.name)
}

/// A selector as Go prints it, which is how upstream's messages have it.
pub(super) fn go_text(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "nil".to_owned();
    };
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels
        .map(|(key, value)| format!("{key}: {value},"))
        .collect();
    let expressions = selector.match_expressions.iter().flatten();
    let expressions: String = expressions
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                one.key, one.operator
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn selectors_in_messages() {
        let selector = |value: Value| serde_json::from_value::<LabelSelector>(value).unwrap();
        let labelled = selector(json!({"matchLabels": {"a": "b", "c": "d"}}));
        let required = selector(json!({"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["x", "y"]}]}));
        let cases = [
            (None, "nil"),
            (
                Some(&labelled),
                "&LabelSelector{MatchLabels:map[string]string{a: b,c: d,},MatchExpressions:[]LabelSelectorRequirement{},}",
            ),
            (
                Some(&required),
                "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:a,Operator:In,Values:[x y],},},}",
            ),
        ];
        for (selector, expected) in cases {
            assert_eq!(go_text(selector), expected);
        }
    }
}
