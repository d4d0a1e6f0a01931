//! Which slices to create, change and delete so that together they hold given endpoints, with as few
//! writes as that takes. Pure; used for the slices of Services with a selector and for mirrored ones.
//!
//! Endpoints with the same address type and ports share slices of up to a limit. An endpoint stays in
//! the slice it is in. New ones go into slices that are written anyway, then into the fullest slice
//! that takes all that are left, then into new slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::backends::Port;
use crate::write;

/// One write.
#[derive(Debug)]
pub(crate) enum Action {
    Create(Box<EndpointSlice>),
    Update(Arc<EndpointSlice>, Value),
    Delete(Arc<EndpointSlice>),
}

/// Address type and ports: what the endpoints of one slice have in common.
pub(crate) type Group = (&'static str, Vec<Port>);

/// What all slices of one maker for one object have in common.
pub(crate) struct Binding {
    /// Service or Endpoints.
    pub owner: OwnerReference,
    pub namespace: Option<String>,
    /// New slices are called after it.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Those the slices should have; none leaves theirs alone.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Endpoints per slice.
    pub limit: usize,
    /// A group without endpoints keeps one empty slice, so that watchers can tell "none" from "not
    /// yet".
    pub keep_empty: bool,
}

struct Page {
    slice: Option<Arc<EndpointSlice>>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Plans the writes: creates and updates first, so that no endpoint is missing in between.
pub(crate) fn pack(
    binding: &Binding,
    existing: &[Arc<EndpointSlice>],
    wanted: BTreeMap<Group, Vec<Endpoint>>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut groups: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        match group_of(slice).filter(|group| wanted.contains_key(group)) {
            Some(group) => groups.entry(group).or_default().push(slice.clone()),
            None => actions.push(Action::Delete(slice.clone())),
        }
    }
    for (group, endpoints) in wanted {
        let slices = groups.remove(&group).unwrap_or_default();
        let pages = fill(slices, endpoints, binding.limit);
        let empty = pages.iter().all(|page| page.endpoints.is_empty());
        for (at, page) in pages.into_iter().enumerate() {
            let sign = binding.keep_empty && empty && at == 0;
            let needless = page.endpoints.is_empty() && !sign;
            actions.extend(match page.slice {
                Some(slice) if needless => Some(Action::Delete(slice)),
                None if needless => None,
                Some(slice) => {
                    let changed = page.changed.then_some(page.endpoints);
                    update(&slice, changed, binding).map(|patch| Action::Update(slice, patch))
                }
                None => Some(Action::Create(Box::new(new_slice(
                    binding,
                    &group,
                    page.endpoints,
                )))),
            });
        }
    }
    let mut actions = reuse(binding, actions);
    actions.sort_by_key(|action| matches!(action, Action::Delete(_)));
    actions
}

/// Fills slices that would go with what new ones would hold: one write for two, and nobody sees the
/// old and the new side by side, as when the empty slice of a Service without pods gets its first.
fn reuse(binding: &Binding, actions: Vec<Action>) -> Vec<Action> {
    let (mut going, mut rest): (Vec<_>, Vec<_>) = actions
        .into_iter()
        .partition(|action| matches!(action, Action::Delete(_)));
    for action in &mut rest {
        let Action::Create(new) = action else {
            continue;
        };
        let found = going.iter().position(
            |action| matches!(action, Action::Delete(old) if old.address_type == new.address_type),
        );
        if let Some(at) = found
            && let Action::Delete(old) = going.swap_remove(at)
        {
            let mut patch = update(&old, new.endpoints.take(), binding).unwrap_or_default();
            patch["ports"] = write::json_of(&new.ports);
            *action = Action::Update(old, patch);
        }
    }
    rest.append(&mut going);
    rest
}

fn group_of(slice: &EndpointSlice) -> Option<Group> {
    let family = match slice.address_type.as_str() {
        "IPv4" => "IPv4",
        "IPv6" => "IPv6",
        _ => return None,
    };
    let mut ports: Vec<_> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| Port {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: port.port.unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    Some((family, ports))
}

/// Spreads the endpoints of one group over its slices and new ones.
fn fill(slices: Vec<Arc<EndpointSlice>>, endpoints: Vec<Endpoint>, limit: usize) -> Vec<Page> {
    let identity = |endpoint: &Endpoint| {
        let uid = endpoint
            .target_ref
            .as_ref()
            .and_then(|target| target.uid.clone());
        (uid, endpoint.addresses.clone())
    };
    let mut missing: BTreeMap<_, _> = endpoints
        .into_iter()
        .map(|endpoint| (identity(&endpoint), endpoint))
        .collect();
    let mut pages = Vec::new();
    for slice in slices {
        let held = slice.endpoints.clone().unwrap_or_default();
        let kept: Vec<_> = held
            .iter()
            .filter_map(|endpoint| missing.remove(&identity(endpoint)))
            .collect();
        let changed = kept != held;
        pages.push(Page {
            slice: Some(slice),
            endpoints: kept,
            changed,
        });
    }
    let mut rest: Vec<_> = missing.into_values().collect();
    let place = |page: &mut Page, rest: &mut Vec<Endpoint>| {
        let room = limit.saturating_sub(page.endpoints.len());
        page.endpoints.extend(rest.drain(..room.min(rest.len())));
        page.changed = true;
    };
    for page in pages.iter_mut().filter(|page| page.changed) {
        if !rest.is_empty() {
            place(page, &mut rest);
        }
    }
    if !rest.is_empty() {
        let roomy = pages
            .iter_mut()
            .filter(|page| !page.changed && page.endpoints.len() + rest.len() <= limit)
            .max_by_key(|page| page.endpoints.len());
        if let Some(page) = roomy {
            place(page, &mut rest);
        }
    }
    while !rest.is_empty() || pages.is_empty() {
        let mut page = Page {
            slice: None,
            endpoints: Vec::new(),
            changed: true,
        };
        place(&mut page, &mut rest);
        pages.push(page);
    }
    pages
}

fn update(
    slice: &EndpointSlice,
    endpoints: Option<Vec<Endpoint>>,
    binding: &Binding,
) -> Option<Value> {
    let mut patch = json!({});
    if let Some(endpoints) = endpoints {
        patch["endpoints"] = write::json_of(&endpoints);
    }
    let meta = |held: &Option<BTreeMap<String, String>>, wanted: &BTreeMap<String, String>| {
        let held = write::json_of(held.as_ref().unwrap_or(&BTreeMap::new()));
        write::difference(&held, &write::json_of(wanted))
    };
    if let Some(change) = meta(&slice.metadata.labels, &binding.labels) {
        patch["metadata"]["labels"] = change;
    }
    if let Some(wanted) = &binding.annotations
        && let Some(change) = meta(&slice.metadata.annotations, wanted)
    {
        patch["metadata"]["annotations"] = change;
    }
    (patch != json!({})).then_some(patch)
}

fn new_slice(
    binding: &Binding,
    (family, ports): &Group,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let ports: Vec<_> = ports
        .iter()
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", binding.name)),
            namespace: binding.namespace.clone(),
            labels: Some(binding.labels.clone()),
            annotations: binding.annotations.clone().filter(|all| !all.is_empty()),
            owner_references: Some(vec![binding.owner.clone()]),
            ..ObjectMeta::default()
        },
        address_type: (*family).to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports),
    }
}
