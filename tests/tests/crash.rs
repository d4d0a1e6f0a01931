//! `kill -9`: containers keep serving, nothing acknowledged is lost, nothing is restarted.

use corten_tests::{cluster, eventually};

const IDENTITY: &str = "{range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";

#[test]
fn containers_outlive_the_server_and_are_found_again() {
    let mut cluster = cluster!();
    cluster.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image=corten.local/tools",
        "--replicas=3",
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
    ]);
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    let address = cluster.jsonpath(&["service", "web"], "{.spec.clusterIP}");
    let before = cluster.jsonpath(&["pods", "-l", "app=web"], IDENTITY);
    let get = |cluster: &corten_tests::Cluster| {
        cluster.corten(&["tools", "get", "--timeout=5", &format!("http://{address}/")])
    };
    eventually("the Service answers", || {
        let answer = get(&cluster);
        if answer.good() { Ok(()) } else { Err(answer) }
    });

    cluster.kill();
    for _ in 0..10 {
        let answer = get(&cluster);
        assert!(
            answer.out.contains("hostname: web-"),
            "it goes on serving without the server: {answer:?}"
        );
    }
    cluster.launch();
    assert_eq!(
        cluster.jsonpath(&["pods", "-l", "app=web"], IDENTITY),
        before,
        "the same containers, not restarted"
    );
    assert!(get(&cluster).good());

    cluster.kubectl(&["scale", "deployment/web", "--replicas=4"]);
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=4",
        "deployment/web",
        "--timeout=120s",
    ]);
    let pod = cluster.jsonpath(&["pods", "-l", "app=web"], "{.items[0].metadata.name}");
    let hostname = cluster.kubectl(&["exec", &pod, "--", "/corten", "tools", "hostname"]);
    assert_eq!(hostname.trim(), pod);
}

#[test]
fn no_acknowledged_write_is_lost_whenever_the_server_dies() {
    let mut cluster = cluster!();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        for n in 0..5 {
            let name = format!("c-{round}-{n}");
            if cluster.try_kubectl(&["create", "configmap", &name]).good() {
                acknowledged.push(name);
            }
        }
        cluster.kill();
        cluster.launch();
    }
    let there = cluster.kubectl(&["get", "configmaps", "-o", "name"]);
    for name in &acknowledged {
        assert!(
            there.contains(&format!("configmap/{name}\n")),
            "{name} was acknowledged and is not there:\n{there}"
        );
    }
    assert_eq!(acknowledged.len(), 15);
}
