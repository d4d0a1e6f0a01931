//! HorizontalPodAutoscalers: v1 knows CPU utilization alone and carries the rest in annotations.

use schema::Value;
use serde_json::json;

use crate::{meta, object::Object};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let text = object
        .at_mut("metadata.annotations")?
        .as_object_mut()?
        .remove(key)?;
    serde_json::from_str(text.as_str()?).ok()
}

fn is_cpu(metric: &Value) -> bool {
    metric.text("type") == "Resource" && metric.text("resource.name") == "cpu"
}

/// From v1 to v2.
pub fn to_v2(object: &mut Value) {
    let mut metrics = match take_annotation(object, METRICS) {
        Some(Value::Array(metrics)) => metrics,
        _ => Vec::new(),
    };
    let spec = object.place("spec");
    if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": target});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if metrics.is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    spec.set("metrics", Value::Array(metrics));
    if let Some(behavior) = take_annotation(object, BEHAVIOR) {
        object.set("spec.behavior", behavior);
    }
    let mut current = match take_annotation(object, CURRENT) {
        Some(Value::Array(current)) => current,
        _ => Vec::new(),
    };
    let conditions = take_annotation(object, CONDITIONS);
    if let Some(status) = object.at_mut("status") {
        if let Some(now) = status.remove("currentCPUUtilizationPercentage") {
            current.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}));
        }
        if !current.is_empty() {
            status.set("currentMetrics", Value::Array(current));
        }
        if let Some(conditions) = conditions {
            status.set("conditions", conditions);
        }
    }
    drop_empty_annotations(object);
}

/// From v2 to v1.
pub fn to_v1(object: &mut Value) {
    let mut metrics = match object
        .at_mut("spec")
        .and_then(|spec| spec.remove("metrics"))
    {
        Some(Value::Array(metrics)) => metrics,
        _ => Vec::new(),
    };
    let utilization =
        |metric: &Value| is_cpu(metric) && metric.has("resource.target.averageUtilization");
    if let Some(at) = metrics.iter().position(utilization) {
        let cpu = metrics.remove(at);
        object.set(
            "spec.targetCPUUtilizationPercentage",
            cpu.at("resource.target.averageUtilization").clone(),
        );
    }
    annotate(object, METRICS, Value::Array(metrics));
    if let Some(behavior) = object
        .at_mut("spec")
        .and_then(|spec| spec.remove("behavior"))
    {
        meta::set_annotation(object, BEHAVIOR, &behavior.to_string());
    }
    let Some(status) = object.at_mut("status") else {
        return;
    };
    let conditions = status.remove("conditions");
    let mut current = match status.remove("currentMetrics") {
        Some(Value::Array(current)) => current,
        _ => Vec::new(),
    };
    let utilization =
        |metric: &Value| is_cpu(metric) && metric.has("resource.current.averageUtilization");
    if let Some(at) = current.iter().position(utilization) {
        let cpu = current.remove(at);
        status.set(
            "currentCPUUtilizationPercentage",
            cpu.at("resource.current.averageUtilization").clone(),
        );
    }
    annotate(object, CURRENT, Value::Array(current));
    if let Some(conditions) = conditions {
        annotate(object, CONDITIONS, conditions);
    }
}

fn annotate(object: &mut Value, key: &str, list: Value) {
    if list.as_array().is_some_and(|list| !list.is_empty()) {
        meta::set_annotation(object, key, &list.to_string());
    }
}

fn drop_empty_annotations(object: &mut Value) {
    if object
        .map("metadata.annotations")
        .is_some_and(|map| map.is_empty())
    {
        object.remove("metadata.annotations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_and_back() {
        let v1 = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}});
        let mut object = v1.clone();
        to_v2(&mut object);
        assert_eq!(
            object.at("spec.metrics"),
            &json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}}])
        );
        to_v1(&mut object);
        assert_eq!(object, v1);
    }

    #[test]
    fn v2_through_v1() {
        let v2 = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Max"}},
            "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
            "status": {"currentReplicas": 1, "conditions": [{"type": "AbleToScale"}]}});
        let mut object = v2.clone();
        to_v1(&mut object);
        assert!(!object.has("spec.metrics"));
        to_v2(&mut object);
        assert_eq!(object, v2);
    }
}
