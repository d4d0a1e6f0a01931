//! The commands people type, against a running application.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

use corten_tests::{cluster, eventually};

#[test]
fn the_commands_people_type() {
    let cluster = cluster!();
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
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    let pod = cluster.jsonpath(&["pods", "-l", "app=web"], "{.items[0].metadata.name}");

    let wide = cluster.kubectl(&["get", "pods", "-o", "wide"]);
    assert!(
        wide.starts_with("NAME")
            && wide.contains("IP")
            && wide.contains("node-1")
            && wide.contains("1/1"),
        "{wide}"
    );
    assert!(
        cluster
            .kubectl(&["get", "deployment", "web", "-o", "yaml"])
            .contains("kind: Deployment")
    );
    assert!(
        cluster
            .kubectl(&["describe", "deployment", "web"])
            .contains("ScalingReplicaSet")
    );
    assert!(
        cluster
            .kubectl(&["describe", "node", "node-1"])
            .contains("Allocatable")
    );
    assert!(
        cluster
            .kubectl(&["logs", &pod])
            .contains("listening on port 8080")
    );

    cluster.kubectl(&["label", "pod", &pod, "color=blue"]);
    cluster.kubectl(&["annotate", "pod", &pod, "note=hello"]);
    assert!(
        cluster
            .kubectl(&["get", "pods", "-l", "color=blue", "-o", "name"])
            .contains(&pod)
    );
    cluster.kubectl(&[
        "patch",
        "deployment",
        "web",
        "-p",
        r#"{"spec":{"replicas":3}}"#,
    ]);
    cluster.kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=merge",
        "-p",
        r#"{"metadata":{"labels":{"a":"b"}}}"#,
    ]);
    cluster.kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/labels/a"}]"#,
    ]);
    assert_eq!(
        cluster.jsonpath(
            &["deployment", "web"],
            "{.spec.replicas}{.metadata.labels.a}"
        ),
        "3"
    );

    assert!(cluster.kubectl(&["api-resources"]).contains("deployments"));
    assert!(
        cluster
            .kubectl(&["version"])
            .contains("Server Version: v1.36")
    );
    if corten_tests::find("kubectl").is_none() {
        println!("skipped: the rest needs the full kubectl, which is not on this machine");
        return;
    }
    assert!(cluster.kubectl(&["api-versions"]).contains("apps/v1"));
    assert!(
        cluster
            .kubectl(&["explain", "deployment.spec.strategy"])
            .contains("rollingUpdate")
    );
    assert_eq!(
        cluster.kubectl(&["auth", "can-i", "create", "pods"]).trim(),
        "yes"
    );
    assert!(
        !cluster
            .try_kubectl(&["auth", "can-i", "create", "pods", "--as=nobody"])
            .good()
    );
    assert!(
        cluster
            .kubectl(&["auth", "whoami"])
            .contains("kubernetes-admin")
    );
    assert!(cluster.kubectl(&["cluster-info"]).contains("is running at"));
    assert!(cluster.kubectl(&["events"]).contains("Scheduled"));
    cluster.kubectl(&["cordon", "node-1"]);
    assert!(
        cluster
            .kubectl(&["get", "nodes"])
            .contains("SchedulingDisabled")
    );
    cluster.kubectl(&["uncordon", "node-1"]);

    let diff = cluster.scratch().join("web.yaml");
    let manifest = cluster
        .kubectl(&["get", "deployment", "web", "-o", "yaml"])
        .replace("replicas: 3", "replicas: 1");
    std::fs::write(&diff, manifest).unwrap();
    let differs = cluster.try_kubectl(&["diff", "-f", diff.to_str().unwrap()]);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    assert!(
        differs.out.contains("-  replicas: 3") && differs.out.contains("+  replicas: 1"),
        "{differs:?}"
    );
    cluster.kubectl(&["replace", "-f", diff.to_str().unwrap()]);
    assert_eq!(
        cluster.jsonpath(&["deployment", "web"], "{.spec.replicas}"),
        "1"
    );
}

#[test]
fn server_side_apply_knows_who_set_what() {
    let cluster = cluster!();
    let manifest = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shared}}\ndata: {{key: {value}}}\n"
        )
    };
    cluster.kubectl_with(
        &["apply", "--server-side", "--field-manager=one", "-f", "-"],
        &manifest("a"),
    );
    let file = cluster.scratch().join("shared.yaml");
    std::fs::write(&file, manifest("b")).unwrap();
    let file = file.to_str().unwrap();
    let conflict =
        cluster.try_kubectl(&["apply", "--server-side", "--field-manager=two", "-f", file]);
    assert!(
        !conflict.good()
            && conflict.err.contains("conflict with \"one\"")
            && conflict.err.contains(".data.key"),
        "{conflict:?}"
    );
    cluster.kubectl(&[
        "apply",
        "--server-side",
        "--field-manager=two",
        "--force-conflicts",
        "-f",
        file,
    ]);
    assert_eq!(
        cluster.jsonpath(&["configmap", "shared"], "{.data.key}"),
        "b"
    );
}

#[test]
fn bad_input_names_the_field() {
    let cluster = cluster!();
    let bad = "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: BAD, image: x, prots: []}]}\n";
    let file = cluster.scratch().join("bad.yaml");
    std::fs::write(&file, bad).unwrap();
    let refused = cluster.try_kubectl(&["create", "-f", file.to_str().unwrap()]);
    assert!(
        !refused.good()
            && refused
                .err
                .contains("unknown field \"spec.containers[0].prots\""),
        "{refused:?}"
    );
    std::fs::write(&file, bad.replace(", prots: []", "")).unwrap();
    let refused = cluster.try_kubectl(&["create", "-f", file.to_str().unwrap()]);
    assert!(
        refused
            .err
            .contains("spec.containers[0].name: Invalid value: \"BAD\""),
        "{refused:?}"
    );
}

#[test]
fn logs_follow_and_watches_watch() {
    let cluster = cluster!();
    cluster.kubectl(&[
        "run",
        "talker",
        "--image=corten.local/tools",
        "--restart=Never",
        "--",
        "exit",
        "--after=2",
        "0",
    ]);
    let mut watch = cluster
        .kubectl_command(&["get", "pod", "talker", "-w", "--no-headers"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let completed = lines.map_while(Result::ok).any(|l| l.contains("Completed"));
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(completed, "the watch saw it complete");
    let followed = cluster.kubectl(&["logs", "-f", "talker"]);
    assert_eq!(followed.trim(), "exiting with 0");
}

#[test]
fn exec_passes_input_output_and_the_exit_code() {
    let cluster = cluster!();
    cluster.kubectl(&["run", "box", "--image=corten.local/tools", "--", "sleep"]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/box", "--timeout=120s"]);
    let back = cluster.kubectl_with(
        &["exec", "-i", "box", "--", "/corten", "tools", "cat"],
        "there and back\n",
    );
    assert_eq!(back, "there and back\n");
    let failed = cluster.try_kubectl(&["exec", "box", "--", "/corten", "tools", "exit", "42"]);
    assert_eq!(failed.code, Some(42), "{failed:?}");
    let missing = cluster.try_kubectl(&["exec", "box", "--", "/nothing"]);
    assert!(
        !missing.good() && missing.err.contains("no such file or directory"),
        "{missing:?}"
    );
}

#[test]
fn a_port_is_forwarded() {
    let cluster = cluster!();
    if corten_tests::find("kubectl").is_none() {
        println!("skipped: needs the full kubectl, which is not on this machine");
        return;
    }
    cluster.kubectl(&["run", "web", "--image=corten.local/tools", "--", "echo"]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=120s"]);
    let mut forward = cluster
        .kubectl_command(&["port-forward", "pod/web", "18080:8080"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(forward.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let answer = cluster.corten(&["tools", "get", "http://127.0.0.1:18080/forwarded"]);
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert!(line.contains("Forwarding from"), "{line}");
    assert!(answer.out.contains("GET /forwarded"), "{answer:?}");
}

#[test]
fn files_are_copied_in_and_out() {
    let cluster = cluster!();
    let (Some(_), Some(busybox)) = (corten_tests::find("kubectl"), corten_tests::find("busybox"))
    else {
        println!("skipped: needs kubectl and a static busybox");
        return;
    };
    let binary = std::fs::read(busybox).unwrap();
    let archive = cluster.scratch().join("box.tar");
    let config =
        serde_json::json!({"Cmd": ["/bin/busybox", "sleep", "1000000"], "Env": ["PATH=/bin"]});
    let files: Vec<(&str, u32, &[u8])> = vec![
        ("bin/busybox", 0o755, &binary),
        ("bin/tar", 0o755, &binary),
        ("bin/sh", 0o755, &binary),
        ("bin/cat", 0o755, &binary),
    ];
    corten_tests::images::archive(&archive, "tests.local/box:1", config, &files);
    let imported = cluster.corten(&["image", "import", archive.to_str().unwrap()]);
    assert!(
        imported.good() && imported.out.contains("tests.local/box:1"),
        "{imported:?}"
    );
    cluster.kubectl(&[
        "run",
        "box",
        "--image=tests.local/box:1",
        "--image-pull-policy=Never",
    ]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/box", "--timeout=120s"]);
    let there = cluster.scratch().join("there.txt");
    let back = cluster.scratch().join("back.txt");
    std::fs::write(&there, "carried\n").unwrap();
    cluster.kubectl(&["cp", there.to_str().unwrap(), "box:/copied.txt"]);
    assert_eq!(
        cluster.kubectl(&["exec", "box", "--", "cat", "/copied.txt"]),
        "carried\n"
    );
    cluster.kubectl(&["cp", "box:/copied.txt", back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "carried\n");
}

#[test]
fn attach_reaches_a_running_container() {
    let cluster = cluster!();
    if corten_tests::find("kubectl").is_none() {
        println!("skipped: needs the full kubectl, which is not on this machine");
        return;
    }
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: cat}\nspec: {containers: [{name: cat, image: corten.local/tools, args: [cat], stdin: true}]}\n";
    cluster.apply(pod);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/cat", "--timeout=120s"]);
    let mut attach = cluster
        .kubectl_command(&["attach", "-i", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    attach
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"hello there\n")
        .unwrap();
    let mut echoed = vec![0; 12];
    attach
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut echoed)
        .unwrap();
    attach.kill().unwrap();
    attach.wait().unwrap();
    assert_eq!(echoed, b"hello there\n");
    eventually("it is in the log too", || {
        let log = cluster.kubectl(&["logs", "cat"]);
        if log == "hello there\n" {
            Ok(())
        } else {
            Err(log)
        }
    });
}
