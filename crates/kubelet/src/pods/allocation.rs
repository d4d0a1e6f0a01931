//! What the node has granted to a pod whose resources the API changed while it runs (KEP-1287).
//!
//! The manager asks here with every new version of a pod. A change that fits is granted and goes
//! to the worker as the pod's spec; one that does not is held back, so that everything else on the
//! node goes on with what the pod had, and is asked about again when there is more room. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Node, Pod, ResourceRequirements};
use serde_json::json;

use super::{admission, resources, view::PodView};

/// Condition of a pod whose new resources the node does not grant yet.
pub const PENDING: &str = "PodResizePending";
/// Its reason: there is no room now.
pub const DEFERRED: &str = "Deferred";
/// Condition of a pod whose granted resources its containers do not all have yet.
pub const IN_PROGRESS: &str = "PodResizeInProgress";

/// Why a change is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Sentence.
    pub message: String,
    /// The pod's generation that is held back.
    pub generation: Option<i64>,
}

/// What became of a new version of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its resources are what they were.
    Same,
    /// New ones are granted.
    Granted,
    /// New ones are held back for a reason not told before.
    Held,
}

/// Takes in the version `new` of a pod that the worker knows as `old`.
pub fn take_in(
    old: &PodView,
    new: Arc<Pod>,
    others: &[PodView],
    node: Option<&Node>,
) -> (PodView, Outcome) {
    let wanted = PodView::new(new.clone()).granted_at(old.granted_generation());
    if wanted.is_terminal() || !resized(old, &wanted) {
        return (wanted, Outcome::Same);
    }
    let short = node.and_then(|node| admission::shortage(&wanted, others, node));
    let Some(message) = short else {
        let generation = wanted.generation();
        return (wanted.granted_at(generation), Outcome::Granted);
    };
    let held = Held {
        message,
        generation: wanted.generation(),
    };
    let told = old
        .held()
        .is_some_and(|before| before.generation == held.generation);
    let pod = with_resources(&new, |name| {
        old.container(name).map(|(c, _)| c.resources.clone())
    });
    let view = PodView::new(pod)
        .granted_at(old.granted_generation())
        .held_back(held);
    (view, if told { Outcome::Same } else { Outcome::Held })
}

/// A pod as an earlier kubelet left it: where that held a change back, the status says what the
/// containers were granted.
pub fn remembered(pod: Arc<Pod>) -> PodView {
    let view = PodView::new(pod.clone());
    let conditions = view.status().conditions.iter().flatten();
    if !conditions.into_iter().any(|c| c.type_ == PENDING) {
        return view;
    }
    let statuses = view
        .status()
        .init_container_statuses
        .iter()
        .chain(&view.status().container_statuses)
        .flatten();
    let statuses: Vec<_> = statuses.collect();
    PodView::new(with_resources(&pod, |name| {
        let status = statuses.iter().find(|s| s.name == name)?;
        let shown = status.resources.as_ref()?;
        Some(Some(ResourceRequirements {
            requests: status.allocated_resources.clone(),
            ..shown.clone()
        }))
    }))
}

/// Whether a container's resources differ between two versions.
fn resized(old: &PodView, new: &PodView) -> bool {
    new.containers()
        .iter()
        .chain(new.init_containers())
        .any(|container| {
            old.container(&container.name).is_some_and(|(before, _)| {
                !changed(before.resources.as_ref(), container).is_empty()
            })
        })
}

/// The resources (CPU, memory) that a container asks for otherwise than in `given`.
pub fn changed(given: Option<&ResourceRequirements>, container: &Container) -> Vec<&'static str> {
    let none = ResourceRequirements::default();
    let given = given.unwrap_or(&none);
    let wanted = container.resources.as_ref().unwrap_or(&none);
    let of = |requirements: &ResourceRequirements, name: &str| {
        let get = |list: &Option<resources::List>| {
            list.as_ref().and_then(|l| l.get(name)).map(resources::nano)
        };
        (get(&requirements.requests), get(&requirements.limits))
    };
    ["cpu", "memory"]
        .into_iter()
        .filter(|name| of(given, name) != of(wanted, name))
        .collect()
}

/// The pod with other resources in the containers that `given` knows.
fn with_resources(
    pod: &Arc<Pod>,
    given: impl Fn(&str) -> Option<Option<ResourceRequirements>>,
) -> Arc<Pod> {
    let mut pod = Pod::clone(pod);
    if let Some(spec) = &mut pod.spec {
        let containers = spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten());
        for container in containers {
            if let Some(resources) = given(&container.name) {
                container.resources = resources;
            }
        }
    }
    Arc::new(pod)
}

/// What the events of a resize tell about the pod, as upstream writes it.
pub fn summary(pod: &PodView, generation: Option<i64>, error: &str) -> String {
    let list = |containers: &[Container]| -> Vec<_> {
        containers
            .iter()
            .map(|c| json!({"name": c.name, "resources": c.resources.clone().unwrap_or_default()}))
            .collect()
    };
    let sidecars: Vec<Container> = pod
        .init_containers()
        .iter()
        .filter(|c| resources::is_sidecar(c))
        .cloned()
        .collect();
    let mut summary = json!({
        "containers": list(pod.containers()),
        "generation": generation.unwrap_or_default(),
    });
    if !sidecars.is_empty() {
        summary["initContainers"] = list(&sidecars).into();
    }
    if !error.is_empty() {
        summary["error"] = error.into();
    }
    summary.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pod(name: &str, generation: i64, cpu: &str, status: Value) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": generation},
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]},
            "status": status,
        });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    fn cpu(pod: &PodView) -> String {
        let resources = pod.containers()[0].resources.clone().unwrap_or_default();
        resources.requests.unwrap_or_default()["cpu"].0.clone()
    }

    #[test]
    fn changes_that_do_not_fit_are_held_back_until_they_do() {
        let node = json!({"status": {"allocatable": {"cpu": "2", "pods": "10"}}});
        let node: Node = serde_json::from_value(node).expect("a node");
        let first = PodView::new(pod("p", 1, "1", json!({})));
        let other = [PodView::new(pod("o", 1, "500m", json!({})))];

        let (same, outcome) = take_in(&first, pod("p", 1, "1000m", json!({})), &other, Some(&node));
        assert_eq!(outcome, Outcome::Same);
        assert_eq!(same.granted_generation(), None);

        let wanted = pod("p", 2, "1800m", json!({}));
        let (held, outcome) = take_in(&same, wanted.clone(), &other, Some(&node));
        assert_eq!((outcome, cpu(&held).as_str()), (Outcome::Held, "1000m"));
        assert_eq!(held.generation(), Some(2));
        let why = held.held().expect("held back");
        assert_eq!(why.generation, Some(2));
        assert_eq!(
            why.message,
            "Node didn't have enough resource: cpu, requested: 1800, used: 500, capacity: 2000"
        );
        let (again, outcome) = take_in(&held, wanted.clone(), &other, Some(&node));
        assert_eq!(outcome, Outcome::Same);
        assert!(again.held().is_some());

        let (granted, outcome) = take_in(&again, wanted, &[], Some(&node));
        assert_eq!(
            (outcome, cpu(&granted).as_str()),
            (Outcome::Granted, "1800m")
        );
        assert_eq!(granted.held(), None);
        assert_eq!(granted.granted_generation(), Some(2));
        // It stays known while other things change.
        let (later, outcome) = take_in(&granted, pod("p", 3, "1800m", json!({})), &[], Some(&node));
        assert_eq!(
            (outcome, later.granted_generation()),
            (Outcome::Same, Some(2))
        );
        // Going back to less always fits.
        let (back, outcome) = take_in(&later, pod("p", 4, "1", json!({})), &other, Some(&node));
        assert_eq!((outcome, cpu(&back).as_str()), (Outcome::Granted, "1"));
    }

    #[test]
    fn a_later_kubelet_knows_what_was_granted() {
        let shown = |conditions: Value| {
            json!({
                "conditions": conditions,
                "containerStatuses": [{
                    "name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}},
                }],
            })
        };
        let pending = json!([{"type": PENDING, "status": "True", "reason": "Deferred"}]);
        assert_eq!(cpu(&remembered(pod("p", 2, "2", shown(pending)))), "1");
        assert_eq!(cpu(&remembered(pod("p", 2, "2", shown(json!([]))))), "2");
    }

    #[test]
    fn summaries_read_as_upstream_writes_them() {
        let view = PodView::new(pod("p", 2, "2", json!({})));
        assert_eq!(
            summary(&view, Some(2), ""),
            r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"2"}}}],"generation":2}"#
        );
    }
}
