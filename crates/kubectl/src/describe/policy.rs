//! Priorities and disruption.

use api::object::Object;

use super::{
    Layout,
    page::{Row, selector, shown},
};

/// How PodDisruptionBudgets are described.
pub const BUDGET: Layout = Layout::new(
    "policy/v1",
    "PodDisruptionBudget",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Field("Namespace", "metadata.namespace"),
        Row::Part(|budget, page| {
            for (title, field) in [
                ("Min available", "spec.minAvailable"),
                ("Max unavailable", "spec.maxUnavailable"),
            ] {
                if budget.has(field) {
                    page.field(0, title, shown(budget.at(field)));
                    break;
                }
            }
            let text = match budget.at("spec.selector") {
                none if none.is_null() => "<unset>".into(),
                labels => selector(labels),
            };
            page.field(0, "Selector", text);
        }),
        Row::Words("Status:\n"),
        Row::Or("    Allowed disruptions", "status.disruptionsAllowed", "0"),
        Row::Or("    Current", "status.currentHealthy", "0"),
        Row::Or("    Desired", "status.desiredHealthy", "0"),
        Row::Or("    Total", "status.expectedPods", "0"),
    ],
);

/// How PriorityClasses are described.
pub const PRIORITY_CLASS: Layout = Layout::new(
    "scheduling.k8s.io/v1",
    "PriorityClass",
    &[
        Row::Field("Name", "metadata.name"),
        Row::Or("Value", "value", "0"),
        Row::Or("GlobalDefault", "globalDefault", "false"),
        Row::Field("PreemptionPolicy", "preemptionPolicy"),
        Row::Field("Description", "description"),
        Row::Pairs("Annotations", "metadata.annotations"),
    ],
);
