//! Pod templates, and what pods and templates share.

use api::object::Object;
use serde_json::Value;

use super::{
    containers,
    page::{Page, selector, shown},
    volumes,
};

/// A workload's template.
pub fn template(template: &Value, page: &mut Page) {
    page.line(0, "Pod Template:");
    if template.is_null() {
        page.put(1, "<unset>");
        return;
    }
    page.labels("  Labels", "", template.at("metadata.labels"));
    if template
        .map("metadata.annotations")
        .is_some_and(|m| !m.is_empty())
    {
        page.annotations("  Annotations", template.at("metadata.annotations"));
    }
    let spec = template.at("spec");
    if !spec.text("serviceAccountName").is_empty() {
        page.field(1, "Service Account", spec.text("serviceAccountName"));
    }
    if !spec.list("initContainers").is_empty() {
        containers::list("Init Containers", "initContainers", spec, None, "  ", page);
    }
    containers::list("Containers", "containers", spec, None, "  ", page);
    volumes::of_pod(spec.list("volumes"), "  ", page);
    spread(spec.list("topologySpreadConstraints"), "  ", page);
    if !spec.text("priorityClassName").is_empty() {
        page.field(1, "Priority Class Name", spec.text("priorityClassName"));
    }
    page.labels("  Node-Selectors", "", spec.at("nodeSelector"));
    tolerations("  Tolerations", spec.list("tolerations"), page);
    group(spec, "  ", page);
}

/// Topology spread constraints by key.
pub fn spread(constraints: &[Value], space: &str, page: &mut Page) {
    if constraints.is_empty() {
        return;
    }
    let mut constraints: Vec<&Value> = constraints.iter().collect();
    constraints.sort_by_key(|c| c.text("topologyKey"));
    let lines: Vec<String> = constraints
        .iter()
        .map(|c| {
            let of = match c.at("labelSelector") {
                Value::Null => String::new(),
                labels => format!(" for selector {}", selector(labels)),
            };
            format!(
                "{}:{} when max skew {} is exceeded{of}",
                c.text("topologyKey"),
                c.text("whenUnsatisfiable"),
                c.int("maxSkew").unwrap_or_default()
            )
        })
        .collect();
    page.items("Topology Spread Constraints", space, &lines);
}

/// Tolerations by key.
pub fn tolerations(title: &str, tolerations: &[Value], page: &mut Page) {
    let mut tolerations: Vec<&Value> = tolerations.iter().collect();
    tolerations.sort_by_key(|t| t.text("key"));
    let lines: Vec<String> = tolerations.iter().map(|t| toleration(t)).collect();
    page.items(title, "", &lines);
}

fn toleration(toleration: &Value) -> String {
    let (key, value, effect) = (
        toleration.text("key"),
        toleration.text("value"),
        toleration.text("effect"),
    );
    let mut out = key.to_string();
    if !value.is_empty() {
        out.push_str(&format!("={value}"));
    }
    if !effect.is_empty() {
        out.push_str(&format!(":{effect}"));
    }
    if toleration.text("operator") == "Exists" && value.is_empty() {
        let space = if key.is_empty() && effect.is_empty() {
            ""
        } else {
            " "
        };
        out.push_str(&format!("{space}op=Exists"));
    }
    if let Some(seconds) = toleration.int("tolerationSeconds") {
        out.push_str(&format!(" for {seconds}s"));
    }
    out
}

/// The group the pod is scheduled with.
pub fn group(spec: &Value, space: &str, page: &mut Page) {
    if spec.has("schedulingGroup") {
        page.line(0, format!("{space}SchedulingGroup:"));
        let name = shown(spec.at("schedulingGroup.podGroupName"));
        page.field(1, "PodGroupName", name);
    }
}
