//! Which devices claims get, where that lets their pods go, and what is written for it.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{AllocationResult, ResourceClaim},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    bind::{Prepare, claims::ClaimStep},
    cache::tests::node,
    decide::{Scheduler, Verdict},
    framework::profile::Profile,
    plugins::devices::plugin::Released,
};

fn object<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// Nodes `a` and `b`, and the class `gpu` of driver `gpu.example.com`.
fn scheduler() -> Scheduler {
    let mut scheduler = Scheduler::new(vec![Profile::default_profile()]);
    for name in ["a", "b"] {
        scheduler.node_applied(node(name, "4", "8Gi"), Instant::now());
    }
    class(
        &mut scheduler,
        "gpu",
        json!({"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}),
    );
    scheduler
}

fn class(scheduler: &mut Scheduler, name: &str, spec: Value) {
    let class = json!({"metadata": {"name": name}, "spec": spec});
    scheduler.cache.apply_device_class(object(class), true);
}

/// Publishes a slice; its name is the pool's unless `spec` names another in `pool`.
fn publish(scheduler: &mut Scheduler, name: &str, more: Value, devices: Value) {
    let mut spec = json!({
        "driver": "gpu.example.com", "devices": devices,
        "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let slice = json!({"metadata": {"name": name}, "spec": spec});
    scheduler.cache.devices.slice(object(slice), true);
}

/// Devices of one node, with a memory and a model each.
fn gpus(scheduler: &mut Scheduler, node: &str, gpus: &[(&str, &str, &str)]) {
    let devices: Vec<Value> = gpus
        .iter()
        .map(|(name, memory, model)| {
            json!({"name": name, "attributes": {"model": {"string": model}, "cuda": {"version": "12.4.0"}},
                   "capacity": {"memory": {"value": memory}}})
        })
        .collect();
    publish(
        scheduler,
        &format!("{node}-gpus"),
        json!({"nodeName": node}),
        json!(devices),
    );
}

fn exactly(more: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    for (key, value) in more.as_object().unwrap() {
        exactly[key] = value.clone();
    }
    exactly
}

fn claim(scheduler: &mut Scheduler, name: &str, devices: Value) {
    claim_with(scheduler, name, devices, Value::Null);
}

fn claim_with(scheduler: &mut Scheduler, name: &str, devices: Value, status: Value) {
    let mut claim = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}")},
        "spec": {"devices": devices},
    });
    if !status.is_null() {
        claim["status"] = status;
    }
    scheduler.resource_claim(object(claim), true, Instant::now());
}

fn pod(name: &str, claims: &[&str]) -> Arc<Pod> {
    let claims: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "resourceClaimName": claim}))
        .collect();
    object(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c"}], "resourceClaims": claims},
    }))
}

/// The node and what each claim gets, or why there is none.
fn place(scheduler: &mut Scheduler, pod: Arc<Pod>) -> Result<(String, Vec<ClaimStep>), String> {
    let now = Instant::now();
    scheduler.pod_applied(pod, now);
    match scheduler.next(now, &mut |_| 0).map(|d| d.verdict) {
        Some(Verdict::Bind { node, prepare }) => {
            let steps = prepare.into_iter().map(|step| match step {
                Prepare::Claim(step) => step,
                other => panic!("{other:?}"),
            });
            Ok((node.to_string(), steps.collect()))
        }
        Some(Verdict::Unschedulable { diagnosis, .. }) => Err(diagnosis.message()),
        Some(other) => Err(format!("{other:?}")),
        None => Err("not tried".to_owned()),
    }
}

fn devices(allocation: &AllocationResult) -> Vec<String> {
    let results = allocation.devices.as_ref().unwrap().results.as_ref();
    let results = results.unwrap().iter();
    results
        .map(|r| format!("{}={}/{}", r.request, r.pool, r.device))
        .collect()
}

fn got(outcome: &Result<(String, Vec<ClaimStep>), String>) -> Vec<Vec<String>> {
    let (_, steps) = outcome.as_ref().unwrap();
    let steps = steps.iter().filter_map(|s| s.allocation.as_ref());
    steps.map(|a| devices(a)).collect()
}

#[test]
fn a_pod_goes_where_its_devices_are_and_others_get_what_is_left() {
    let mut s = scheduler();
    gpus(
        &mut s,
        "b",
        &[("gpu-0", "8Gi", "x"), ("gpu-1", "16Gi", "y")],
    );
    let request = json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]});
    for name in ["c1", "c2", "c3"] {
        claim(&mut s, name, request.clone());
    }
    let first = place(&mut s, pod("p1", &["c1"]));
    assert_eq!(first.as_ref().unwrap().0, "b");
    assert_eq!(got(&first), [["one=b-gpus/gpu-0"]]);
    let allocation = first.unwrap().1[0].allocation.clone().unwrap();
    let terms = &allocation
        .node_selector
        .as_ref()
        .unwrap()
        .node_selector_terms;
    assert_eq!(
        terms[0].match_fields.as_ref().unwrap()[0].values,
        Some(vec!["b".to_owned()])
    );
    // The first allocation is promised, though nobody has seen it in the claim.
    assert_eq!(
        got(&place(&mut s, pod("p2", &["c2"]))),
        [["one=b-gpus/gpu-1"]]
    );
    assert_eq!(
        place(&mut s, pod("p3", &["c3"])).err(),
        Some(
            "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, \
             preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
                .to_owned()
        )
    );
    // A pod whose binding failed gives its device back.
    s.cache.remove_pod("p1");
    claim(&mut s, "c4", request);
    assert_eq!(
        got(&place(&mut s, pod("p4", &["c4"]))),
        [["one=b-gpus/gpu-0"]]
    );
}

#[test]
fn allocated_devices_count_until_their_claim_lets_them_go() {
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x")]);
    let request = json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]});
    let result =
        json!({"request": "one", "driver": "gpu.example.com", "pool": "a-gpus", "device": "gpu-0"});
    let status = json!({"allocation": {"devices": {"results": [result]}}, "reservedFor": [{"resource": "pods", "name": "x", "uid": "x"}]});
    claim_with(&mut s, "held", request.clone(), status);
    claim(&mut s, "c", request.clone());
    assert!(place(&mut s, pod("p", &["c"])).is_err());
    claim(&mut s, "held", request.clone());
    claim(&mut s, "d", request);
    assert_eq!(
        got(&place(&mut s, pod("q", &["d"]))),
        [["one=a-gpus/gpu-0"]]
    );
}

#[test]
fn selectors_choose_by_attribute_capacity_and_version() {
    let cases = [
        (
            "device.attributes['gpu.example.com'].model == 'y'",
            Ok("gpu-1"),
        ),
        (
            "device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('8Gi'))",
            Ok("gpu-1"),
        ),
        (
            "device.attributes['gpu.example.com'].cuda.isLessThan(semver('12.5.0'))",
            Ok("gpu-0"),
        ),
        ("!('other.example.com' in device.attributes)", Ok("gpu-0")),
        (
            "!has(device.attributes['other.example.com'].model)",
            Ok("gpu-0"),
        ),
        ("!device.allowMultipleAllocations", Ok("gpu-0")),
        (
            "cel.bind(own, device.attributes['gpu.example.com'], own.model == 'y')",
            Ok("gpu-1"),
        ),
        (
            "device.driver == 'nobody'",
            Err("cannot allocate all claims"),
        ),
        (
            "device.attributes['other.example.com'].model == 'y'",
            Err("claim default/c: selector #0: CEL runtime error: no such key: model"),
        ),
        (
            "device.driver",
            Err(
                "claim default/c: selector #0: CEL compile error: must evaluate to bool or the unknown type, not string",
            ),
        ),
    ];
    for (expression, want) in cases {
        let mut s = scheduler();
        gpus(
            &mut s,
            "a",
            &[("gpu-0", "8Gi", "x"), ("gpu-1", "16Gi", "y")],
        );
        let selectors = json!({"selectors": [{"cel": {"expression": expression}}]});
        claim(
            &mut s,
            "c",
            json!({"requests": [{"name": "one", "exactly": exactly(selectors)}]}),
        );
        let outcome = place(&mut s, pod("p", &["c"]));
        match want {
            Ok(device) => assert_eq!(
                got(&outcome),
                [[format!("one=a-gpus/{device}")]],
                "{expression}"
            ),
            Err(why) => {
                let message = outcome.unwrap_err();
                assert!(message.contains(why), "{expression}: {message}");
            }
        }
    }
}

#[test]
fn constraints_hold_over_all_devices_of_a_claim() {
    let both = |constraint: Value| json!({"requests": [{"name": "two", "exactly": exactly(json!({"count": 2}))}], "constraints": [constraint]});
    let cases = [
        (
            json!({"matchAttribute": "gpu.example.com/model"}),
            vec!["two=a-gpus/gpu-1", "two=a-gpus/gpu-2"],
        ),
        (
            json!({"distinctAttribute": "gpu.example.com/model"}),
            vec!["two=a-gpus/gpu-0", "two=a-gpus/gpu-1"],
        ),
        (
            json!({"matchAttribute": "gpu.example.com/model", "requests": ["other"]}),
            vec!["two=a-gpus/gpu-0", "two=a-gpus/gpu-1"],
        ),
    ];
    for (constraint, want) in cases {
        let mut s = scheduler();
        gpus(
            &mut s,
            "a",
            &[
                ("gpu-0", "8Gi", "x"),
                ("gpu-1", "8Gi", "y"),
                ("gpu-2", "8Gi", "y"),
            ],
        );
        claim(&mut s, "c", both(constraint.clone()));
        assert_eq!(
            got(&place(&mut s, pod("p", &["c"]))),
            [want],
            "{constraint}"
        );
    }
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x"), ("gpu-1", "8Gi", "y")]);
    claim(
        &mut s,
        "c",
        both(json!({"matchAttribute": "gpu.example.com/model"})),
    );
    assert!(place(&mut s, pod("p", &["c"])).is_err());
}

#[test]
fn all_means_every_device_there_is_and_free() {
    let all = json!({"requests": [{"name": "all", "exactly": exactly(json!({"allocationMode": "All"}))}]});
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x"), ("gpu-1", "8Gi", "y")]);
    claim(&mut s, "c", all.clone());
    assert_eq!(
        got(&place(&mut s, pod("p", &["c"]))),
        [["all=a-gpus/gpu-0", "all=a-gpus/gpu-1"]]
    );
    claim(&mut s, "d", all.clone());
    assert!(place(&mut s, pod("q", &["d"])).is_err());

    let mut s = scheduler();
    let pool = json!({"nodeName": "a", "pool": {"name": "a-gpus", "generation": 1, "resourceSliceCount": 2}});
    publish(&mut s, "a-gpus", pool, json!([{"name": "gpu-0"}]));
    claim(&mut s, "c", all);
    let message = place(&mut s, pod("p", &["c"])).unwrap_err();
    let why = "claim default/c, request all: asks for all devices, but resource pool gpu.example.com/a-gpus is currently being updated";
    assert!(message.contains(why), "{message}");
}

#[test]
fn the_first_alternative_that_can_be_met_is_taken_and_liked() {
    let large = json!({"name": "large", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1,
        "selectors": [{"cel": {"expression": "device.capacity['gpu.example.com'].memory.compareTo(quantity('16Gi')) >= 0"}}]});
    let small = json!({"name": "small", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2});
    let request = json!({"requests": [{"name": "gpu", "firstAvailable": [large, small]}],
        "config": [{"requests": ["gpu/large"], "opaque": {"driver": "gpu.example.com", "parameters": {}}}]});
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x"), ("gpu-1", "8Gi", "x")]);
    gpus(&mut s, "b", &[("gpu-0", "16Gi", "x")]);
    claim(&mut s, "c1", request.clone());
    claim(&mut s, "c2", request);
    let first = place(&mut s, pod("p1", &["c1"]));
    assert_eq!(got(&first), [["gpu/large=b-gpus/gpu-0"]]);
    let config = |step: &ClaimStep| {
        let devices = step.allocation.as_ref().unwrap().devices.clone().unwrap();
        devices.config.map_or(0, |c| c.len())
    };
    assert_eq!(config(&first.unwrap().1[0]), 1);
    let second = place(&mut s, pod("p2", &["c2"]));
    assert_eq!(
        got(&second),
        [["gpu/small=a-gpus/gpu-0", "gpu/small=a-gpus/gpu-1"]]
    );
    assert_eq!(config(&second.unwrap().1[0]), 0);
}

#[test]
fn administrators_see_devices_that_are_in_use_and_take_none() {
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x")]);
    let admin =
        json!({"requests": [{"name": "watch", "exactly": exactly(json!({"adminAccess": true}))}]});
    claim(
        &mut s,
        "c",
        json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]}),
    );
    claim(&mut s, "admin1", admin.clone());
    claim(&mut s, "admin2", admin);
    assert!(place(&mut s, pod("p", &["admin1"])).is_ok());
    assert!(place(&mut s, pod("q", &["c"])).is_ok());
    let watching = place(&mut s, pod("r", &["admin2"]));
    assert_eq!(got(&watching), [["watch=a-gpus/gpu-0"]]);
    let allocation = watching.unwrap().1[0].allocation.clone().unwrap();
    let result = &allocation
        .devices
        .as_ref()
        .unwrap()
        .results
        .as_ref()
        .unwrap()[0];
    assert_eq!(result.admin_access, Some(true));
}

#[test]
fn tainted_devices_go_to_those_who_tolerate_it() {
    let taint = |effect: &str| json!([{"name": "gpu-0", "taints": [{"key": "broken", "value": "yes", "effect": effect}]}]);
    let cases = [
        ("NoSchedule", json!([]), false),
        ("NoExecute", json!([]), false),
        ("None", json!([]), true),
        (
            "NoSchedule",
            json!([{"key": "broken", "operator": "Exists"}]),
            true,
        ),
        (
            "NoSchedule",
            json!([{"operator": "Exists", "effect": "NoExecute"}]),
            false,
        ),
        (
            "NoSchedule",
            json!([{"key": "broken", "operator": "Equal", "value": "yes"}]),
            true,
        ),
        (
            "NoSchedule",
            json!([{"key": "broken", "value": "no"}]),
            false,
        ),
    ];
    for (effect, tolerations, want) in cases {
        let mut s = scheduler();
        publish(&mut s, "pool", json!({"nodeName": "a"}), taint(effect));
        let more = json!({"tolerations": tolerations});
        claim(
            &mut s,
            "c",
            json!({"requests": [{"name": "one", "exactly": exactly(more)}]}),
        );
        assert_eq!(
            place(&mut s, pod("p", &["c"])).is_ok(),
            want,
            "{effect} {tolerations}"
        );
    }
}

#[test]
fn partitions_share_the_counters_of_their_pool() {
    let mut s = scheduler();
    let pool = json!({"name": "pool", "generation": 1, "resourceSliceCount": 2});
    publish(
        &mut s,
        "counters",
        json!({"nodeName": "a", "pool": pool, "devices": null,
        "sharedCounters": [{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]}),
        json!(null),
    );
    let part = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "card", "counters": {"memory": {"value": memory}}}]});
    let devices = json!([
        part("big", "40Gi"),
        part("half-0", "20Gi"),
        part("half-1", "20Gi")
    ]);
    publish(
        &mut s,
        "devices",
        json!({"nodeName": "a", "pool": pool}),
        devices,
    );
    let named = |name: &str| {
        let expression =
            format!("device.attributes['gpu.example.com'].?name.orValue('{name}') == '{name}'");
        json!({"requests": [{"name": name, "exactly": exactly(json!({"selectors": [{"cel": {"expression": expression}}]}))}]})
    };
    claim(&mut s, "c1", named("one"));
    assert_eq!(got(&place(&mut s, pod("p1", &["c1"]))), [["one=pool/big"]]);
    claim(&mut s, "c2", named("two"));
    assert!(
        place(&mut s, pod("p2", &["c2"])).is_err(),
        "the whole card is taken"
    );
    s.cache.remove_pod("p1");
    claim(
        &mut s,
        "c3",
        json!({"requests": [{"name": "two", "exactly": exactly(json!({"count": 2}))}]}),
    );
    assert_eq!(
        got(&place(&mut s, pod("p3", &["c3"]))),
        [["two=pool/half-0", "two=pool/half-1"]]
    );
}

#[test]
fn shared_devices_are_given_in_parts_until_nothing_is_left() {
    let mut s = scheduler();
    let policy =
        json!({"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi", "max": "8Gi"}});
    let device = json!([{"name": "gpu-0", "allowMultipleAllocations": true,
        "capacity": {"memory": {"value": "10Gi", "requestPolicy": policy}}}]);
    publish(&mut s, "pool", json!({"nodeName": "a"}), device);
    let part = |memory: &str| json!({"requests": [{"name": "part", "exactly": exactly(json!({"capacity": {"requests": {"memory": memory}}}))}]});
    let mut ask = |name: &str, memory: &str| {
        claim(&mut s, name, part(memory));
        place(&mut s, pod(&format!("pod-{name}"), &[name]))
    };
    let taken = |outcome: &Result<(String, Vec<ClaimStep>), String>| {
        let allocation = outcome.as_ref().unwrap().1[0].allocation.clone().unwrap();
        let result = allocation
            .devices
            .as_ref()
            .unwrap()
            .results
            .as_ref()
            .unwrap()[0]
            .clone();
        assert!(result.share_id.is_some());
        let consumed: BTreeMap<_, _> = result.consumed_capacity.unwrap();
        consumed["memory"].0.clone()
    };
    assert_eq!(taken(&ask("c1", "3500Mi")), "4Gi", "rounded up to the step");
    assert!(ask("c2", "9Gi").is_err(), "more than one may have");
    assert_eq!(taken(&ask("c3", "6Gi")), "6Gi");
    assert!(ask("c4", "1Gi").is_err(), "nothing is left");
}

#[test]
fn pods_wait_untried_until_their_claims_are_there() {
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x")]);
    assert_eq!(
        place(&mut s, pod("p", &["late"])).err(),
        Some("not tried".to_owned())
    );
    claim(
        &mut s,
        "late",
        json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]}),
    );
    let now = Instant::now();
    assert!(matches!(
        s.next(now, &mut |_| 0).unwrap().verdict,
        Verdict::Bind { .. }
    ));
}

#[test]
fn a_claim_somebody_is_getting_devices_for_is_waited_for() {
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x")]);
    claim(
        &mut s,
        "c",
        json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]}),
    );
    assert!(place(&mut s, pod("p", &["c"])).is_ok());
    let message = place(&mut s, pod("q", &["c"])).unwrap_err();
    assert!(
        message.contains("resource claim default/c is in the process of being allocated"),
        "{message}"
    );
    let missing = json!({"requests": [{"name": "one", "exactly": exactly(json!({"deviceClassName": "none"}))}]});
    claim(&mut s, "d", missing);
    let message = place(&mut s, pod("r", &["d"])).unwrap_err();
    assert!(
        message
            .contains("request one: device class none does not exist. no new claims to deallocate"),
        "{message}"
    );
}

fn allocated(request: &str, node: &str, more: Value) -> Value {
    let mut result = json!({"request": request, "driver": "gpu.example.com", "pool": format!("{node}-gpus"), "device": "gpu-0"});
    for (key, value) in more.as_object().unwrap() {
        result[key] = value.clone();
    }
    json!({"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}})
}

#[test]
fn an_idle_claim_on_the_wrong_node_is_given_up() {
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x")]);
    let request = json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]});
    let held_by = |uid: &str| json!({"allocation": allocated("one", "gone", json!({})), "reservedFor": [{"resource": "pods", "name": uid, "uid": uid}]});
    claim_with(&mut s, "mine", request.clone(), held_by("p"));
    claim_with(&mut s, "theirs", request, held_by("x"));
    for (name, claim, freed) in [("p", "mine", true), ("q", "theirs", false)] {
        let now = Instant::now();
        s.pod_applied(pod(name, &[claim]), now);
        let Verdict::Unschedulable {
            diagnosis, release, ..
        } = s.next(now, &mut |_| 0).unwrap().verdict
        else {
            panic!("{name} was placed")
        };
        assert!(
            diagnosis
                .message()
                .contains("2 resourceclaim not available on the node")
        );
        assert_eq!(
            matches!(release, Released::Deallocate(_)),
            freed,
            "{name}: {release:?}"
        );
    }
}

#[test]
fn an_allocated_claim_is_only_reserved() {
    let mut s = scheduler();
    gpus(&mut s, "b", &[("gpu-0", "8Gi", "x")]);
    let request = json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]});
    claim_with(
        &mut s,
        "c",
        request,
        json!({"allocation": allocated("one", "b", json!({}))}),
    );
    for name in ["p", "q"] {
        let (node, steps) = place(&mut s, pod(name, &["c"])).unwrap();
        assert_eq!(node, "b");
        assert!(steps.len() == 1 && steps[0].allocation.is_none());
    }
}

#[test]
fn a_device_that_failed_to_attach_is_given_up() {
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x")]);
    let conditions =
        json!({"bindingConditions": ["Attached"], "bindingFailureConditions": ["Failed"]});
    let status = json!({"allocation": allocated("one", "a", conditions),
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "p"}],
        "devices": [{"driver": "gpu.example.com", "pool": "a-gpus", "device": "gpu-0", "conditions": [
            {"type": "Failed", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]});
    claim_with(
        &mut s,
        "c",
        json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]}),
        status,
    );
    let now = Instant::now();
    s.pod_applied(pod("p", &["c"]), now);
    let verdict = s.next(now, &mut |_| 0).unwrap().verdict;
    assert!(
        matches!(
            verdict,
            Verdict::Unschedulable {
                release: Released::Deallocate(_),
                ..
            }
        ),
        "{verdict:?}"
    );
}

#[test]
fn a_pool_that_is_being_replaced_is_left_alone() {
    let mut s = scheduler();
    let pool = |generation: i64| json!({"name": "pool", "generation": generation, "resourceSliceCount": 1});
    publish(
        &mut s,
        "old",
        json!({"nodeName": "a", "pool": pool(1)}),
        json!([{"name": "gpu-0"}]),
    );
    publish(
        &mut s,
        "new",
        json!({"nodeName": "b", "pool": pool(2)}),
        json!([{"name": "gpu-1"}]),
    );
    claim(
        &mut s,
        "c",
        json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]}),
    );
    let outcome = place(&mut s, pod("p", &["c"]));
    assert_eq!(got(&outcome), [["one=pool/gpu-1"]]);
}

#[test]
fn extended_resources_come_from_devices_where_no_plugin_has_them() {
    let mut s = scheduler();
    class(
        &mut s,
        "card",
        json!({"extendedResourceName": "example.com/gpu",
        "selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}),
    );
    gpus(
        &mut s,
        "b",
        &[
            ("gpu-0", "8Gi", "x"),
            ("gpu-1", "8Gi", "x"),
            ("gpu-2", "8Gi", "x"),
        ],
    );
    let asking = |name: &str, init: &str, own: &str| -> Arc<Pod> {
        let with = |count: &str| json!({"requests": {"example.com/gpu": count}});
        object(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"initContainers": [{"name": "i", "resources": with(init)}],
                     "containers": [{"name": "c", "resources": with(own)}]},
        }))
    };
    let (node, steps) = place(&mut s, asking("p", "2", "1")).unwrap();
    assert_eq!((node.as_str(), steps.len()), ("b", 1));
    let claim: &ResourceClaim = &steps[0].claim;
    assert_eq!(
        claim.metadata.generate_name.as_deref(),
        Some("p-extended-resources-")
    );
    let allocation = steps[0].allocation.as_ref().unwrap();
    assert_eq!(
        devices(allocation),
        [
            "container-0-request-0=b-gpus/gpu-0",
            "container-1-request-0=b-gpus/gpu-1"
        ]
    );
    let mappings: Vec<String> = steps[0]
        .made_for
        .iter()
        .flatten()
        .map(|m| format!("{} {}", m.container_name, m.request_name))
        .collect();
    assert_eq!(
        mappings,
        [
            "c container-1-request-0",
            "i container-1-request-0",
            "i container-0-request-0"
        ]
    );
    assert!(place(&mut s, asking("q", "0", "2")).is_err(), "one is left");
    assert!(place(&mut s, asking("r", "0", "1")).is_ok());
}

#[test]
fn a_selector_that_cannot_be_judged_fails_the_try_everywhere() {
    let mut s = scheduler();
    gpus(&mut s, "a", &[("gpu-0", "8Gi", "x")]);
    let bare = json!([{"name": "gpu-1"}]);
    publish(&mut s, "b-gpus", json!({"nodeName": "b"}), bare);
    let selector =
        json!([{"cel": {"expression": "device.attributes['gpu.example.com'].model == 'x'"}}]);
    let picky = exactly(json!({"selectors": selector}));
    claim(
        &mut s,
        "c",
        json!({"requests": [{"name": "one", "exactly": picky}]}),
    );
    let now = Instant::now();
    s.pod_applied(pod("p", &["c"]), now);
    let Verdict::Failed(why) = s.next(now, &mut |_| 0).unwrap().verdict else {
        panic!("although `a` would do")
    };
    assert_eq!(
        why,
        "running \"DynamicResources\" filter plugin: claim default/c: selector #0: CEL runtime error: no such key: model"
    );
    // It is tried again without anything having happened.
    assert!(s.next(now, &mut |_| 0).is_none());
    let later = s.wake_at(now).unwrap();
    assert!(later <= now + std::time::Duration::from_secs(1));
    assert_eq!(s.next(later, &mut |_| 0).unwrap().attempt.attempts, 2);
}

#[test]
fn what_cannot_be_allocated_is_said_before_what_is_elsewhere() {
    let mut s = scheduler();
    let request = json!({"requests": [{"name": "one", "exactly": exactly(json!({}))}]});
    let elsewhere = json!({"allocation": allocated("one", "gone", json!({}))});
    claim_with(&mut s, "placed", request.clone(), elsewhere);
    claim(&mut s, "new", request);
    let why = place(&mut s, pod("p", &["placed", "new"])).unwrap_err();
    assert!(why.contains("2 cannot allocate all claims"), "{why}");
}
