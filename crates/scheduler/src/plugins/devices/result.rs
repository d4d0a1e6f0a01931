//! What is written into a claim's status when its devices are found.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm},
        resource::v1::{
            AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult,
            DeviceRequestAllocationResult,
        },
    },
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};

use super::{
    allocate::Chosen,
    request::{Ask, Unmet},
};
use crate::cache::NodeInfo;

/// The result for one claim. Whoever writes it gives each share that has an empty name its own.
pub fn write(unmet: &Unmet<'_>, chosen: &[Chosen<'_>], node: &NodeInfo) -> AllocationResult {
    let results = chosen.iter().map(|one| device(unmet, one)).collect();
    let config = configuration(unmet, chosen);
    AllocationResult {
        allocation_timestamp: None,
        devices: Some(DeviceAllocationResult {
            config: Some(config).filter(|c| !c.is_empty()),
            results: Some(results),
        }),
        node_selector: node_selector(chosen, node),
    }
}

fn device(unmet: &Unmet<'_>, chosen: &Chosen<'_>) -> DeviceRequestAllocationResult {
    let (request, alternative) = chosen.request;
    let ask = &unmet.requests[request].asks[alternative];
    let id = &chosen.found.device.id;
    let published = chosen.found.slice.published(chosen.found.device);
    let amounts = chosen.amounts.as_ref().filter(|a| !a.is_empty());
    DeviceRequestAllocationResult {
        admin_access: ask.is_admin().then_some(true),
        binding_conditions: published.and_then(|d| d.binding_conditions.clone()),
        binding_failure_conditions: published.and_then(|d| d.binding_failure_conditions.clone()),
        consumed_capacity: amounts.map(|amounts| {
            let texts = amounts
                .iter()
                .map(|(name, amount)| (name.to_string(), ApiQuantity(amount.to_string())));
            texts.collect::<BTreeMap<_, _>>()
        }),
        device: id.device.to_string(),
        driver: id.pool.driver.to_string(),
        pool: id.pool.pool.to_string(),
        request: ask.name.to_string(),
        share_id: chosen.amounts.is_some().then(String::new),
        tolerations: ask.tolerations.cloned(),
    }
}

/// Each class's configurations once, for all requests of that class; then the claim's own, as far
/// as they are about what was chosen.
fn configuration(unmet: &Unmet<'_>, chosen: &[Chosen<'_>]) -> Vec<DeviceAllocationConfiguration> {
    let met: Vec<&Ask<'_>> = unmet
        .requests
        .iter()
        .enumerate()
        .filter_map(|(r, request)| {
            let mut taken = chosen.iter().filter(|c| c.request.0 == r);
            let alternative = taken.next().map_or(0, |c| c.request.1);
            request.asks.get(alternative)
        })
        .collect();
    let mut out: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut classes: Vec<(&str, std::ops::Range<usize>)> = Vec::new();
    for ask in &met {
        let name = ask.class.metadata.name.as_deref().unwrap_or_default();
        if let Some((_, range)) = classes.iter().find(|(known, _)| *known == name) {
            for config in &mut out[range.clone()] {
                config
                    .requests
                    .get_or_insert_default()
                    .push(ask.name.to_string());
            }
            continue;
        }
        let from = out.len();
        let configs = ask.class.spec.config.iter().flatten();
        out.extend(configs.map(|config| DeviceAllocationConfiguration {
            opaque: config.opaque.clone(),
            requests: Some(vec![ask.name.to_string()]),
            source: "FromClass".to_owned(),
        }));
        classes.push((name, from..out.len()));
    }
    let own = unmet.claim.spec.devices.as_ref();
    for config in own.and_then(|d| d.config.as_ref()).into_iter().flatten() {
        let names = config.requests.as_deref().unwrap_or_default();
        let about = |ask: &&&Ask<'_>| names.iter().any(|n| *n == *ask.base || **n == *ask.name);
        let times = match names.is_empty() {
            true => 1,
            false => met.iter().filter(about).count(),
        };
        let config = DeviceAllocationConfiguration {
            opaque: config.opaque.clone(),
            requests: config.requests.clone(),
            source: "FromClaim".to_owned(),
        };
        out.extend(std::iter::repeat_n(config, times));
    }
    out
}

/// From where the devices can be used; none where they can from everywhere.
fn node_selector(chosen: &[Chosen<'_>], node: &NodeInfo) -> Option<NodeSelector> {
    let mut term = NodeSelectorTerm::default();
    for one in chosen {
        let (slice, device) = (one.found.slice, one.found.device);
        let published = slice.published(device)?;
        let (name, selector) = match slice.per_device() {
            true => (&published.node_name, &published.node_selector),
            false => (&slice.spec().node_name, &slice.spec().node_selector),
        };
        if name.is_some() || published.binds_to_node == Some(true) {
            return Some(only(node));
        }
        let terms = selector.iter().flat_map(|s| &s.node_selector_terms);
        for own in terms.take(1) {
            add(&mut term.match_fields, &own.match_fields);
            add(&mut term.match_expressions, &own.match_expressions);
        }
    }
    let any = term.match_fields.is_some() || term.match_expressions.is_some();
    any.then(|| NodeSelector {
        node_selector_terms: vec![term],
    })
}

fn only(node: &NodeInfo) -> NodeSelector {
    let name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.name.to_string()]),
    };
    let term = NodeSelectorTerm {
        match_fields: Some(vec![name]),
        match_expressions: None,
    };
    NodeSelector {
        node_selector_terms: vec![term],
    }
}

type Requirements = Option<Vec<NodeSelectorRequirement>>;

fn add(to: &mut Requirements, from: &Requirements) {
    for requirement in from.iter().flatten() {
        let to = to.get_or_insert_default();
        let known = to.iter().any(|own| {
            let sorted = |r: &NodeSelectorRequirement| {
                let mut values = r.values.clone().unwrap_or_default();
                values.sort();
                values.dedup();
                values
            };
            own.key == requirement.key
                && own.operator == requirement.operator
                && sorted(own) == sorted(requirement)
        });
        if !known {
            to.push(requirement.clone());
        }
    }
}
