//! What a pod can reach: Services by address and by name, the outside, the API.

use std::{io::Read, process::Stdio};

use corten_tests::{Cluster, cluster, eventually, world};

/// Runs a program of the built-in image in a pod until it ends, and answers what it printed.
fn in_pod(cluster: &Cluster, name: &str, arguments: &[&str]) -> String {
    let all: Vec<&str> = [
        "run",
        name,
        "--image=corten.local/tools",
        "--restart=Never",
        "--",
    ]
    .iter()
    .chain(arguments)
    .copied()
    .collect();
    cluster.kubectl(&all);
    let ended = eventually("the pod ends", || {
        let phase = cluster.jsonpath(&["pod", name], "{.status.phase}");
        if matches!(phase.as_str(), "Succeeded" | "Failed") {
            Ok(phase)
        } else {
            Err(phase)
        }
    });
    let logs = cluster.kubectl(&["logs", name]);
    assert_eq!(ended, "Succeeded", "{arguments:?}: {logs}");
    cluster.kubectl(&["delete", "pod", name]);
    logs
}

fn serving(cluster: &Cluster) {
    cluster.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image=corten.local/tools",
        "--replicas=2",
        "--",
        "/corten",
        "tools",
        "echo",
    ]);
    cluster.kubectl(&[
        "expose",
        "deployment",
        "web",
        "--port=80",
        "--target-port=8080",
        "--type=NodePort",
    ]);
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    eventually("both endpoints are known", || {
        let addresses = cluster.jsonpath(
            &["endpointslices", "-l", "kubernetes.io/service-name=web"],
            "{.items[*].endpoints[*].addresses[*]}",
        );
        if addresses.split(' ').count() == 2 {
            Ok(())
        } else {
            Err(addresses)
        }
    });
}

#[test]
fn services_answer_by_address_by_every_name_and_on_the_nodes_port() {
    let cluster = cluster!();
    serving(&cluster);
    let address = cluster.jsonpath(&["service", "web"], "{.spec.clusterIP}");
    for (at, host) in [
        address.as_str(),
        "web",
        "web.default",
        "web.default.svc.cluster.local",
    ]
    .iter()
    .enumerate()
    {
        let answer = in_pod(
            &cluster,
            &format!("client-{at}"),
            &["get", &format!("http://{host}/path")],
        );
        assert!(
            answer.contains("hostname: web-") && answer.contains("GET /path HTTP/1.1"),
            "{host}: {answer}"
        );
    }
    let port = cluster.jsonpath(&["service", "web"], "{.spec.ports[0].nodePort}");
    let mut outside = cluster.world.on_outside(corten_tests::cluster::corten());
    let answer = outside
        .args(["tools", "get", &format!("http://{}:{port}/", world::NODE)])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&answer.stdout).contains("hostname: web-"),
        "{answer:?}"
    );
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    let cluster = cluster!();
    cluster.kubectl(&["create", "service", "clusterip", "empty", "--tcp=80:8080"]);
    let address = cluster.jsonpath(&["service", "empty"], "{.spec.clusterIP}");
    let name = "client";
    cluster.kubectl(&[
        "run",
        name,
        "--image=corten.local/tools",
        "--restart=Never",
        "--",
        "get",
        "--timeout=60",
        &format!("http://{address}/"),
    ]);
    eventually("the client fails", || {
        let phase = cluster.jsonpath(&["pod", name], "{.status.phase}");
        if phase == "Failed" {
            Ok(())
        } else {
            Err(phase)
        }
    });
    let logs = cluster.kubectl(&["logs", name]);
    assert!(logs.contains("refused"), "{logs}");
}

#[test]
fn the_outside_is_reached_through_the_host() {
    let cluster = cluster!();
    let mut server = cluster.world.on_outside(corten_tests::cluster::corten());
    let mut server = server
        .args(["tools", "echo", "--port", "8099"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 9];
    server
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let answer = in_pod(
        &cluster,
        "client",
        &["get", &format!("http://{}:8099/", world::OUTSIDE)],
    );
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(
        answer.contains(&format!("peer: {}", world::NODE)),
        "masqueraded as the node: {answer}"
    );
}

#[test]
fn a_pod_knows_its_account_and_the_api_knows_the_pod() {
    let cluster = cluster!();
    let token = in_pod(
        &cluster,
        "token",
        &["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"],
    );
    assert_eq!(token.split('.').count(), 3, "{token}");
    let namespace = in_pod(
        &cluster,
        "namespace",
        &[
            "cat",
            "/var/run/secrets/kubernetes.io/serviceaccount/namespace",
        ],
    );
    assert_eq!(namespace.trim_end(), "default");
    let addresses = in_pod(&cluster, "resolve", &["resolve", "kubernetes.default"]);
    assert_eq!(
        addresses.trim(),
        cluster.jsonpath(&["service", "kubernetes"], "{.spec.clusterIP}")
    );
}

#[test]
fn cni_plugins_make_the_pod_network_when_they_are_configured() {
    if let Some(why) = corten_tests::missing() {
        println!("skipped: {why}");
        return;
    }
    let plugins = std::path::Path::new("/usr/lib/cni");
    if !plugins.join("bridge").is_file() || !plugins.join("host-local").is_file() {
        println!("skipped: needs the CNI plugins of Debian's containernetworking-plugins");
        return;
    }
    let conf = tempfile::tempdir().unwrap();
    let network = serde_json::json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [{
        "type": "bridge", "bridge": "cni-pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
                 "dataDir": conf.path().join("leases")},
    }]});
    std::fs::write(conf.path().join("10-pods.conflist"), network.to_string()).unwrap();
    let cluster = Cluster::start_with(&[
        "--cni-conf-dir",
        conf.path().to_str().unwrap(),
        "--cni-bin-dir",
        "/usr/lib/cni",
        "--cluster-cidr",
        "10.88.0.0/16",
    ]);
    serving(&cluster);
    let addresses = cluster.jsonpath(&["pods", "-l", "app=web"], "{.items[*].status.podIP}");
    assert!(
        addresses.split(' ').all(|a| a.starts_with("10.88.0.")),
        "{addresses}"
    );
    let answer = in_pod(&cluster, "client", &["get", "http://web/"]);
    assert!(answer.contains("hostname: web-"), "{answer}");
    cluster.kubectl(&["delete", "deployment", "web", "--cascade=foreground"]);
}
