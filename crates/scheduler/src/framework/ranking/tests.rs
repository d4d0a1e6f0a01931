//! A ranking that was repaired is the ranking that would be made anew, whatever happened.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{PodFilters, Ranking, Rankings};
use crate::{
    cache::{Cache, PodInfo},
    framework::{diagnosis::Diagnosis, profile::Profile},
};

const KINDS: usize = 7;

/// Pods of different kinds, all of which look at others of their namespace.
fn pod(kind: usize, number: usize) -> Arc<Pod> {
    let term =
        |key: &str| json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}});
    let spread = |action: &str, key: &str| {
        json!([{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": action,
                "labelSelector": {"matchLabels": {"app": "web"}}}])
    };
    let mut spec: Value = match kind {
        1 => json!({"topologySpreadConstraints": spread("DoNotSchedule", "zone")}),
        2 => {
            json!({"topologySpreadConstraints": spread("ScheduleAnyway", "kubernetes.io/hostname")})
        }
        3 => {
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("kubernetes.io/hostname")]}}})
        }
        4 => json!({"affinity": {"podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": term("zone")}]}}}),
        5 => {
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("zone")]}}})
        }
        6 => json!({"priority": 10, "affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 3, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z1"]}]}}]}}}),
        _ => json!({}),
    };
    spec["containers"] =
        json!([{"name": "c", "resources": {"requests": {"cpu": "300m", "memory": "100Mi"}}}]);
    let app = if kind == 0 { "other" } else { "web" };
    let name = format!("{kind}-{number}");
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": app}}, "spec": spec,
        }))
        .unwrap(),
    )
}

fn node(number: usize, variant: usize) -> Arc<Node> {
    let mut labels = json!({"kubernetes.io/hostname": format!("n{number}")});
    if variant != 3 {
        labels["zone"] = json!(format!("z{}", (number + variant) % 3));
    }
    let taints = match variant {
        2 => json!([{"key": "k", "effect": "NoSchedule"}]),
        1 => json!([{"key": "k", "effect": "PreferNoSchedule"}]),
        _ => json!([]),
    };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("n{number}"), "labels": labels},
            "spec": {"taints": taints},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
        }))
        .unwrap(),
    )
}

#[derive(Clone, Debug)]
enum Step {
    Place {
        kind: usize,
        pod: usize,
        node: usize,
    },
    Remove {
        kind: usize,
        pod: usize,
    },
    Node {
        node: usize,
        variant: usize,
    },
    NodeGone {
        node: usize,
    },
    Nominate {
        kind: usize,
        node: usize,
    },
    Compare,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..KINDS, 0..6usize, 0..5usize).prop_map(|(kind, pod, node)| Step::Place { kind, pod, node }),
        2 => (0..KINDS, 0..6usize).prop_map(|(kind, pod)| Step::Remove { kind, pod }),
        2 => (0..5usize, 0..4usize).prop_map(|(node, variant)| Step::Node { node, variant }),
        1 => (0..5usize).prop_map(|node| Step::NodeGone { node }),
        1 => (0..KINDS, 0..5usize).prop_map(|(kind, node)| Step::Nominate { kind, node }),
        3 => Just(Step::Compare),
    ];
    prop::collection::vec(step, 1..60)
}

type Answer = Result<Vec<(String, i64)>, (String, usize)>;

fn answer(ranking: &mut Ranking, profile: &Profile, cache: &Cache, pod: &PodInfo) -> Answer {
    let filters = PodFilters::begin(profile, pod, cache).ok().unwrap();
    let named = |found: Vec<(u32, i64)>| {
        let mut all: Vec<(String, i64)> = found
            .into_iter()
            .map(|(slot, score)| (cache.at(slot).name.to_string(), score))
            .collect();
        all.sort();
        all
    };
    let why = |d: Box<Diagnosis>| (d.message(), d.preemptable);
    ranking.scored(cache, &filters).map(named).map_err(why)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn repaired_is_as_made_anew(steps in steps()) {
        let profile = Profile::default_profile();
        let mut cache = Cache::default();
        let mut rankings = Rankings::default();
        for number in 0..4 {
            cache.apply_node(node(number, 0));
        }
        for step in steps.into_iter().chain([Step::Compare]) {
            match step {
                Step::Place { kind, pod: number, node } => {
                    let info = cache.info(pod(kind, number));
                    cache.place_pod(info, &format!("n{node}"));
                }
                Step::Remove { kind, pod } => drop(cache.remove_pod(&format!("{kind}-{pod}"))),
                Step::Node { node: number, variant } => cache.apply_node(node(number, variant)),
                Step::NodeGone { node } => cache.remove_node(&format!("n{node}")),
                Step::Nominate { kind, node } => {
                    let info = cache.info(pod(kind, 99));
                    cache.nominate(info, &format!("n{node}"));
                }
                Step::Compare => {
                    for kind in 0..KINDS {
                        let info = cache.info(pod(kind, 50));
                        let mut kept = rankings.take(&profile, &info.class, &cache);
                        let mut fresh = Ranking::new(&profile, &info.class, &cache);
                        prop_assert_eq!(
                            answer(&mut kept, &profile, &cache, &info),
                            answer(&mut fresh, &profile, &cache, &info),
                            "kind {}", kind
                        );
                        rankings.put(kept);
                    }
                }
            }
        }
    }
}
