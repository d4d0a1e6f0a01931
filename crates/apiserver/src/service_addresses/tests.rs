//! Addresses and ports of Services are given once, and given back.

use std::sync::Arc;

use super::*;

fn addresses(network: &str, ports: (u16, u16)) -> Addresses {
    Addresses::new(
        network.parse().unwrap(),
        ports,
        Arc::new(|bytes| bytes.fill(7)),
    )
}

fn services() -> &'static Resource {
    api::catalog::builtin()
        .resource("", "v1", "services")
        .unwrap()
}

fn service(spec: Value) -> Value {
    json!({"kind": "Service", "metadata": {"name": "a"}, "spec": spec})
}

#[test]
fn an_address_is_given_kept_and_given_back() {
    let addresses = addresses("10.0.0.0/30", (30000, 30001));
    let mut first = service(json!({"type": "ClusterIP"}));
    addresses
        .reserve(services(), &mut first, None)
        .unwrap()
        .keep();
    assert_eq!(
        first["spec"]["clusterIPs"],
        json!([first["spec"]["clusterIP"]])
    );
    assert_eq!(first["spec"]["ipFamilies"], json!(["IPv4"]));
    let mut second = service(json!({"type": "ClusterIP"}));
    drop(addresses.reserve(services(), &mut second, None).unwrap());
    let mut third = service(json!({"type": "ClusterIP"}));
    addresses
        .reserve(services(), &mut third, None)
        .unwrap()
        .keep();
    let mut fourth = service(json!({"type": "ClusterIP"}));
    assert!(
        addresses.reserve(services(), &mut fourth, None).is_err(),
        "two addresses, both taken"
    );
    addresses.release(services(), &first);
    let mut fifth = service(json!({"type": "ClusterIP"}));
    addresses
        .reserve(services(), &mut fifth, None)
        .unwrap()
        .keep();
    assert_eq!(fifth["spec"]["clusterIP"], first["spec"]["clusterIP"]);
}

#[test]
fn an_address_asked_for_must_be_free_and_inside() {
    let addresses = addresses("10.0.0.0/24", (30000, 30010));
    let mut own = service(json!({"clusterIP": "10.0.0.9"}));
    addresses
        .reserve(services(), &mut own, None)
        .unwrap()
        .keep();
    for (ip, word) in [
        ("10.0.0.9", "already allocated"),
        ("10.9.0.1", "not in the valid range"),
    ] {
        let mut other = service(json!({"clusterIP": ip}));
        let error = addresses
            .reserve(services(), &mut other, None)
            .err()
            .unwrap();
        assert!(error.message.contains(word), "{error}");
    }
    let mut same = service(json!({}));
    addresses
        .reserve(services(), &mut same, Some(&own))
        .unwrap()
        .keep();
    assert_eq!(same["spec"]["clusterIP"], "10.0.0.9");
    let mut headless = service(json!({"clusterIP": "None"}));
    addresses
        .reserve(services(), &mut headless, None)
        .unwrap()
        .keep();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[test]
fn node_ports_follow_the_type() {
    let addresses = addresses("10.0.0.0/24", (30000, 30010));
    let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP", "nodePort": 30007}]);
    let mut first = service(json!({"type": "NodePort", "ports": ports}));
    addresses
        .reserve(services(), &mut first, None)
        .unwrap()
        .keep();
    let number = first["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=30010).contains(&number));
    let mut again =
        service(json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}));
    addresses
        .reserve(services(), &mut again, Some(&first))
        .unwrap()
        .keep();
    assert_eq!(again["spec"]["ports"][0]["nodePort"].as_u64(), Some(number));
    let mut taker = service(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30007}]}));
    addresses
        .reserve(services(), &mut taker, None)
        .unwrap()
        .keep();
    let mut plain =
        service(json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": number}]}));
    addresses
        .reserve(services(), &mut plain, Some(&again))
        .unwrap()
        .keep();
    assert!(plain["spec"]["ports"][0].get("nodePort").is_none());
}
