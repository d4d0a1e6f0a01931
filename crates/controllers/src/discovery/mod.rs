//! Which pods stand behind a Service: EndpointSlices, and the older Endpoints of the same content.

pub(crate) mod backends;
pub(crate) mod endpoints;
pub(crate) mod slices;

use std::collections::BTreeMap;

use client::informer::Store;
use client::{Change, Key};
use k8s_openapi::api::core::v1::{Pod, Service};

/// Does the Service's selector choose these labels? A Service without selector chooses nothing: its
/// endpoints are someone else's business.
fn chooses(service: &Service, labels: Option<&BTreeMap<String, String>>) -> bool {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

/// The Services whose endpoints a pod's change may concern.
fn services_of(change: &Change<Pod>, services: &Store<Service>) -> Vec<Key> {
    let now = change.object();
    let namespace = now.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(old) = change.old()
        && backends::same(old, now)
    {
        return Vec::new();
    }
    let before = change.old().map(|old| &old.metadata);
    services
        .list_in(namespace)
        .iter()
        .filter(|service| {
            chooses(service, now.metadata.labels.as_ref())
                || before.is_some_and(|meta| chooses(service, meta.labels.as_ref()))
        })
        .map(|service| Key::of(&**service))
        .collect()
}

/// The Service's own labels as its endpoints carry them, with the label of headless ones.
fn inherited_labels(service: &Service, reserved: &[&str]) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<_, _> = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|name, _| !reserved.contains(&name.as_str()));
    if backends::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels
}

const HEADLESS: &str = "service.kubernetes.io/headless";
