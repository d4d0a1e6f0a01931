//! What the node does for its containers: images from private registries, logs that do not fill
//! the disk, figures of what is used.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Stdio,
};

use corten_tests::{
    Cluster, cluster, eventually, images,
    registry::{PASSWORD, Registry, USER},
};
use serde_json::json;

fn pod(name: &str, image: &str, secret: Option<&str>) -> String {
    let secrets = secret.map_or_else(Vec::new, |name| vec![json!({"name": name})]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "imagePullSecrets": secrets,
            "containers": [{"name": "main", "image": image}],
        },
    })
    .to_string()
}

/// Waits for a waiting reason of the pod's container, and answers the events that tell why.
fn why_waiting(cluster: &Cluster, pod: &str, reason: &str) -> String {
    let path = "{.status.containerStatuses[0].state.waiting.reason}";
    eventually(&format!("{pod} says {reason}"), || {
        let now = cluster.jsonpath(&["pod", pod], path);
        if now == reason { Ok(()) } else { Err(now) }
    });
    let about = format!("involvedObject.name={pod},reason=Failed");
    eventually(&format!("{pod} has an event"), || {
        let events = cluster.jsonpath(
            &["events", "--field-selector", &about],
            "{.items[*].message}",
        );
        if events.contains("pull") {
            Ok(events)
        } else {
            Err(events)
        }
    })
}

#[test]
fn private_images_are_pulled_with_the_pods_secrets() {
    let Some(busybox) = images::busybox() else {
        println!("skipped: needs a static busybox");
        return;
    };
    let cluster = cluster!();
    let Some(registry) = Registry::start(&cluster.world, cluster.scratch()) else {
        println!("skipped: needs the program docker-registry");
        return;
    };
    let files: [images::File<'_>; 1] = [("busybox", 0o755, &busybox)];
    let config = json!({"Entrypoint": ["/busybox", "echo", "from a private registry"]});
    registry.push(&cluster.world, "team/app", "v1", config, &files);
    let image = format!("{}/team/app:v1", registry.address);
    for (name, password) in [("good", PASSWORD), ("bad", "wrong")] {
        cluster.kubectl(&[
            "create",
            "secret",
            "docker-registry",
            name,
            &format!("--docker-server={}", registry.address),
            &format!("--docker-username={USER}"),
            &format!("--docker-password={password}"),
        ]);
    }
    cluster.apply(&pod("nothing", &image, None));
    cluster.apply(&pod("wrong", &image, Some("bad")));
    cluster.apply(&pod(
        "missing",
        &format!("{}/team/app:v9", registry.address),
        Some("good"),
    ));
    cluster.apply(&pod("right", &image, Some("good")));
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/right",
        "--timeout=60s",
    ]);
    assert_eq!(
        cluster.kubectl(&["logs", "right"]),
        "from a private registry\n"
    );
    for (pod, words) in [
        ("nothing", "pull access denied"),
        ("wrong", "pull access denied"),
        ("missing", "team/app:v9: not found"),
    ] {
        let events = why_waiting(&cluster, pod, "ImagePullBackOff");
        assert!(events.contains(words), "{pod}: {events}");
        assert!(!events.contains("wrong\""), "{events}");
    }
    // The service account's secrets are the pod's too, and the image being there is not enough.
    let patch = r#"{"imagePullSecrets": [{"name": "good"}]}"#;
    cluster.kubectl(&["patch", "serviceaccount", "default", "-p", patch]);
    cluster.apply(&pod("by-account", &image, None));
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/by-account",
        "--timeout=60s",
    ]);
}

/// Rotated files of the container's first log.
fn rotated(cluster: &Cluster) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![cluster.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                folders.push(path);
            } else if path.to_string_lossy().contains("_talker_")
                && !path.ends_with("0.log")
                && path.extension().is_none_or(|e| e != "tmp")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn logs_are_rotated_and_followers_lose_nothing() {
    let Some(busybox) = images::busybox() else {
        println!("skipped: needs a static busybox");
        return;
    };
    let cluster = cluster!();
    let archive = cluster.scratch().join("busybox.tar");
    let files: [images::File<'_>; 1] = [("bin/sh", 0o755, &busybox)];
    images::archive(
        &archive,
        "test.local/shell:v1",
        json!({"Env": ["PATH=/bin"]}),
        &files,
    );
    let imported = cluster.corten(&["image", "import", &archive.display().to_string()]);
    assert!(imported.good(), "{}", imported.err);
    // A talker that has said more than a log may hold by each look, and waits for the looks.
    let script = r#"n=0; text=$(printf '%0200d' 0)
        for round in 1 2 3; do
          while [ $n -lt $((round * 60000)) ]; do n=$((n+1)); echo "$n $text"; done
          while [ ! -e /go/$round ]; do read -t 1 x </dev/null; done
        done; echo end"#;
    let go = cluster.scratch().join("go");
    std::fs::create_dir(&go).unwrap();
    cluster.apply(
        &json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talker"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "main", "image": "test.local/shell:v1", "command": ["sh", "-c", script],
                    "volumeMounts": [{"name": "go", "mountPath": "/go"}],
                }],
                "volumes": [{"name": "go", "hostPath": {"path": go}}],
            },
        })
        .to_string(),
    );
    cluster.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/talker",
        "--timeout=60s",
    ]);
    let mut follower = cluster
        .kubectl_command(&["logs", "-f", "talker"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = follower.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut next = 1;
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            let first = line.split(' ').next().unwrap_or_default().to_owned();
            if first == "end" {
                break;
            }
            assert_eq!(first, next.to_string(), "a line is missing or comes twice");
            next += 1;
        }
        next - 1
    });
    for round in 1..=2 {
        eventually(&format!("rotation {round}"), || {
            let files = rotated(&cluster);
            if files.len() == round {
                Ok(())
            } else {
                Err(files)
            }
        });
        std::fs::write(go.join(round.to_string()), "").unwrap();
    }
    let files = rotated(&cluster);
    let compressed = |path: &PathBuf| path.extension().is_some_and(|e| e == "gz");
    assert!(compressed(&files[0]) && !compressed(&files[1]), "{files:?}");
    std::fs::write(go.join("3"), "").unwrap();
    assert_eq!(reader.join().unwrap(), 180_000);
    assert!(follower.wait().unwrap().success());
    // Deleting the pod takes all of them.
    cluster.kubectl(&["delete", "pod", "talker"]);
    eventually("the logs are gone", || {
        let files = rotated(&cluster);
        if files.is_empty() { Ok(()) } else { Err(files) }
    });
}

#[test]
fn the_node_tells_what_its_containers_use() {
    let cluster = cluster!();
    cluster.kubectl(&["run", "busy", "--image=corten.local/tools", "--", "sleep"]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/busy", "--timeout=60s"]);
    let raw = |path: &str| {
        let path = format!("/api/v1/nodes/node-1/proxy/{path}");
        cluster.kubectl(&["get", "--raw", &path])
    };
    let summary: serde_json::Value = serde_json::from_str(&raw("stats/summary")).unwrap();
    assert_eq!(summary["node"]["nodeName"], "node-1");
    for part in [
        &summary["node"]["cpu"]["usageCoreNanoSeconds"],
        &summary["node"]["fs"]["capacityBytes"],
    ] {
        assert!(part.as_u64().is_some_and(|n| n > 0), "{}", summary["node"]);
    }
    let pods = summary["pods"].as_array().unwrap();
    let pod = pods.iter().find(|p| p["podRef"]["name"] == "busy").unwrap();
    let container = &pod["containers"][0];
    assert_eq!(container["name"], "busy");
    for (kind, field) in [
        ("cpu", "usageCoreNanoSeconds"),
        ("memory", "workingSetBytes"),
        ("rootfs", "usedBytes"),
    ] {
        assert!(
            container[kind][field].as_u64().is_some_and(|n| n > 0),
            "{kind}: {container}"
        );
    }
    assert!(
        pod["network"]["rxBytes"].is_u64() || pod["network"]["interfaces"].is_array(),
        "{pod}"
    );
    for (path, metric) in [
        ("metrics/cadvisor", "container_cpu_usage_seconds_total{"),
        ("metrics/cadvisor", "container_memory_working_set_bytes{"),
        ("metrics/resource", "container_cpu_usage_seconds_total{"),
        ("metrics/resource", "pod_memory_working_set_bytes{"),
        ("metrics/resource", "node_memory_working_set_bytes"),
    ] {
        let text = raw(path);
        let lines = text.lines().filter(|l| l.starts_with(metric));
        let about: Vec<&str> = lines
            .filter(|l| l.contains("pod=\"busy\"") || metric.starts_with("node_"))
            .collect();
        assert!(!about.is_empty(), "{path} has no {metric}: {text}");
    }
}

#[test]
fn static_pods_run_from_files_and_show_in_the_api() {
    use corten_tests::{missing, wait::LONGEST};
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let manifests = tempfile::tempdir().unwrap();
    let file = manifests.path().join("web.yaml");
    let write = |word: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  \
             - {{name: a, image: corten.local/tools, args: [echo], env: [{{name: WORD, value: {word}}}]}}\n"
        );
        // As an editor does, or a configuration tool: whole at once.
        let unfinished = manifests.path().join(".web.yaml");
        std::fs::write(&unfinished, text).unwrap();
        std::fs::rename(&unfinished, &file).unwrap();
    };
    write("first");
    let path = manifests.path().display().to_string();
    let mut cluster = Cluster::start_with(&["--pod-manifest-path", &path]);
    let timeout = format!("--timeout={}s", LONGEST.as_secs());
    let wait = |cluster: &Cluster| {
        eventually("the mirror pod is there", || {
            let pod = cluster.try_kubectl(&["get", "pod", "web-node-1"]);
            if pod.good() { Ok(()) } else { Err(pod.err) }
        });
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web-node-1", &timeout]);
        cluster.jsonpath(
            &["pod", "web-node-1"],
            "{.status.containerStatuses[0].containerID}",
        )
    };
    let first = wait(&cluster);
    assert!(
        cluster
            .kubectl(&["exec", "web-node-1", "--", "env"])
            .contains("WORD=first")
    );
    let owner = "{.metadata.ownerReferences[0].kind}";
    assert_eq!(cluster.jsonpath(&["pod", "web-node-1"], owner), "Node");
    // The mirror goes and comes back; the containers know nothing of it.
    cluster.kubectl(&["delete", "pod", "web-node-1", "--grace-period=0", "--force"]);
    assert_eq!(wait(&cluster), first);
    // Nor of a new server.
    cluster.kill();
    cluster.launch();
    assert_eq!(wait(&cluster), first);
    write("second");
    eventually("the changed pod runs", || {
        let env = cluster.try_kubectl(&["exec", "web-node-1", "--", "env"]);
        if env.out.contains("WORD=second") {
            Ok(())
        } else {
            Err(env.err)
        }
    });
    std::fs::remove_file(&file).unwrap();
    eventually("the pod is gone", || {
        let pods = cluster.kubectl(&["get", "pods", "-o", "name"]);
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    });
}
