//! Details in which upstream's code decides, found by running it on the same clusters.

use super::*;

#[test]
fn what_counts_for_scoring_differs_before_and_after_placing() {
    // Pod-level requests count once the pod is placed, not while a node is looked for.
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let whole = |requests: Value| json!({"spec": {"resources": {"requests": requests}}});
    let profile = scoring_by("NodeResourcesFit", Value::Null);
    let four = whole(json!({"cpu": "4"}));
    let used = [pod("p", merged(four.clone(), &on("b")))];
    let want = [("a", (99 + 98) / 2), ("b", (59 + 96) / 2)];
    expect("its own", &profile, &nodes, &used, four, &want);
    // What anybody in the pod asks for has no defaults then.
    let two = json!({"spec": {"containers": [
        {"name": "c", "resources": {"requests": {"memory": "5Gi"}}},
        {"name": "d", "resources": {"requests": {"cpu": "1"}}}]}});
    let used = [pod(
        "p",
        merged(merged(two, &whole(json!({"cpu": "1"}))), &on("b")),
    )];
    let want = [("a", (99 + 98) / 2), ("b", (89 + 48) / 2)];
    expect("no defaults", &profile, &nodes, &used, json!({}), &want);
    // A resize that says less than the default is believed.
    let running = json!({"status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "",
        "ready": true, "restartCount": 0, "resources": {"requests": {"cpu": "0", "memory": "0"}}}]}});
    let used = [pod("p", merged(running, &on("b")))];
    let want = [("a", (99 + 98) / 2), ("b", (99 + 98) / 2)];
    expect("running", &profile, &nodes, &used, json!({}), &want);
}

#[test]
fn huge_pages_count_for_whom_they_are() {
    let huge = json!({"status": {"allocatable": {"hugepages-2Mi": "8Mi"}}});
    let nodes = [node("a", huge), node("b", json!({}))];
    let args = json!({"scoringStrategy": {"type": "LeastAllocated", "resources": [
        {"name": "cpu", "weight": 1}, {"name": "hugepages-2Mi", "weight": 1}]}});
    let profile = scoring_by("NodeResourcesFit", args);
    let incoming = asking(json!({"cpu": "5"}));
    let want = [("a", 50), ("b", 50)];
    expect("none asked for", &profile, &nodes, &[], incoming, &want);
}

#[test]
fn an_image_is_as_big_as_the_first_node_says() {
    let with = |size: i64| json!({"status": {"images": [{"names": ["i:1"], "sizeBytes": size * 1024 * 1024}]}});
    let nodes = [node("a", with(523)), node("b", with(9000))];
    let profile = scoring_by("ImageLocality", Value::Null);
    let score = 100 * (523 - 23) / (1000 - 23);
    let want = [("a", score), ("b", score)];
    expect("sizes", &profile, &nodes, &[], json!({}), &want);
}

#[test]
fn the_selectors_of_a_pods_owners_all_hold() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let pods = [pod(
        "p",
        merged(json!({"metadata": {"labels": {"app": "db"}}}), &on("a")),
    )];
    let owned = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]}});
    let profile = scoring_by("PodTopologySpread", Value::Null);
    let mut s = cluster(&nodes, &pods);
    let labels = |app: &str| -> BTreeMap<String, String> { [("app".into(), app.into())].into() };
    let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
        match_labels: Some(labels("db")),
        match_expressions: None,
    };
    let owners = &mut s.cache.owners;
    owners.service("default", "s", Some(labels("web")));
    owners.controller("default", "ReplicaSet", "r", Some(selector));
    let got = scores(&mut s, &profile, pod("q", owned)).unwrap();
    assert_eq!(got["a"], got["b"], "nothing is both web and db");
}

#[test]
fn a_constraint_that_asks_for_nothing_counts_nothing() {
    let nodes = [zoned("a", "z1"), zoned("b", "z2")];
    let pods = [pod("p", on("a"))];
    let profile = scoring_by("PodTopologySpread", Value::Null);
    // The pod has no such label, so that the key adds nothing.
    let soft = spread(
        json!({"whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": null},
        "matchLabelKeys": ["rev"]}),
    );
    let want = [("a", 100), ("b", 100)];
    expect("nothing", &profile, &nodes, &pods, soft, &want);
}

#[test]
fn operators_that_are_alpha_tolerate_nothing() {
    let taints = json!({"spec": {"taints": [{"key": "k", "value": "10", "effect": "NoSchedule"}]}});
    let mut s = cluster(&[node("a", taints)], &[]);
    let greater = json!({"spec": {"tolerations": [{"key": "k", "operator": "Gt", "value": "5"}]}});
    let found = scores(&mut s, &Profile::default_profile(), pod("p", greater));
    assert!(found.is_err(), "{found:?}");
}

#[test]
fn nominated_pods_do_not_call_in_a_filter_that_is_skipped() {
    let far = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]}}}});
    let used = pod("used", merged(asking(json!({"cpu": "5"})), &on("a")));
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let mut s = cluster(&nodes, &[used]);
    let shy = s.cache.info(pod("shy", far.clone()));
    s.cache.nominate(shy, "a");
    assert_eq!(feasible(&mut s, json!({})), ["a", "b"]);
    let nominated = json!({"status": {"nominatedNodeName": "a"}});
    s.pod_applied(pod("nominated", nominated), Instant::now());
    let decision = s.next(Instant::now(), &mut |_| 0).unwrap();
    let Verdict::Bind { node, .. } = decision.verdict else {
        panic!("{:?}", decision.verdict)
    };
    assert_eq!(&*node, "a", "although b is emptier");
    // Where a placed pod has such terms, nominated ones count as well.
    let placed = pod("placed", merged(far, &on("b")));
    s.pod_applied(placed, Instant::now());
    assert!(feasible(&mut s, json!({})).is_empty());
}

#[test]
fn nodes_named_outright_are_named_as_a_reason_to_wait() {
    let mut s = cluster(&[node("a", json!({}))], &[]);
    let named = json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}}}}});
    let greedy = merged(asking(json!({"cpu": "100"})), &named);
    s.pod_applied(pod("p", greedy), Instant::now());
    let decision = s.next(Instant::now(), &mut |_| 0).unwrap();
    let Verdict::Unschedulable { diagnosis, .. } = decision.verdict else {
        panic!("{:?}", decision.verdict)
    };
    let plugins: Vec<&str> = diagnosis.plugins.keys().copied().collect();
    assert_eq!(plugins, ["NodeAffinity", "NodeResourcesFit"]);
}
