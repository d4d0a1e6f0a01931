//! Services in, chains and elements out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value as Json, json};

use super::*;
use crate::proxy::service::Node;

fn view(spec: Json, endpoints: Json) -> Option<Service> {
    let mut service = json!({"metadata": {"namespace": "ns", "name": "web"}});
    let status = spec.get("status").cloned();
    service["spec"] = spec;
    if let Some(status) = status {
        service["status"] = status;
    }
    let service: core::Service = serde_json::from_value(service).unwrap();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    }))
    .unwrap();
    let slices = BTreeMap::from([("web-1".to_owned(), Arc::new(slice))]);
    Service::view(
        &service,
        &slices,
        &Node {
            name: "me".into(),
            zone: Some("z1".into()),
        },
    )
}

fn plan(spec: Json, endpoints: Json) -> Contribution {
    let surroundings = Surroundings {
        cluster: vec!["10.244.0.0/16".parse().unwrap()],
        node_ports: Vec::new(),
    };
    contribution(&view(spec, endpoints).unwrap(), &surroundings)
}

fn at(ip: &str, node: &str) -> Json {
    json!({"addresses": [ip], "nodeName": node})
}

fn state(ip: &str, node: &str, ready: bool, serving: bool, terminating: bool) -> Json {
    json!({"addresses": [ip], "nodeName": node,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
}

fn http(extra: Json) -> Json {
    let mut spec = json!({"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// Elements as text: set, address, port, and where it leads.
fn elements(plan: &Contribution) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .elements
        .iter()
        .filter(|((set, _), _)| {
            [
                frame::SERVICES,
                frame::NODE_PORTS,
                frame::UNSERVED,
                frame::UNSERVED_NODE_PORTS,
            ]
            .contains(set)
        })
        .map(|((set, key), value)| {
            let (ip, rest) = if key.len() == 12 {
                key.split_at(4)
            } else {
                key.split_at(0)
            };
            let ip = ip.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
            let port = u16::from_be_bytes([rest[4], rest[5]]);
            let target = match value {
                Value::Verdict(Verdict::Goto(chain)) => chain.clone(),
                other => format!("{other:?}"),
            };
            format!("{set} {ip}:{port} {target}")
        })
        .collect();
    lines.sort();
    lines
}

/// The backends a chain picks from.
fn picks(plan: &Contribution, chain: &str) -> Vec<String> {
    let mut found = Vec::new();
    let text = |ip: &[u8], port: &[u8]| {
        format!(
            "{}.{}.{}.{}:{}",
            ip[0],
            ip[1],
            ip[2],
            ip[3],
            u16::from_be_bytes([port[0], port[1]])
        )
    };
    for rule in &plan.chains[chain] {
        for pair in rule.expressions.windows(2) {
            if let [
                Expression::Immediate { slot: 0, value: ip },
                Expression::Immediate {
                    slot: 1,
                    value: port,
                },
            ] = pair
            {
                found.push(text(ip, port));
            }
        }
        for expression in &rule.expressions {
            if let Expression::Pick { values, .. } = expression {
                found.extend(values.iter().map(|v| text(&v[..4], &v[4..6])));
            }
        }
    }
    found
}

const ALL: &str = "all/ns/web/tcp/http";

#[test]
fn services_the_proxy_leaves_alone() {
    for spec in [
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.org"}),
        json!({"clusterIP": "", "ports": [{"port": 80}]}),
        json!({"clusterIP": "fd00::1", "ports": [{"port": 80}]}),
    ] {
        assert_eq!(view(spec.clone(), json!([])), None, "{spec}");
    }
}

#[test]
fn a_cluster_ip_leads_to_its_endpoints() {
    let plan = plan(
        http(json!({})),
        json!([at("10.244.0.2", "me"), at("10.244.1.2", "other")]),
    );
    assert_eq!(
        elements(&plan),
        ["services 10.96.0.5:80 all/ns/web/tcp/http"]
    );
    assert_eq!(picks(&plan, ALL), ["10.244.0.2:8080", "10.244.1.2:8080"]);
    let own = concat(&[&[10, 244, 0, 2], &[10, 244, 0, 2]]);
    assert!(
        plan.elements.contains_key(&(frame::HAIRPIN, own)),
        "the local endpoint may reach itself"
    );
    assert_eq!(
        plan.elements
            .keys()
            .filter(|(set, _)| *set == frame::HAIRPIN)
            .count(),
        1
    );
}

#[test]
fn no_endpoints_is_refused() {
    let node_port =
        json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    assert_eq!(
        elements(&plan(http(node_port), json!([]))),
        [
            "unserved 10.96.0.5:80 reject",
            "unserved-node-ports :30080 reject"
        ]
    );
}

#[test]
fn which_endpoints_are_used() {
    let up = state("10.244.0.1", "me", true, true, false);
    let down = state("10.244.0.2", "me", false, false, false);
    let leaving = state("10.244.0.3", "me", false, true, true);
    let gone = state("10.244.0.4", "me", false, false, true);
    for (endpoints, expected) in [
        (json!([up, down, leaving, gone]), vec!["10.244.0.1:8080"]),
        (json!([down, leaving, gone]), vec!["10.244.0.3:8080"]),
        (json!([down, gone]), vec![]),
    ] {
        let plan = plan(http(json!({})), endpoints.clone());
        let found = if plan.chains.contains_key(ALL) {
            picks(&plan, ALL)
        } else {
            Vec::new()
        };
        assert_eq!(found, expected, "{endpoints}");
    }
}

#[test]
fn hints_keep_traffic_near() {
    let hinted =
        |ip: &str, zone: &str| json!({"addresses": [ip], "hints": {"forZones": [{"name": zone}]}});
    let near = plan(
        http(json!({})),
        json!([hinted("10.244.0.1", "z1"), hinted("10.244.0.2", "z2")]),
    );
    assert_eq!(picks(&near, ALL), ["10.244.0.1:8080"]);
    let nobody_near = plan(http(json!({})), json!([hinted("10.244.0.2", "z2")]));
    assert_eq!(picks(&nobody_near, ALL), ["10.244.0.2:8080"]);
    let unhinted = plan(
        http(json!({})),
        json!([hinted("10.244.0.1", "z1"), at("10.244.0.2", "x")]),
    );
    assert_eq!(picks(&unhinted, ALL).len(), 2);
    let node = |ip: &str, node: &str| json!({"addresses": [ip], "hints": {"forNodes": [{"name": node}], "forZones": [{"name": "z1"}]}});
    let own = plan(
        http(json!({})),
        json!([node("10.244.0.1", "me"), node("10.244.0.2", "other")]),
    );
    assert_eq!(picks(&own, ALL), ["10.244.0.1:8080"]);
}

#[test]
fn internal_policy_local() {
    let spec = http(json!({"internalTrafficPolicy": "Local"}));
    let here = plan(
        spec.clone(),
        json!([at("10.244.0.2", "me"), at("10.244.1.2", "other")]),
    );
    assert_eq!(picks(&here, "local/ns/web/tcp/http"), ["10.244.0.2:8080"]);
    assert!(!here.chains.contains_key(ALL));
    let elsewhere = plan(spec.clone(), json!([at("10.244.1.2", "other")]));
    assert_eq!(
        elements(&elsewhere),
        ["unserved 10.96.0.5:80 Verdict(Drop)"]
    );
    assert_eq!(
        elements(&plan(spec, json!([]))),
        ["unserved 10.96.0.5:80 reject"]
    );
}

#[test]
fn external_policies() {
    let balanced = |policy: &str| {
        http(
            json!({"type": "LoadBalancer", "externalTrafficPolicy": policy, "externalIPs": ["192.0.2.7"],
            "loadBalancerSourceRanges": ["198.51.100.0/24"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}]}}}),
        )
    };
    let served = [
        "node-ports :30080 ext/ns/web/tcp/http",
        "services 10.96.0.5:80 all/ns/web/tcp/http",
        "services 192.0.2.7:80 ext/ns/web/tcp/http",
        "services 192.0.2.8:80 lb/ns/web/tcp/http",
    ];
    let cluster = plan(balanced("Cluster"), json!([at("10.244.1.2", "other")]));
    assert_eq!(elements(&cluster), served);
    let local = plan(
        balanced("Local"),
        json!([at("10.244.0.2", "me"), at("10.244.1.2", "other")]),
    );
    assert_eq!(elements(&local), served);
    assert_eq!(picks(&local, "local/ns/web/tcp/http"), ["10.244.0.2:8080"]);
    assert_eq!(
        picks(&local, ALL).len(),
        2,
        "pods and the node itself use all endpoints"
    );
    let dropped: Vec<_> = elements(&plan(balanced("Local"), json!([at("10.244.1.2", "other")])))
        .into_iter()
        .filter(|line| line.contains("Drop"))
        .collect();
    assert_eq!(
        dropped,
        [
            "unserved 192.0.2.7:80 Verdict(Drop)",
            "unserved 192.0.2.8:80 Verdict(Drop)",
            "unserved-node-ports :30080 Verdict(Drop)"
        ]
    );
}

#[test]
fn every_endpoint_has_the_same_chance() {
    for count in [1u32, 2, 3, 8] {
        let chances: Vec<_> = one_of(vec![Vec::new(); count as usize])
            .iter()
            .map(|rule| match rule.expressions.first() {
                Some(Expression::Random { below, .. }) => *below,
                _ => 1,
            })
            .collect();
        assert_eq!(chances, (1..=count).rev().collect::<Vec<_>>());
    }
    let many: Vec<_> = (1..=9)
        .map(|n| at(&format!("10.244.0.{n}"), "me"))
        .collect();
    let plan = plan(http(json!({})), many.into());
    assert_eq!((plan.chains[ALL].len(), picks(&plan, ALL).len()), (1, 9));
}

#[test]
fn affinity_gives_each_endpoint_a_chain_and_a_set() {
    let spec = http(
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7}}}),
    );
    let plan = plan(
        spec,
        json!([at("10.244.0.2", "me"), at("10.244.1.2", "other")]),
    );
    let chain = "ep/ns/web/tcp/http/10.244.1.2/8080";
    assert_eq!(picks(&plan, chain), ["10.244.1.2:8080"]);
    let set = &plan.sets["aff/7/ns/web/tcp/http/10.244.1.2/8080"];
    assert_eq!(set.timeout, Some(Duration::from_secs(7)));
    let goals = plan.chains[ALL]
        .iter()
        .filter_map(|rule| rule.expressions.last());
    let to_it =
        goals.filter(|e| matches!(e, Expression::Verdict(Verdict::Goto(to)) if to == chain));
    assert_eq!(to_it.count(), 2, "as bound before, and as drawn");
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let spec = json!({"clusterIP": "10.96.0.5", "ports": [
        {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]});
    let found = elements(&plan(spec.clone(), json!([at("10.244.0.2", "me")])));
    assert_eq!(
        found,
        [
            "services 10.96.0.5:53 all/ns/web/udp/dns",
            "unserved 10.96.0.5:53 reject"
        ]
    );
    let frontends = udp(&view(spec, json!([at("10.244.0.2", "me")])).unwrap());
    let frontend = Frontend {
        ip: Some("10.96.0.5".parse().unwrap()),
        port: 53,
    };
    assert_eq!(
        frontends,
        BTreeMap::from([(
            frontend,
            BTreeSet::from([("10.244.0.2".parse().unwrap(), 53)])
        )])
    );
}
