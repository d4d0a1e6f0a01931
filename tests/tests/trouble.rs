//! What the user sees when a container does not do what it should.

use corten_tests::{cluster, eventually};

#[test]
fn a_container_that_ends_is_started_again_more_and_more_slowly() {
    let cluster = cluster!();
    cluster.kubectl(&[
        "run",
        "crash",
        "--image=corten.local/tools",
        "--",
        "exit",
        "3",
    ]);
    eventually("it backs off", || {
        let waiting = cluster.jsonpath(
            &["pod", "crash"],
            "{.status.containerStatuses[0].state.waiting.reason}",
        );
        if waiting == "CrashLoopBackOff" {
            Ok(())
        } else {
            Err(waiting)
        }
    });
    let code = cluster.jsonpath(
        &["pod", "crash"],
        "{.status.containerStatuses[0].lastState.terminated.exitCode}",
    );
    assert_eq!(code, "3");
    eventually("it was restarted twice", || {
        let count = cluster.jsonpath(
            &["pod", "crash"],
            "{.status.containerStatuses[0].restartCount}",
        );
        if count.parse::<u32>().is_ok_and(|c| c >= 2) {
            Ok(())
        } else {
            Err(count)
        }
    });
    assert!(
        cluster
            .kubectl(&["logs", "crash", "--previous"])
            .contains("exiting with 3")
    );
    let described = cluster.kubectl(&["describe", "pod", "crash"]);
    assert!(described.contains("BackOff"), "{described}");
}

#[test]
fn a_pod_over_its_memory_is_killed_and_says_so() {
    let cluster = cluster!();
    let limits = r#"{"spec":{"containers":[{"name":"big","image":"corten.local/tools","args":["memory","256Mi"],"resources":{"limits":{"memory":"32Mi"}}}],"restartPolicy":"Never"}}"#;
    cluster.kubectl(&[
        "run",
        "big",
        "--image=corten.local/tools",
        "--restart=Never",
        "--overrides",
        limits,
    ]);
    let reason = eventually("it ends", || {
        let reason = cluster.jsonpath(
            &["pod", "big"],
            "{.status.containerStatuses[0].state.terminated.reason}",
        );
        if reason.is_empty() {
            Err(reason)
        } else {
            Ok(reason)
        }
    });
    assert_eq!(reason, "OOMKilled");
    assert_eq!(
        cluster.jsonpath(
            &["pod", "big"],
            "{.status.containerStatuses[0].state.terminated.exitCode}"
        ),
        "137"
    );
}

#[test]
fn an_image_that_cannot_be_had_says_why() {
    let cluster = cluster!();
    cluster.kubectl(&["run", "missing", "--image=127.0.0.1:1/nothing/here:1"]);
    for wanted in ["ErrImagePull", "ImagePullBackOff"] {
        eventually(wanted, || {
            let reason = cluster.jsonpath(
                &["pod", "missing"],
                "{.status.containerStatuses[0].state.waiting.reason}",
            );
            if reason == wanted || reason == "ImagePullBackOff" {
                Ok(())
            } else {
                Err(reason)
            }
        });
    }
    let described = cluster.kubectl(&["describe", "pod", "missing"]);
    assert!(
        described.contains("Failed to pull image \"127.0.0.1:1/nothing/here:1\""),
        "{described}"
    );
    assert!(
        described.contains("refused"),
        "the reason is in the events: {described}"
    );
}

#[test]
fn a_pod_that_fits_nowhere_says_why() {
    let cluster = cluster!();
    let overrides = r#"{"spec":{"nodeSelector":{"disk":"ssd"}}}"#;
    cluster.kubectl(&[
        "run",
        "picky",
        "--image=corten.local/tools",
        "--overrides",
        overrides,
        "--",
        "sleep",
    ]);
    let message = eventually("the scheduler speaks", || {
        let message = cluster.jsonpath(
            &["pod", "picky"],
            "{.status.conditions[?(@.type=='PodScheduled')].message}",
        );
        if message.is_empty() {
            Err(message)
        } else {
            Ok(message)
        }
    });
    assert!(
        message.starts_with(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        ),
        "{message}"
    );
    cluster.kubectl(&["label", "node", "node-1", "disk=ssd"]);
    cluster.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/picky",
        "--timeout=120s",
    ]);
}

#[test]
fn a_failing_liveness_probe_restarts_and_a_failing_readiness_probe_does_not() {
    let cluster = cluster!();
    cluster.apply(
        r"
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  containers:
  - name: dead
    image: corten.local/tools
    args: [sleep]
    livenessProbe: {exec: {command: [/corten, tools, 'false']}, periodSeconds: 1, failureThreshold: 1}
    terminationMessagePath: /dev/termination-log
  - name: unready
    image: corten.local/tools
    args: [sleep]
    readinessProbe: {exec: {command: [/corten, tools, 'false']}, periodSeconds: 1, failureThreshold: 1}
  terminationGracePeriodSeconds: 1
",
    );
    eventually("the first is restarted", || {
        let count = cluster.jsonpath(
            &["pod", "probed"],
            "{.status.containerStatuses[?(@.name=='dead')].restartCount}",
        );
        if count.parse::<u32>().is_ok_and(|c| c >= 1) {
            Ok(())
        } else {
            Err(count)
        }
    });
    let second = "{.status.containerStatuses[?(@.name=='unready')]['restartCount','ready']}";
    assert_eq!(cluster.jsonpath(&["pod", "probed"], second), "0 false");
}
