//! Containers from start to end.

use std::time::Duration;

use cri::v1;

use crate::harness::Node;

fn stop(id: &str, timeout: i64) -> v1::StopContainerRequest {
    v1::StopContainerRequest {
        container_id: id.into(),
        timeout,
    }
}

pub async fn runs_logs_and_stops(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("logs").await;
    let id = node.run(&sandbox, node.container_config(&["both"])).await;
    let status = node.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    let mut log = node.log("logs");
    log.sort();
    let line = |stream: &str, text: &str| (stream.to_owned(), "F".to_owned(), text.to_owned());
    assert_eq!(
        log,
        [line("stderr", "to stderr"), line("stdout", "to stdout")]
    );

    let sleeper = node.run(&sandbox, node.container_config(&["sleep"])).await;
    assert_eq!(
        node.status(&sleeper).await.state,
        v1::ContainerState::ContainerRunning as i32
    );
    let exec = node.exec(&sleeper, &["echo", "hello", "there"]).await;
    assert_eq!(
        (exec.exit_code, exec.stdout.as_slice()),
        (0, b"hello there\n".as_slice())
    );
    assert_eq!(node.exec(&sleeper, &["exit", "7"]).await.exit_code, 7);
    // PID 1 without a handler ignores SIGTERM: the kill after the time-out ends it.
    node.cri
        .clone()
        .stop_container(stop(&sleeper, 1))
        .await
        .unwrap();
    assert_eq!(node.status(&sleeper).await.exit_code, 137);
    node.cri
        .clone()
        .stop_container(stop(&sleeper, 1))
        .await
        .unwrap();
    for id in [&id, &sleeper] {
        let request = || v1::RemoveContainerRequest {
            container_id: id.clone(),
        };
        node.cri.clone().remove_container(request()).await.unwrap();
        node.cri.clone().remove_container(request()).await.unwrap();
    }
}

pub async fn bad_commands_say_why(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("bad").await;
    for (command, text) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        (
            "/nope",
            "exec: \"/nope\": stat /nope: no such file or directory",
        ),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let mut config = node.container_config(&[]);
        config.command = vec![command.into()];
        let id = node.create(&sandbox, config).await;
        let error = node.start_container(&id).await.unwrap_err();
        assert!(error.message().contains(text), "{error}");
        let status = node.status(&id).await;
        assert_eq!(
            (status.exit_code, status.reason.as_str()),
            (128, "StartError")
        );
        assert!(status.message.contains(text));
    }
    let mut config = node.container_config(&["sleep"]);
    config.image.as_mut().unwrap().image = "test.local/none".into();
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: sandbox,
        config: Some(config),
        sandbox_config: None,
    };
    let error = node
        .cri
        .clone()
        .create_container(request)
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound);
}

pub async fn oom_kills_are_reported(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("oom").await;
    let mut config = node.container_config(&["memory", "200"]);
    config.linux.as_mut().unwrap().resources = Some(v1::LinuxContainerResources {
        memory_limit_in_bytes: 32 << 20,
        ..Default::default()
    });
    let id = node.run(&sandbox, config).await;
    let status = node.ended(&id).await;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (137, "OOMKilled")
    );
}

pub async fn outlive_the_server(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("lives").await;
    let id = node.run(&sandbox, node.container_config(&["sleep"])).await;
    let before = node.status(&id).await;
    // A second runtime on the same directory sees what a restarted server would.
    let again = Node::start(&node.directory).await;
    let after = again.status(&id).await;
    assert_eq!(
        (after.state, after.started_at),
        (before.state, before.started_at)
    );
    assert_eq!(again.exec(&id, &["echo", "still"]).await.stdout, b"still\n");
    tokio::time::timeout(
        Duration::from_secs(30),
        again.cri.clone().stop_container(stop(&id, 0)),
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(again.status(&id).await.exit_code, 137);
}
