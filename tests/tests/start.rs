//! Starting, stopping, and starting wrongly.

use std::{os::unix::fs::PermissionsExt, process::Command};

use corten_tests::{Cluster, cluster, eventually};

#[test]
fn one_command_gives_a_ready_node_and_says_how_to_use_it() {
    let mut cluster = cluster!();
    for part in [
        "store",
        "API server",
        "controllers",
        "scheduler",
        "runtime",
        "kubelet",
        "proxy",
        "dns",
        "node-1 is Ready",
        "export KUBECONFIG=",
    ] {
        eventually(&format!("a word of {part}"), || {
            let said = cluster.said().join("\n");
            said.contains(part).then_some(()).ok_or(said)
        });
    }
    let nodes = cluster.kubectl(&["get", "nodes", "-o", "wide"]);
    assert!(
        nodes.contains("node-1") && nodes.contains(" Ready ") && nodes.contains("v1.36"),
        "{nodes}"
    );
    assert_eq!(cluster.stop(), Some(0), "SIGTERM drains and exits 0");
}

#[test]
fn keys_are_private_and_secrets_are_not_readable_on_disk() {
    let mut cluster = cluster!();
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "s",
        "--from-literal=k=a-very-visible-value",
    ]);
    cluster.stop();
    let mut looked_at = 0;
    for entry in walk(&cluster.data().join("pki"))
        .into_iter()
        .chain([cluster.data().join("admin.kubeconfig")])
    {
        let text = std::fs::read(&entry).unwrap();
        if text.windows(11).any(|w| w == b"PRIVATE KEY")
            || entry.extension().is_some_and(|e| e == "key")
        {
            looked_at += 1;
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                entry.display()
            );
        }
    }
    assert!(looked_at >= 3, "keys are expected under pki/");
    for file in walk(&cluster.data().join("store")) {
        let content = std::fs::read(&file).unwrap();
        assert!(
            !content
                .windows(20)
                .any(|w| w == b"a-very-visible-value" || w == b"YS12ZXJ5LXZpc2libGUt"),
            "{} holds the secret",
            file.display()
        );
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path))
        } else {
            files.push(path)
        }
    }
    files
}

/// Runs a server that should not start, and answers what it said.
fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started: {said}");
    assert_eq!(said.trim().lines().count(), 1, "one line is enough: {said}");
    said
}

#[test]
fn a_second_server_on_the_directory_is_refused_and_hurts_nobody() {
    let cluster = cluster!();
    let said = refused(cluster.server_command());
    assert!(
        said.contains("another corten (process ") && said.contains("--data-dir"),
        "{said}"
    );
    cluster.kubectl(&["get", "nodes"]);
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_moves_it() {
    let cluster = cluster!();
    let other = cluster.scratch().join("other");
    let mut command = cluster.world.on_node(corten_tests::cluster::corten());
    command.arg("server").arg("--data-dir").arg(&other);
    let said = refused(command);
    assert!(
        said.contains("6443") && said.contains("--https-listen-port"),
        "{said}"
    );
    cluster.kubectl(&["get", "nodes"]);
}

#[test]
fn a_range_that_another_cluster_left_in_use_is_named() {
    let mut cluster = cluster!();
    cluster.stop();
    let other = cluster.scratch().join("other");
    let mut command = cluster.world.on_node(corten_tests::cluster::corten());
    command.arg("server").arg("--data-dir").arg(&other);
    let said = refused(command);
    assert!(
        said.contains("10.244.0.1")
            && said.contains("--cluster-cidr")
            && said.contains("corten reset"),
        "{said}"
    );
    cluster.launch();
}

#[test]
fn an_impossible_directory_and_a_wrong_flag_are_refused() {
    if let Some(why) = corten_tests::missing() {
        println!("skipped: {why}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut command = Command::new(corten_tests::cluster::corten());
    command
        .arg("server")
        .arg("--data-dir")
        .arg(file.join("data"));
    let said = refused(command);
    assert!(said.contains("data directory"), "{said}");

    let output = Command::new(corten_tests::cluster::corten())
        .args(["server", "--https-listen-prot", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("--https-listen-port"),
        "it should guess the flag that was meant: {said}"
    );
}

#[test]
fn a_restart_finds_everything_again() {
    let mut cluster = cluster!();
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=1"]);
    assert_eq!(cluster.stop(), Some(0));
    cluster.launch();
    assert_eq!(cluster.jsonpath(&["configmap", "kept"], "{.data.a}"), "1");
}

#[test]
fn two_clusters_share_a_machine() {
    let (one, two) = (cluster!(), Cluster::start());
    one.kubectl(&["create", "namespace", "only-here"]);
    assert!(!two.kubectl(&["get", "namespaces"]).contains("only-here"));
}
