//! A ranking that was repaired is the ranking that would be made anew, of a cache made anew, whatever
//! happened.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{PodFilters, Ranking, Rankings};
use crate::{
    cache::{Cache, PodInfo},
    framework::{diagnosis::Diagnosis, profile::Profile},
};

const KINDS: usize = 14;

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
        7 => json!({"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 3,
             "nodeTaintsPolicy": "Honor", "labelSelector": {"matchLabels": {"app": "web"}}},
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
             "nodeAffinityPolicy": "Ignore", "labelSelector": {"matchLabels": {"app": "other"}}}],
            "nodeSelector": {"zone": "z1"}}),
        8 => {
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "namespaceSelector": {"matchLabels": {"team": "x"}},
                 "labelSelector": {"matchLabels": {"app": "web"}}}, term("kubernetes.io/hostname")]}}})
        }
        9 => json!({"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "namespaceSelector": {}, "labelSelector": {"matchLabels": {"app": "other"}}}],
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 9, "podAffinityTerm": term("zone")}]}}}),
        10 => json!({"hostNetwork": true, "hostUsers": false,
            "topologySpreadConstraints": spread("DoNotSchedule", "zone")}),
        11 => json!({"priority": -3, "tolerations": [{"operator": "Exists"}]}),
        12 => {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}}}})
        }
        13 => {
            let mut spread = spread("DoNotSchedule", "zone");
            spread[0]["nodeTaintsPolicy"] = json!("Honor");
            json!({"topologySpreadConstraints": spread})
        }
        _ => json!({}),
    };
    spec["containers"] =
        json!([{"name": "c", "resources": {"requests": {"cpu": "300m", "memory": "100Mi"}}}]);
    if number % 3 == 2 {
        spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 80}]);
    }
    let app = if kind == 0 { "other" } else { "web" };
    let name = format!("{kind}-{number}");
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": app}}, "spec": spec,
        }))
        .unwrap(),
    )
}

/// The same pod, as it has become since.
fn changed(pod: &Arc<Pod>, how: usize) -> Arc<Pod> {
    let mut pod = serde_json::to_value(&**pod).unwrap();
    match how {
        0 => pod["metadata"]["labels"]["app"] = json!("db"),
        1 => pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        _ => {
            pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("100m");
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node(number: usize, variant: usize) -> Arc<Node> {
    let mut labels = json!({"kubernetes.io/hostname": format!("n{number}")});
    if variant != 3 {
        labels["zone"] = json!(format!("z{}", (number + variant) % 3));
    }
    // Cordoned, small, or with features.
    let (cordoned, cpu) = (variant == 4, if variant == 5 { "500m" } else { "2" });
    let features = match variant {
        6 => json!(["UserNamespacesHostNetworkSupport"]),
        _ => Value::Null,
    };
    let taints = match variant {
        2 => json!([{"key": "k", "effect": "NoSchedule"}]),
        1 => json!([{"key": "k", "effect": "PreferNoSchedule"}]),
        _ => json!([]),
    };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("n{number}"), "labels": labels},
            "spec": {"taints": taints, "unschedulable": cordoned},
            "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "10"}, "declaredFeatures": features},
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
    Change {
        kind: usize,
        pod: usize,
        how: usize,
    },
    Withdraw {
        kind: usize,
    },
    Namespace {
        labelled: bool,
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
        2 => (0..5usize, 0..7usize).prop_map(|(node, variant)| Step::Node { node, variant }),
        1 => (0..5usize).prop_map(|node| Step::NodeGone { node }),
        1 => (0..KINDS, 0..5usize).prop_map(|(kind, node)| Step::Nominate { kind, node }),
        1 => (0..KINDS).prop_map(|kind| Step::Withdraw { kind }),
        2 => (0..KINDS, 0..6usize, 0..3usize).prop_map(|(kind, pod, how)| Step::Change { kind, pod, how }),
        1 => any::<bool>().prop_map(|labelled| Step::Namespace { labelled }),
        3 => Just(Step::Compare),
    ];
    prop::collection::vec(step, 1..60)
}

/// What the steps have come to, from which a cache can be made anew.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<usize, usize>,
    placed: BTreeMap<String, (Arc<Pod>, usize)>,
    nominated: BTreeMap<String, (Arc<Pod>, usize)>,
    labelled: bool,
}

impl Model {
    fn cache(&self) -> Cache {
        let mut cache = Cache::default();
        for (number, variant) in &self.nodes {
            cache.apply_node(node(*number, *variant));
        }
        cache.apply_namespace("d", team(self.labelled));
        for (pod, node) in self.placed.values() {
            let info = cache.info(pod.clone());
            cache.place_pod(info, &format!("n{node}"));
        }
        for (pod, node) in self.nominated.values() {
            let info = cache.info(pod.clone());
            cache.nominate(info, &format!("n{node}"));
        }
        cache
    }
}

fn team(labelled: bool) -> BTreeMap<String, String> {
    let team = labelled.then(|| ("team".to_owned(), "x".to_owned()));
    team.into_iter().collect()
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

#[test]
fn a_taint_elsewhere_counts_where_taints_are_honoured() {
    let profile = Profile::default_profile();
    let mut cache = Cache::default();
    let mut rankings = Rankings::default();
    cache.apply_node(node(0, 0));
    cache.apply_node(node(2, 5));
    let placed = cache.info(pod(13, 0));
    cache.place_pod(placed, "n0");
    let info = cache.info(pod(13, 50));
    let mut fitting = |cache: &Cache| {
        let mut ranking = rankings.take(&profile, &info.class, cache);
        let found = answer(&mut ranking, &profile, cache, &info);
        rankings.put(ranking);
        let found = found.unwrap().into_iter();
        found.map(|(node, _)| node).collect::<Vec<_>>()
    };
    assert_eq!(fitting(&cache), ["n2"], "its zone is the emptiest");
    // The same node, tainted: its zone counts no more.
    cache.apply_node(node(2, 2));
    assert_eq!(fitting(&cache), ["n0"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn repaired_is_as_made_anew(steps in steps()) {
        let profile = Profile::default_profile();
        let mut cache = Cache::default();
        let mut rankings = Rankings::default();
        let mut model = Model::default();
        for number in 0..4 {
            cache.apply_node(node(number, 0));
            model.nodes.insert(number, 0);
        }
        for step in steps.into_iter().chain([Step::Compare]) {
            match step {
                Step::Place { kind, pod: number, node } => {
                    let pod = pod(kind, number);
                    let info = cache.info(pod.clone());
                    cache.place_pod(info, &format!("n{node}"));
                    model.placed.insert(format!("{kind}-{number}"), (pod, node));
                }
                Step::Remove { kind, pod } => {
                    let uid = format!("{kind}-{pod}");
                    cache.remove_pod(&uid);
                    model.placed.remove(&uid);
                }
                Step::Node { node: number, variant } => {
                    cache.apply_node(node(number, variant));
                    model.nodes.insert(number, variant);
                }
                Step::NodeGone { node } => {
                    cache.remove_node(&format!("n{node}"));
                    model.nodes.remove(&node);
                }
                Step::Change { kind, pod, how } => {
                    let Some((old, node)) = model.placed.get_mut(&format!("{kind}-{pod}")) else {
                        continue;
                    };
                    *old = changed(old, how);
                    let info = cache.info(old.clone());
                    cache.place_pod(info, &format!("n{node}"));
                }
                Step::Nominate { kind, node } => {
                    let pod = pod(kind, 99);
                    let info = cache.info(pod.clone());
                    cache.nominate(info, &format!("n{node}"));
                    model.nominated.insert(format!("{kind}-99"), (pod, node));
                }
                Step::Withdraw { kind } => {
                    let uid = format!("{kind}-99");
                    cache.withdraw(&uid);
                    model.nominated.remove(&uid);
                }
                Step::Namespace { labelled } => {
                    cache.apply_namespace("d", team(labelled));
                    model.labelled = labelled;
                }
                Step::Compare => {
                    let mut anew = model.cache();
                    for kind in 0..KINDS {
                        let info = cache.info(pod(kind, 50));
                        let mut kept = rankings.take(&profile, &info.class, &cache);
                        let found = answer(&mut kept, &profile, &cache, &info);
                        rankings.put(kept);
                        let info = anew.info(pod(kind, 50));
                        let mut fresh = Ranking::new(&profile, &info.class, &anew);
                        let want = answer(&mut fresh, &profile, &anew, &info);
                        prop_assert_eq!(found, want, "kind {}", kind);
                    }
                }
            }
        }
    }
}
