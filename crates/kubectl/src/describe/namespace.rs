//! Namespaces, and what bounds those in them: ResourceQuotas and LimitRanges.

use std::collections::BTreeSet;

use api::{object::Object, quantity::Quantity};
use serde_json::Value;

use super::{
    Ask, Events, Layout,
    networking::CONDITIONS,
    page::{Page, Row, quantity},
};

const BOUNDS_HEAD: &str =
    "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio";
const BOUNDS_UNDER: &str =
    "----\t--------\t---\t---\t---------------\t-------------\t-----------------------";

/// How Namespaces are described.
pub const NAMESPACE: Layout = Layout {
    events: Events::None,
    asks: |namespace| {
        let place = format!("/api/v1/namespaces/{}", namespace.text("metadata.name"));
        vec![
            Ask::new("quotas", format!("{place}/resourcequotas")).tolerated(404),
            Ask::new("bounds", format!("{place}/limitranges")).tolerated(404),
        ]
    },
    ..Layout::new(
        "v1",
        "Namespace",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Labels("Labels", "metadata.labels"),
            Row::Annotations,
            Row::Field("Status", "status.phase"),
            Row::Table(&CONDITIONS),
            Row::Part(quotas),
            Row::Part(all_bounds),
        ],
    )
};

fn quotas(_: &Value, page: &mut Page) {
    if page.answers.error("quotas").is_some() {
        return;
    }
    page.line(0, "");
    let mut quotas = page.answers.items("quotas").to_vec();
    if quotas.is_empty() {
        page.line(0, "No resource quota.");
        return;
    }
    quotas.sort_by(|a, b| a.text("metadata.name").cmp(b.text("metadata.name")));
    page.line(0, "Resource Quotas");
    for quota in &quotas {
        page.field(1, "Name", quota.text("metadata.name"));
        scopes(quota, 1, "* ", page);
        page.line(1, "Resource\tUsed\tHard\n  --------\t---\t---");
        for (name, hard) in quota.pairs("status.hard") {
            let used = Quantity::of(&quota.at("status.used")[name]);
            page.line(1, format!("{name}\t{used}\t{}", quantity(hard)));
        }
    }
}

fn scopes(quota: &Value, level: usize, mark: &str, page: &mut Page) {
    let mut scopes: Vec<&str> = quota.texts("spec.scopes").collect();
    if scopes.is_empty() {
        return;
    }
    scopes.sort_unstable();
    page.field(level, "Scopes", scopes.join(", "));
    for scope in scopes {
        let words = match scope {
            "Terminating" => {
                "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being actively terminated by the system."
            }
            "NotTerminating" => {
                "Matches all pods that do not have an active deadline. These pods usually include long running pods whose container command is not expected to terminate."
            }
            "BestEffort" => {
                "Matches all pods that do not have resource requirements set. These pods have a best effort quality of service."
            }
            "NotBestEffort" => {
                "Matches all pods that have at least one resource requirement set. These pods have a burstable or guaranteed quality of service."
            }
            _ => continue,
        };
        page.line(level, format!("{mark}{words}"));
    }
}

/// How ResourceQuotas are described.
pub const QUOTA: Layout = Layout {
    events: Events::None,
    ..Layout::new(
        "v1",
        "ResourceQuota",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Part(|quota, page| scopes(quota, 0, " * ", page)),
            Row::Words("Resource\tUsed\tHard\n--------\t----\t----\n"),
            Row::Part(|quota, page| {
                for (name, hard) in quota.pairs("status.hard") {
                    let hard = Quantity::of(hard);
                    let mut used = Quantity::of(&quota.at("status.used")[name]);
                    if used.format() != hard.format() {
                        used = Quantity::new(used.value(), hard.format());
                    }
                    page.line(0, format!("{name}\t{used}\t{hard}"));
                }
            }),
        ],
    )
};

fn all_bounds(_: &Value, page: &mut Page) {
    if page.answers.error("bounds").is_some() {
        return;
    }
    page.line(0, "");
    let ranges = page.answers.items("bounds").to_vec();
    if ranges.is_empty() {
        page.line(0, "No LimitRange resource.");
        return;
    }
    page.line(
        0,
        format!("Resource Limits\n {BOUNDS_HEAD}\n {BOUNDS_UNDER}"),
    );
    for range in &ranges {
        bounds(range, " ", page);
    }
}

fn bounds(range: &Value, indent: &str, page: &mut Page) {
    const KINDS: [&str; 5] = [
        "min",
        "max",
        "defaultRequest",
        "default",
        "maxLimitRequestRatio",
    ];
    for limit in range.list("spec.limits") {
        let names: BTreeSet<&str> = KINDS
            .iter()
            .flat_map(|kind| limit.pairs(kind).map(|(name, _)| name))
            .collect();
        for name in names {
            let cells: Vec<String> = KINDS
                .iter()
                .map(|kind| match limit.at(kind).get(name) {
                    Some(amount) => quantity(amount),
                    None => "-".into(),
                })
                .collect();
            page.line(
                0,
                format!(
                    "{indent}{}\t{name}\t{}",
                    limit.text("type"),
                    cells.join("\t")
                ),
            );
        }
    }
}

/// How LimitRanges are described.
pub const LIMIT_RANGE: Layout = Layout {
    events: Events::None,
    ..Layout::new(
        "v1",
        "LimitRange",
        &[
            Row::Field("Name", "metadata.name"),
            Row::Field("Namespace", "metadata.namespace"),
            Row::Part(|range, page| {
                page.line(0, BOUNDS_HEAD);
                page.line(0, BOUNDS_UNDER);
                bounds(range, "", page);
            }),
        ],
    )
};
