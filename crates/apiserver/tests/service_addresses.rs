//! Addresses and ports of Services: given once, told of by IPAddress objects, and given back.

use serde_json::{Value, json};

use crate::harness::{Client, Cluster};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec["ports"].is_null() && spec["type"] != "ExternalName" {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

async fn made(admin: &Client, name: &str, spec: Value) -> Value {
    admin.post(SERVICES, &service(name, spec)).await.ok()
}

async fn refusal(admin: &Client, spec: Value) -> String {
    let refused = admin.post(SERVICES, &service("refused", spec)).await;
    let refused = refused.fails(422);
    refused["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_holds_its_address_by_an_object() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let default = admin.get(&format!("{CIDRS}/kubernetes")).await.ok();
    assert_eq!(default["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    assert_eq!(default["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(default["status"]["conditions"][0]["status"], "True");
    let own = admin.get(&format!("{ADDRESSES}/10.96.0.1")).await.ok();
    assert_eq!(own["spec"]["parentRef"]["name"], "kubernetes");

    let first = made(&admin, "a", json!({})).await;
    let address = first["spec"]["clusterIP"].as_str().unwrap();
    assert_eq!(first["spec"]["clusterIPs"], json!([address]));
    assert_eq!(first["spec"]["ipFamilies"], json!(["IPv4"]));
    let path = format!("{ADDRESSES}/{address}");
    let object = admin.get(&path).await.ok();
    assert_eq!(
        object["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "a"})
    );
    assert_eq!(
        object["metadata"]["labels"],
        json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"})
    );
    let text = refusal(&admin, json!({"clusterIP": address})).await;
    assert!(
        text.ends_with(&format!(
            "failed to allocate IP {address}: provided IP is already allocated"
        )),
        "{text}"
    );
    admin.delete(&format!("{SERVICES}/a")).await.ok();
    admin.get(&path).await.fails(404);

    let mut dry = service("dry", json!({}));
    dry["metadata"]["name"] = "dry".into();
    let count = async || {
        let list = admin.get(ADDRESSES).await.ok();
        list["items"].as_array().unwrap().len()
    };
    let before = count().await;
    let shown = admin
        .post(&format!("{SERVICES}?dryRun=All"), &dry)
        .await
        .ok();
    assert!(shown["spec"]["clusterIP"].is_string());
    assert_eq!(count().await, before);
    let headless = made(&admin, "headless", json!({"clusterIP": "None"})).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(count().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_give_addresses_while_they_are_ready() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"clusterIP": "203.0.113.10"});
    let text = refusal(&admin, spec.clone()).await;
    assert!(
        text.contains("the provided network does not match the current range"),
        "{text}"
    );
    let cidr = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "more"}, "spec": {"cidrs": ["203.0.113.0/24"]}});
    admin.post(CIDRS, &cidr).await.ok();
    refusal(&admin, spec.clone()).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "",
        "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}]}});
    admin
        .patch(&format!("{CIDRS}/more/status"), "merge", &ready)
        .await
        .ok();
    made(&admin, "a", spec).await;
    let text = refusal(&admin, json!({"clusterIP": "203.0.113.255"})).await;
    assert!(
        text.contains("The range of valid IPs is 203.0.113.0/24"),
        "{text}"
    );
    // An address that somebody else has an object for is taken.
    let foreign = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": "203.0.113.11"},
        "spec": {"parentRef": {"resource": "things", "name": "x"}}});
    admin.post(ADDRESSES, &foreign).await.ok();
    let text = refusal(&admin, json!({"clusterIP": "203.0.113.11"})).await;
    assert!(text.contains("provided IP is already allocated"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_update_or_a_failed_write_has_no_use_for_goes_back() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let first = made(&admin, "a", json!({"type": "NodePort"})).await;
    let address = first["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let port = first["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    // An update that leaves them out keeps them.
    let again = admin
        .put(
            &format!("{SERVICES}/a"),
            &service("a", json!({"type": "NodePort", "selector": {"a": "b"}})),
        )
        .await
        .ok();
    assert_eq!(again["spec"]["clusterIP"], *address);
    assert_eq!(again["spec"]["ports"][0]["nodePort"], port);
    let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    let text = refusal(&admin, spec.clone()).await;
    assert!(
        text.contains("provided port is already allocated"),
        "{text}"
    );
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    let left = admin
        .put(&format!("{SERVICES}/a"), &service("a", external))
        .await
        .ok();
    assert!(left["spec"].get("clusterIP").is_none());
    admin
        .get(&format!("{ADDRESSES}/{address}"))
        .await
        .fails(404);
    let mut next = spec;
    next["clusterIP"] = address.into();
    made(&admin, "b", next).await;

    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let local = made(&admin, "local", local).await;
    let health = local["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&health));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_mends_what_a_stop_half_way_has_left() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let first = made(&admin, "a", json!({})).await;
    let address = first["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let path = format!("{ADDRESSES}/{address}");
    let mut orphan = admin.get(&path).await.ok();
    admin.delete(&path).await.ok();
    orphan["metadata"] = json!({"name": "10.96.200.200", "labels": orphan["metadata"]["labels"]});
    orphan["spec"]["parentRef"]["name"] = "never".into();
    admin.post(ADDRESSES, &orphan).await.ok();
    let Cluster {
        server, store, dir, ..
    } = cluster;
    server.end_watches();
    store.close().await;
    drop((admin, server, store));
    let cluster = Cluster::start_in(dir).await;
    let admin = cluster.admin();
    let mended = admin.get(&path).await.ok();
    assert_eq!(mended["spec"]["parentRef"]["name"], "a");
    admin
        .get(&format!("{ADDRESSES}/10.96.200.200"))
        .await
        .fails(404);
}
