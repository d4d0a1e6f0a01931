//! HorizontalPodAutoscalers.

use api::object::Object;
use serde_json::Value;

use super::{
    Layout,
    page::{Cell, Page, Row, Table, quantity, shown},
};

/// How HorizontalPodAutoscalers are described.
pub const AUTOSCALER: Layout = Layout::new(
    "autoscaling/v2",
    "HorizontalPodAutoscaler",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Labels("Labels", "metadata.labels"),
        Row::Annotations,
        Row::Time("CreationTimestamp", "metadata.creationTimestamp"),
        Row::Line("Reference", |a| {
            let target = a.at("spec.scaleTargetRef");
            format!("{}/{}", target.text("kind"), target.text("name"))
        }),
        Row::Words("Metrics:\t( current / target )\n"),
        Row::Part(metrics),
        Row::Or("Min replicas", "spec.minReplicas", "<unset>"),
        Row::Or("Max replicas", "spec.maxReplicas", "0"),
        Row::Part(behavior),
        Row::Part(|a, page| {
            let count = |path: &str| a.int(path).unwrap_or_default();
            page.field(
                0,
                &format!("{} pods", a.text("spec.scaleTargetRef.kind")),
                format!(
                    "{} current / {} desired",
                    count("status.currentReplicas"),
                    count("status.desiredReplicas")
                ),
            );
        }),
        Row::Table(&Table {
            title: "Conditions:",
            head: "Type\tStatus\tReason\tMessage",
            under: "----\t------\t------\t-------",
            list: "status.conditions",
            cells: &[
                Cell::Text("type"),
                Cell::Text("status"),
                Cell::Text("reason"),
                Cell::Text("message"),
            ],
        }),
    ],
);

fn metrics(scaler: &Value, page: &mut Page) {
    for (at, metric) in scaler.list("spec.metrics").iter().enumerate() {
        let now = scaler.list("status.currentMetrics").get(at);
        let text = one(metric, now.unwrap_or(&api::object::NULL));
        page.line(1, text);
    }
}

/// What a metric is about, how it is now and how it should be.
fn one(metric: &Value, now: &Value) -> String {
    let (field, percent) = match metric.text("type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        other => return format!("<unknown metric type {other:?}>"),
    };
    let metric = metric.at(field);
    let now = now.at(field);
    let target = metric.at("target");
    let name = metric.text("metric.name");
    // What is reported of it, once something is.
    let current = |value: &str| match now.at("current").at(value) {
        _ if now.is_null() => "<unknown>".into(),
        value => quantity(value),
    };
    let pair = |value: &str| format!("{} / {}", current(value), quantity(target.at(value)));
    if percent {
        let subject = match field {
            "resource" => format!("resource {} on pods", metric.text("name")),
            _ => format!(
                "resource {} of container \"{}\" on pods",
                metric.text("name"),
                metric.text("container")
            ),
        };
        if target.has("averageValue") {
            return format!("{subject}:\t{}", pair("averageValue"));
        }
        let used = now.at("current.averageUtilization");
        let used = if used.is_null() {
            "<unknown>".into()
        } else {
            format!("{}% ({})", shown(used), current("averageValue"))
        };
        let wanted = match target.at("averageUtilization") {
            Value::Null => "<auto>".into(),
            wanted => shown(wanted) + "%",
        };
        return format!("{subject}  (as a percentage of request):\t{used} / {wanted}");
    }
    match field {
        "pods" => format!("{name:?} on pods:\t{}", pair("averageValue")),
        "object" => {
            let of = metric.at("describedObject");
            let subject = format!("\"{name}\" on {}/{} ", of.text("kind"), of.text("name"));
            if target.text("type") == "AverageValue" {
                format!("{subject}(target average value):\t{}", pair("averageValue"))
            } else {
                format!("{subject}(target value):\t{}", pair("value"))
            }
        }
        _ if target.has("averageValue") => {
            let known = now.has("current.averageValue");
            let used = if known {
                current("averageValue")
            } else {
                "<unknown>".into()
            };
            let wanted = quantity(target.at("averageValue"));
            format!("{name:?} (target average value):\t{used} / {wanted}")
        }
        _ => format!("{name:?} (target value):\t{}", pair("value")),
    }
}

fn behavior(scaler: &Value, page: &mut Page) {
    let behavior = scaler.at("spec.behavior");
    if behavior.is_null() {
        return;
    }
    page.line(0, "Behavior:");
    for (title, field) in [("Scale Up", "scaleUp"), ("Scale Down", "scaleDown")] {
        let rules = behavior.at(field);
        if rules.is_null() {
            continue;
        }
        page.line(1, format!("{title}:"));
        if let Some(seconds) = rules.int("stabilizationWindowSeconds") {
            page.line(2, format!("Stabilization Window: {seconds} seconds"));
        }
        let policies = rules.list("policies");
        if policies.is_empty() {
            continue;
        }
        let select = match rules.text("selectPolicy") {
            "" => "Max",
            select => select,
        };
        page.line(2, format!("Select Policy: {select}"));
        page.line(2, "Policies:");
        for policy in policies {
            page.line(
                3,
                format!(
                    "- Type: {}\tValue: {}\tPeriod: {} seconds",
                    policy.text("type"),
                    policy.int("value").unwrap_or_default(),
                    policy.int("periodSeconds").unwrap_or_default()
                ),
            );
        }
    }
}
