//! Which pods stand behind a Service: EndpointSlices, and the older Endpoints of the same content.

pub(crate) mod backends;
pub(crate) mod endpoints;
mod hints;
pub(crate) mod mirroring;
mod packing;
pub(crate) mod slices;
mod topology;
pub(crate) mod trigger;

use std::collections::BTreeMap;

use client::informer::Store;
use client::{Change, Key};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;

use self::packing::Action;
use crate::error::{Error, On};
use crate::expectations::Expectations;
use crate::write;

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The name of the Service whose slice this is, if this manager made it.
fn slice_label<'a>(slice: &'a EndpointSlice, manager: &str) -> Option<&'a str> {
    let labels = slice.metadata.labels.as_ref()?;
    let ours = labels.get(MANAGED_BY).is_some_and(|by| by == manager);
    labels
        .get(SERVICE_LABEL)
        .filter(|_| ours)
        .map(String::as_str)
}

/// The Services a change of a slice concerns. A slice that was changed by someone else is put right;
/// so the labels before and now count.
fn services_of_slice(change: &Change<EndpointSlice>, manager: &str) -> Vec<Key> {
    let of = |slice: &EndpointSlice| {
        let name = slice_label(slice, manager)?;
        Some(Key::new(slice.metadata.namespace.as_deref()?, name))
    };
    let old = change.old().and_then(|slice| of(slice));
    old.into_iter().chain(of(change.object())).collect()
}

/// Writes the slices of one Service, and expects to see what was written.
struct Slices<'a> {
    api: Api<EndpointSlice>,
    key: &'a Key,
    expectations: &'a Expectations,
    now: Timestamp,
    /// When what the writes tell of began; none leaves what the slices say of that alone.
    trigger: Option<Trigger>,
}

/// The time to note, or that there is none to tell.
type Trigger = Option<Timestamp>;

impl Slices<'_> {
    async fn execute(&self, action: Action) -> Result<(), Error> {
        match action {
            Action::Create(mut slice) => {
                trigger::note(&mut slice.metadata, self.trigger.flatten());
                let created = self.api.create(&PostParams::default(), &slice).await.on(
                    "create",
                    "endpointslice for service",
                    || self.key.clone(),
                )?;
                self.expectations.wrote(self.key, &created, self.now);
            }
            Action::Update(slice, mut patch) => {
                if let Some(at) = self.trigger {
                    trigger::note_in(&mut patch, &slice.metadata, at);
                }
                let written = write::merge(&self.api, &*slice, patch).await?;
                self.expectations.wrote(self.key, &written, self.now);
            }
            Action::Delete(slice) => {
                write::delete(&self.api, &*slice, None, None).await?;
                self.expectations.deleted(self.key, &*slice, self.now);
            }
        }
        Ok(())
    }
}

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
