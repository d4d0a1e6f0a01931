//! Upstream's documented rules, as scores and rejections of nodes on small clusters.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    decide::{Scheduler, Verdict},
    framework::{
        config::{Configuration, parse},
        profile::Profile,
        ranking::{PodFilters, Ranking},
    },
};

mod details;

fn merged(mut into: Value, from: &Value) -> Value {
    match (into.as_object_mut(), from.as_object()) {
        (Some(fields), Some(more)) => {
            for (key, value) in more {
                let old = fields.remove(key).unwrap_or(Value::Null);
                fields.insert(key.clone(), merged(old, value));
            }
            into
        }
        _ => from.clone(),
    }
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn node(name: &str, change: Value) -> Arc<Node> {
    let plain = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "10", "memory": "10Gi", "pods": "110"}},
    });
    object(merged(plain, &change))
}

fn pod(name: &str, change: Value) -> Arc<Pod> {
    let plain = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    object(merged(plain, &change))
}

fn asking(requests: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": "i:1", "resources": {"requests": requests}}]}})
}

fn on(node: &str) -> Value {
    json!({"spec": {"nodeName": node}})
}

/// A profile in which one scorer, or none, counts.
fn scoring_by(plugin: &str, args: Value) -> Profile {
    let mut profile =
        json!({"plugins": {"score": {"disabled": [{"name": "*"}], "enabled": [{"name": plugin}]}}});
    if !args.is_null() {
        profile["pluginConfig"] = json!([{"name": plugin, "args": args}]);
    }
    of(profile)
}

fn of(profile: Value) -> Profile {
    let file = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [profile]});
    // JSON is YAML.
    let Configuration { mut profiles, .. } = parse(&file.to_string()).unwrap();
    Profile::of(profiles.remove(0))
}

fn cluster(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Scheduler {
    let mut scheduler = Scheduler::new(vec![Profile::default_profile()]);
    for node in nodes {
        scheduler.node_applied(node.clone(), Instant::now());
    }
    for pod in pods {
        scheduler.pod_applied(pod.clone(), Instant::now());
    }
    scheduler
}

/// The score of each feasible node, or upstream's message.
fn scores(
    scheduler: &mut Scheduler,
    profile: &Profile,
    pod: Arc<Pod>,
) -> Result<BTreeMap<String, i64>, String> {
    let pod = scheduler.cache.info(pod);
    let cache = &scheduler.cache;
    let filters = PodFilters::begin(profile, &pod, cache).map_err(|(_, r)| r.reasons.join(", "))?;
    let found = Ranking::new(profile, &pod.class, cache)
        .scored(cache, &filters)
        .map_err(|d| d.message())?;
    let named = found
        .into_iter()
        .map(|(slot, score)| (cache.at(slot).name.to_string(), score));
    Ok(named.collect())
}

fn expect(
    what: &str,
    profile: &Profile,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    incoming: Value,
    want: &[(&str, i64)],
) {
    let mut scheduler = cluster(nodes, pods);
    let got = scores(&mut scheduler, profile, pod("incoming", incoming));
    let want = want
        .iter()
        .map(|(name, score)| ((*name).to_owned(), *score))
        .collect();
    assert_eq!(got, Ok(want), "{what}");
}

#[test]
fn resources_are_scored_by_strategy() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let used = [pod(
        "p",
        merged(asking(json!({"cpu": "4", "memory": "5Gi"})), &on("b")),
    )];
    let incoming = asking(json!({"cpu": "1", "memory": "1Gi"}));
    let strategy = |kind: &str| json!({"scoringStrategy": {"type": kind, "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]}});
    for (kind, want) in [
        ("LeastAllocated", [("a", 90), ("b", 45)]),
        ("MostAllocated", [("a", 10), ("b", 55)]),
    ] {
        let profile = scoring_by("NodeResourcesFit", strategy(kind));
        expect(kind, &profile, &nodes, &used, incoming.clone(), &want);
    }
    let mut ratio = strategy("RequestedToCapacityRatio");
    ratio["scoringStrategy"]["requestedToCapacityRatio"] =
        json!({"shape": [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]});
    let profile = scoring_by("NodeResourcesFit", ratio);
    expect(
        "ratio",
        &profile,
        &nodes,
        &used,
        incoming,
        &[("a", 90), ("b", 45)],
    );
    // Pods without requests count as 100m and 200Mi, so that they spread.
    let profile = scoring_by("NodeResourcesFit", strategy("LeastAllocated"));
    expect(
        "defaults",
        &profile,
        &nodes,
        &used,
        json!({}),
        &[("a", 98), ("b", 53)],
    );
}

#[test]
fn evenness_is_scored_by_what_the_pod_does_to_it() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let used = [pod("p", merged(asking(json!({"cpu": "5"})), &on("b")))];
    let profile = scoring_by("NodeResourcesBalancedAllocation", Value::Null);
    // On `b` memory catches up with CPU: the deviation sinks from 0.25 to 0; on `a` it rises to 0.25.
    let incoming = asking(json!({"memory": "5Gi"}));
    expect(
        "memory",
        &profile,
        &nodes,
        &used,
        incoming,
        &[("a", 62), ("b", 87)],
    );
    expect(
        "nothing asked",
        &profile,
        &nodes,
        &used,
        json!({}),
        &[("a", 0), ("b", 0)],
    );
}

#[test]
fn soft_taints_and_preferences_are_stretched_to_a_hundred() {
    let soft = |count: usize| {
        let taints: Vec<Value> = (0..count)
            .map(|n| json!({"key": format!("k{n}"), "effect": "PreferNoSchedule"}))
            .collect();
        json!({"spec": {"taints": taints}})
    };
    let nodes = [
        node("none", json!({})),
        node("one", soft(1)),
        node("four", soft(4)),
    ];
    let profile = scoring_by("TaintToleration", Value::Null);
    let want = [("none", 100), ("one", 75), ("four", 0)];
    expect("taints", &profile, &nodes, &[], json!({}), &want);
    let tolerant = json!({"spec": {"tolerations": [{"key": "k0", "operator": "Exists"}]}});
    let want = [("none", 100), ("one", 100), ("four", 0)];
    expect("tolerated", &profile, &nodes, &[], tolerant, &want);

    let term = |weight: i64, name: &str| json!({"weight": weight, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}]}});
    let nodes = [
        node("a", json!({})),
        node("b", json!({})),
        node("c", json!({})),
    ];
    let likes = json!({"spec": {"affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [term(8, "a"), term(2, "b")]}}}});
    let profile = scoring_by("NodeAffinity", Value::Null);
    let want = [("a", 100), ("b", 25), ("c", 0)];
    expect("preferences", &profile, &nodes, &[], likes, &want);
    let added = json!({"addedAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term(1, "c")]}});
    let profile = scoring_by("NodeAffinity", added);
    let want = [("a", 0), ("b", 0), ("c", 100)];
    expect("the profile's", &profile, &nodes, &[], json!({}), &want);
}

#[test]
fn an_added_affinity_binds_every_pod() {
    let args = json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]}}});
    let profile = scoring_by("NodeAffinity", args);
    let mut s = cluster(&[node("a", json!({}))], &[]);
    let why = scores(&mut s, &profile, pod("p", json!({}))).unwrap_err();
    assert_eq!(
        why,
        "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity."
    );
}

#[test]
fn images_that_are_there_count_by_size_and_spread() {
    let with = |size: i64| json!({"status": {"images": [{"names": ["i:1"], "sizeBytes": size}]}});
    let profile = scoring_by("ImageLocality", Value::Null);
    let mebibyte = 1024 * 1024;
    let nodes = [
        node("none", json!({})),
        node("big", with(1000 * mebibyte)),
        node("same", with(1000 * mebibyte)),
        node("bare", json!({})),
    ];
    // On two nodes of four: half its size, of which 23 MiB are the least that counts.
    let want = [
        ("none", 0),
        ("big", 100 * (500 - 23) / (1000 - 23)),
        ("same", 100 * (500 - 23) / (1000 - 23)),
        ("bare", 0),
    ];
    expect("images", &profile, &nodes, &[], json!({}), &want);
}

fn zoned(name: &str, zone: &str) -> Arc<Node> {
    node(
        name,
        json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}),
    )
}

const ZONE: &str = "topology.kubernetes.io/zone";

fn spread(change: Value) -> Value {
    let plain = json!({"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
                       "labelSelector": {"matchLabels": {"app": "web"}}});
    json!({"spec": {"topologySpreadConstraints": [merged(plain, &change)]}})
}

/// The names of the feasible nodes.
fn feasible(scheduler: &mut Scheduler, incoming: Value) -> Vec<String> {
    let profile = Profile::default_profile();
    let found = scores(scheduler, &profile, pod("incoming", incoming));
    found.map_or_else(|_| Vec::new(), |found| found.into_keys().collect())
}

#[test]
fn hard_spreading_counts_what_it_should() {
    let tainted = node(
        "t",
        json!({"metadata": {"labels": {ZONE: "z3"}}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
    );
    let nodes = [zoned("a", "z1"), zoned("b", "z2"), tainted];
    let web = |name: &str, change: Value| pod(name, merged(on("a"), &change));
    let other_space = json!({"metadata": {"namespace": "elsewhere"}});
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let version = json!({"metadata": {"labels": {"version": "1"}}});
    type Case<'c> = (&'c str, Vec<Arc<Pod>>, Value, &'c [&'c str]);
    let cases: [Case<'_>; 8] = [
        // The tainted node's empty zone counts as the emptiest: one more than it is allowed.
        ("empty zone", vec![], spread(json!({})), &["a", "b"]),
        (
            "zone full",
            vec![web("p", json!({}))],
            spread(json!({})),
            &["b"],
        ),
        (
            "taints honoured",
            vec![web("p", json!({})), pod("q", on("b"))],
            spread(json!({"nodeTaintsPolicy": "Honor"})),
            &["a", "b"],
        ),
        (
            "other namespaces do not count",
            vec![web("p", other_space)],
            spread(json!({})),
            &["a", "b"],
        ),
        (
            "who leaves does not count",
            vec![web("p", leaving)],
            spread(json!({})),
            &["a", "b"],
        ),
        (
            "fewer domains than there should be",
            vec![web("p", json!({})), pod("q", on("b"))],
            spread(json!({"nodeTaintsPolicy": "Honor", "minDomains": 3})),
            &[],
        ),
        (
            "own values of matchLabelKeys",
            vec![web("p", json!({}))],
            merged(spread(json!({"matchLabelKeys": ["version"]})), &version),
            &["a", "b"],
        ),
        (
            "a larger skew",
            vec![web("p", json!({}))],
            spread(json!({"maxSkew": 2})),
            &["a", "b"],
        ),
    ];
    for (what, pods, incoming, want) in cases {
        let mut s = cluster(&nodes, &pods);
        assert_eq!(feasible(&mut s, incoming), want, "{what}");
    }
}

#[test]
fn soft_spreading_scores_the_emptier_higher() {
    let nodes = [zoned("a", "z1"), zoned("b", "z2")];
    let pods = [pod("p", on("a")), pod("q", on("a")), pod("r", on("b"))];
    let profile = scoring_by("PodTopologySpread", Value::Null);
    let soft = spread(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    // Two domains weigh ln 4: 2.77 and 1.39 pods become 3 and 1.
    let want = [("a", 100 / 3), ("b", 100)];
    expect("soft", &profile, &nodes, &pods, soft, &want);
}

#[test]
fn pods_of_a_service_spread_by_default() {
    let profile = scoring_by("PodTopologySpread", Value::Null);
    let mut s = cluster(
        &[node("a", json!({})), node("b", json!({}))],
        &[pod("p", on("a"))],
    );
    let before = scores(&mut s, &profile, pod("q", json!({}))).unwrap();
    assert_eq!(before["a"], before["b"], "nobody selects the pods");
    let selector: BTreeMap<String, String> = [("app".to_owned(), "web".to_owned())].into();
    assert!(s.cache.owners.service("default", "web", Some(selector)));
    let after = scores(&mut s, &profile, pod("q", json!({}))).unwrap();
    assert!(after["b"] > after["a"], "{after:?}");
}

#[test]
fn placed_pods_weigh_in_with_their_own_terms() {
    let nodes = [zoned("a", "z1"), zoned("b", "z2")];
    let term = json!({"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "web"}}});
    let wants =
        |kind: &str, rule: &str, term: Value| json!({"spec": {"affinity": {kind: {rule: [term]}}}});
    let weighted = json!({"weight": 10, "podAffinityTerm": term});
    let (hard, soft) = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    );
    let profile = scoring_by("InterPodAffinity", Value::Null);
    let cases = [
        (
            "hard affinity",
            wants("podAffinity", hard, term.clone()),
            [("a", 100), ("b", 0)],
        ),
        (
            "soft affinity",
            wants("podAffinity", soft, weighted.clone()),
            [("a", 100), ("b", 0)],
        ),
        (
            "soft anti-affinity",
            wants("podAntiAffinity", soft, weighted),
            [("a", 0), ("b", 100)],
        ),
    ];
    for (what, affinity, want) in cases {
        let pods = [pod("p", merged(affinity, &on("a")))];
        expect(what, &profile, &nodes, &pods, json!({}), &want);
    }
    let none = scoring_by("InterPodAffinity", json!({"hardPodAffinityWeight": 0}));
    let pods = [pod("p", merged(wants("podAffinity", hard, term), &on("a")))];
    expect(
        "no weight",
        &none,
        &nodes,
        &pods,
        json!({}),
        &[("a", 0), ("b", 0)],
    );
}

#[test]
fn affinity_reaches_the_namespaces_it_selects() {
    let nodes = [zoned("a", "z1"), zoned("b", "z2")];
    let elsewhere = json!({"metadata": {"namespace": "elsewhere"}});
    let near = |change: Value| {
        let term = json!({"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "web"}}});
        json!({"metadata": {"labels": {"app": "none"}}, "spec": {"affinity": {"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [merged(term, &change)]}}}})
    };
    let cases: [(&str, Value, &[&str]); 4] = [
        ("own namespace alone", json!({}), &[]),
        ("by name", json!({"namespaces": ["elsewhere"]}), &["a"]),
        (
            "by labels",
            json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}),
            &["a"],
        ),
        ("all", json!({"namespaceSelector": {}}), &["a"]),
    ];
    for (what, change, want) in cases {
        let mut s = cluster(&nodes, &[pod("p", merged(elsewhere.clone(), &on("a")))]);
        let space: Namespace = serde_json::from_value(
            json!({"metadata": {"name": "elsewhere", "labels": {"team": "x"}}}),
        )
        .unwrap();
        s.namespace_applied(&space, Instant::now());
        assert_eq!(feasible(&mut s, near(change)), want, "{what}");
    }
}

#[test]
fn resources_that_are_short_are_all_named() {
    let mut s = cluster(
        &[node("a", json!({"status": {"allocatable": {"pods": "0"}}}))],
        &[],
    );
    let greedy = asking(
        json!({"cpu": "11", "memory": "11Gi", "ephemeral-storage": "1", "example.com/gpu": "1", "hugepages-2Mi": "2Mi"}),
    );
    let why = scores(
        &mut s,
        &Profile::default_profile(),
        pod("p", greedy.clone()),
    )
    .unwrap_err();
    assert_eq!(
        why,
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient ephemeral-storage, 1 Insufficient example.com/gpu, \
         1 Insufficient hugepages-2Mi, 1 Insufficient memory, 1 Too many pods."
    );
    let ignoring = of(
        json!({"pluginConfig": [{"name": "NodeResourcesFit", "args": {"ignoredResourceGroups": ["example.com"]}}]}),
    );
    let why = scores(&mut s, &ignoring, pod("p", greedy)).unwrap_err();
    assert!(!why.contains("example.com/gpu"), "{why}");
}

#[test]
fn features_must_be_declared() {
    let nodes = [
        node("old", json!({})),
        node(
            "new",
            json!({"status": {"declaredFeatures": ["UserNamespacesHostNetworkSupport"]}}),
        ),
    ];
    let needs = json!({"spec": {"hostNetwork": true, "hostUsers": false}});
    assert_eq!(feasible(&mut cluster(&nodes, &[]), needs.clone()), ["new"]);
    let why = scores(
        &mut cluster(&nodes[..1], &[]),
        &Profile::default_profile(),
        pod("p", needs),
    );
    assert_eq!(
        why.unwrap_err(),
        "0/1 nodes are available: 1 node(s) didn't match Pod's required features."
    );
}

#[test]
fn nodes_named_outright_are_the_only_ones_looked_at() {
    let mut s = cluster(
        &[
            node("a", json!({"spec": {"unschedulable": true}})),
            node("b", json!({})),
            node("c", json!({})),
        ],
        &[],
    );
    let named = json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}}}}});
    let why = scores(&mut s, &Profile::default_profile(), pod("p", named)).unwrap_err();
    assert_eq!(
        why,
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
}

#[test]
fn a_container_that_shrinks_counts_for_what_it_still_has() {
    let mut s = cluster(&[node("a", json!({}))], &[]);
    let placed = |asked: &str, status: Value| {
        let requests = asking(json!({"cpu": asked}));
        pod(
            "p",
            merged(merged(requests, &on("a")), &json!({"status": status})),
        )
    };
    let has = |cpu: &str| {
        json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "resources": {"requests": {"cpu": cpu}}, "allocatedResources": {"cpu": cpu}}]})
    };
    let infeasible = json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]});
    for (what, asked, status, want) in [
        ("shrinking", "1", has("3"), 3000),
        ("growing", "5", has("3"), 5000),
        ("cannot grow", "5", merged(has("3"), &infeasible), 3000),
        ("done", "3", has("3"), 3000),
    ] {
        s.pod_applied(placed(asked, status), Instant::now());
        let node = s.cache.node("a").unwrap();
        assert_eq!(node.requested.milli_cpu, want, "{what}");
    }
}

#[test]
fn an_event_wakes_only_whom_it_can_help() {
    let now = Instant::now();
    let mut s = cluster(&[node("a", json!({}))], &[]);
    let selective = json!({"spec": {"nodeSelector": {"pool": "x"}}});
    s.pod_applied(pod("picky", selective), now);
    s.pod_applied(pod("greedy", asking(json!({"cpu": "100"}))), now);
    let tried = |s: &mut Scheduler| -> Vec<String> {
        std::iter::from_fn(|| s.next(now, &mut |_| 0))
            .map(|d| {
                let fits = matches!(d.verdict, Verdict::Bind { .. });
                format!("{}{}", d.attempt.pod.name(), if fits { "!" } else { "" })
            })
            .collect()
    };
    assert_eq!(tried(&mut s).len(), 2);
    s.node_applied(node("b", json!({})), now);
    assert!(tried(&mut s).is_empty(), "an equal node helps neither");
    s.node_applied(
        node("c", json!({"metadata": {"labels": {"pool": "x"}}})),
        now,
    );
    assert_eq!(tried(&mut s), ["picky!"]);
    s.node_applied(
        node("d", json!({"status": {"allocatable": {"cpu": "200"}}})),
        now,
    );
    assert_eq!(tried(&mut s), ["greedy!"]);
}
