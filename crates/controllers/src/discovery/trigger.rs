//! When what endpoints tell of began: noted beside them, so that whoever programs a network by them
//! can tell how long that took.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The annotation with that time.
pub(crate) const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What was seen of one Service.
#[derive(Debug, Default)]
struct Seen {
    service: Option<Timestamp>,
    /// Of each pod, since when it is as ready as it is.
    pods: HashMap<String, Timestamp>,
}

/// What was seen of all Services that are there.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    seen: Mutex<HashMap<Key, Seen>>,
}

impl Triggers {
    /// The first of the changes since the last look; at the first look the Service's own beginning.
    /// To be asked at each look, also if nothing is written.
    pub fn look(&self, key: &Key, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0);
        let now: HashMap<String, Timestamp> = pods
            .iter()
            .filter_map(|pod| Some((pod.metadata.name.clone()?, readiness_changed(pod)?)))
            .collect();
        let mut all = self.seen.lock();
        let Some(seen) = all.get_mut(key) else {
            let seen = Seen {
                service: created,
                pods: now,
            };
            all.insert(key.clone(), seen);
            return created;
        };
        let changed = now
            .iter()
            .filter(|(name, at)| seen.pods.get(*name).is_none_or(|before| *at > before))
            .map(|(_, at)| *at);
        let first = changed
            .chain(created.filter(|at| Some(*at) > seen.service))
            .min();
        (seen.service, seen.pods) = (created, now);
        first
    }

    /// The Service is gone.
    pub fn forget(&self, key: &Key) {
        self.seen.lock().remove(key);
    }
}

fn readiness_changed(pod: &Pod) -> Option<Timestamp> {
    let ready = crate::pods::condition(pod, "Ready")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Notes the time in new metadata.
pub(crate) fn note(meta: &mut ObjectMeta, at: Option<Timestamp>) {
    if let Some(at) = at {
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION.to_owned(), api::clock::rfc3339(at));
    }
}

/// Adds the note to a patch of what has this metadata; without a time one from before goes.
pub(crate) fn note_in(patch: &mut Value, held: &ObjectMeta, at: Option<Timestamp>) {
    let is_noted = |annotations: &BTreeMap<_, _>| annotations.contains_key(ANNOTATION);
    if at.is_some() || held.annotations.as_ref().is_some_and(is_noted) {
        let text = at.map(api::clock::rfc3339);
        patch["metadata"]["annotations"][ANNOTATION] = json!(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;

    #[test]
    fn the_first_change_since_the_last_look() {
        let triggers = Triggers::default();
        let key = Key::new("ns", "web");
        let made = |second: i64| -> Service {
            let at = api::clock::rfc3339(Timestamp::from_second(second).unwrap());
            serde_json::from_value(json!({"metadata": {"name": "web", "creationTimestamp": at}}))
                .unwrap()
        };
        let look = |service: &Service, pods: &[Arc<Pod>]| {
            let at = triggers.look(&key, service, pods);
            at.map(Timestamp::as_second)
        };
        let (a, b) = (
            ["a Running ready=50"],
            ["a Running ready=50", "b Running ready=70"],
        );
        assert_eq!(look(&made(10), &pods(a)), Some(10), "first seen");
        assert_eq!(look(&made(10), &pods(a)), None, "nothing changed");
        assert_eq!(look(&made(10), &pods(b)), Some(70), "one more");
        let both = ["a Running ready=90", "b Running ready=80"];
        assert_eq!(look(&made(10), &pods(both)), Some(80), "the first of two");
        assert_eq!(look(&made(10), &pods(a)), None, "one that goes has no time");
        assert_eq!(look(&made(99), &pods(a)), Some(99), "made anew");
        triggers.forget(&key);
        assert_eq!(look(&made(99), &pods(a)), Some(99));
    }
}
