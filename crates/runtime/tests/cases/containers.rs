//! Containers from start to end.

use std::time::Duration;

use cri::v1;

use crate::harness::{self, Node};

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

pub async fn logs_rotate_without_losing_lines(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("rotate").await;
    let mut config = node.container_config(&["cat"]);
    config.stdin = true;
    let id = node.run(&sandbox, config).await;
    let path = node.directory.join("logs/rotate/main.log");
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    let reopen = v1::ReopenContainerLogRequest {
        container_id: id.clone(),
    };
    node.cri.clone().reopen_container_log(reopen).await.unwrap();
    assert!(node.log("rotate").is_empty());
    node.cri.clone().stop_container(stop(&id, 0)).await.unwrap();
    let reopen = v1::ReopenContainerLogRequest { container_id: id };
    assert_eq!(
        node.cri
            .clone()
            .reopen_container_log(reopen)
            .await
            .unwrap_err()
            .code(),
        tonic::Code::FailedPrecondition
    );
    // Long output arrives whole and in order.
    let writer = node
        .run(&sandbox, node.container_config(&["lines", "20000"]))
        .await;
    assert_eq!(node.ended(&writer).await.exit_code, 0);
    let log = node.log("rotate");
    assert_eq!(log.len(), 20_000);
    assert!(
        log.iter()
            .enumerate()
            .all(|(n, line)| line.2 == format!("line {n}"))
    );
}

pub async fn pods_can_share_processes_and_the_nodes_network(node: Node) {
    node.guest_image();
    let mut config = node.sandbox_config("shared");
    let options = |config: &mut v1::PodSandboxConfig| {
        let security = config
            .linux
            .as_mut()
            .unwrap()
            .security_context
            .as_mut()
            .unwrap();
        security.namespace_options.clone().unwrap_or_default()
    };
    let mut namespaces = options(&mut config);
    namespaces.pid = v1::NamespaceMode::Pod as i32;
    namespaces.network = v1::NamespaceMode::Node as i32;
    config
        .linux
        .as_mut()
        .unwrap()
        .security_context
        .as_mut()
        .unwrap()
        .namespace_options = Some(namespaces.clone());
    let request = v1::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: String::new(),
    };
    let sandbox = node
        .cri
        .clone()
        .run_pod_sandbox(request)
        .await
        .unwrap()
        .into_inner()
        .pod_sandbox_id;
    let with = |command: &[&str], namespaces: v1::NamespaceOption| {
        let mut config = node.container_config(command);
        let security = config
            .linux
            .as_mut()
            .unwrap()
            .security_context
            .as_mut()
            .unwrap();
        security.namespace_options = Some(namespaces);
        config
    };
    let first = node
        .run(&sandbox, with(&["sleep"], namespaces.clone()))
        .await;
    let second = node
        .run(&sandbox, with(&["sleep"], namespaces.clone()))
        .await;
    let seen = String::from_utf8(node.exec(&second, &["processes"]).await.stdout).unwrap();
    assert_eq!(seen.matches("guest guest sleep").count(), 2, "{seen}");
    // An ephemeral container looks into one container alone.
    let target = v1::NamespaceOption {
        pid: v1::NamespaceMode::Target as i32,
        target_id: first.clone(),
        ..namespaces
    };
    let debug = node.run(&sandbox, with(&["processes"], target)).await;
    assert_eq!(node.ended(&debug).await.exit_code, 0);
    let devices = std::fs::read_to_string("/proc/net/dev")
        .unwrap()
        .lines()
        .count();
    let inside = node.exec(&first, &["read", "/proc/net/dev"]).await.stdout;
    assert_eq!(String::from_utf8(inside).unwrap().lines().count(), devices);
    for id in [first, second] {
        node.cri.clone().stop_container(stop(&id, 0)).await.unwrap();
        assert_eq!(node.status(&id).await.exit_code, 137);
    }
}

pub async fn limits_apply_and_can_change(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("limits").await;
    let mut config = node.container_config(&["sleep"]);
    let limits = |megabytes: i64| v1::LinuxContainerResources {
        memory_limit_in_bytes: megabytes << 20,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        cpu_shares: 512,
        ..Default::default()
    };
    config.linux.as_mut().unwrap().resources = Some(limits(64));
    let id = node.run(&sandbox, config).await;
    let read = |file: &'static str| {
        let node = node.clone();
        let id = id.clone();
        async move { String::from_utf8(node.exec(&id, &["read", file]).await.stdout).unwrap() }
    };
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (memory, cpu) = match unified {
        true => ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max"),
        false => (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        ),
    };
    assert_eq!(read(memory).await.trim(), (64_i64 << 20).to_string());
    assert!(read(cpu).await.starts_with("50000"));
    for megabytes in [128, 32] {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(limits(megabytes)),
            ..Default::default()
        };
        node.cri
            .clone()
            .update_container_resources(request)
            .await
            .unwrap();
        assert_eq!(read(memory).await.trim(), (megabytes << 20).to_string());
    }
    let status = node.status(&id).await.resources.unwrap().linux.unwrap();
    assert_eq!(status.memory_limit_in_bytes, 32 << 20);
    let request = v1::ContainerStatsRequest {
        container_id: id.clone(),
    };
    let stats = node
        .cri
        .clone()
        .container_stats(request)
        .await
        .unwrap()
        .into_inner()
        .stats
        .unwrap();
    assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 0);
    assert!(stats.writable_layer.unwrap().used_bytes.unwrap().value > 0);
}

pub async fn mounts_are_what_was_asked_for(node: Node) {
    node.guest_image();
    let sandbox = node.sandbox("mounts").await;
    let host = node.directory.join("host");
    std::fs::create_dir_all(host.join("inner")).unwrap();
    std::fs::write(host.join("file"), "from the node").unwrap();
    let mount = |target: &str, source: &str, readonly| v1::Mount {
        container_path: target.into(),
        host_path: host.join(source).display().to_string(),
        readonly,
        ..Default::default()
    };
    let mut config = node.container_config(&["sleep"]);
    config.mounts = vec![
        mount("/data", "", false),
        mount("/data/inner/over", "missing", false),
        mount("/one/file", "file", true),
        mount("/dev/termination-log", "file", false),
    ];
    config
        .linux
        .as_mut()
        .unwrap()
        .security_context
        .as_mut()
        .unwrap()
        .readonly_rootfs = true;
    let id = node.run(&sandbox, config).await;
    let write = |path: &'static str| {
        let node = node.clone();
        let id = id.clone();
        async move {
            let answer = node.exec(&id, &["write", path, "written"]).await;
            (answer.exit_code, String::from_utf8(answer.stdout).unwrap())
        }
    };
    assert_eq!(write("/data/new").await.0, 0);
    assert_eq!(
        std::fs::read_to_string(host.join("new")).unwrap(),
        "written"
    );
    assert_eq!(write("/data/inner/over/x").await.0, 0);
    assert!(host.join("missing/x").exists());
    assert!(write("/one/file").await.1.contains("Read-only"));
    assert!(write("/new").await.1.contains("Read-only"));
    assert!(
        write("/proc/sys/kernel/hostname")
            .await
            .1
            .contains("Read-only")
    );
    assert_eq!(write("/dev/termination-log").await.0, 0);
    assert_eq!(write("/dev/shm/x").await.0, 0);
    assert_eq!(node.exec(&id, &["read", "/proc/keys"]).await.stdout, b"");
}

pub async fn a_broken_network_fails_the_sandbox(node: Node) {
    use std::sync::atomic::Ordering;
    node.network.broken.store(true, Ordering::Relaxed);
    let request = v1::RunPodSandboxRequest {
        config: Some(node.sandbox_config("broken")),
        runtime_handler: String::new(),
    };
    let error = node.cri.clone().run_pod_sandbox(request).await.unwrap_err();
    assert!(error.message().contains("the test says so"), "{error}");
    let list = node
        .cri
        .clone()
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await
        .unwrap();
    assert!(list.into_inner().items.is_empty());
    let status = node
        .cri
        .clone()
        .status(v1::StatusRequest::default())
        .await
        .unwrap()
        .into_inner();
    let conditions = status.status.unwrap().conditions;
    let ready: Vec<_> = conditions
        .iter()
        .map(|c| (c.r#type.as_str(), c.status))
        .collect();
    assert_eq!(ready, [("RuntimeReady", true), ("NetworkReady", false)]);
    node.network.broken.store(false, Ordering::Relaxed);
}

/// The server of this case is a process of its own, and is killed.
pub async fn survive_the_kill_of_the_server(node: Node) {
    node.guest_image();
    let directory = node.directory.join("killed");
    std::fs::create_dir(&directory).unwrap();
    let (mut server, victim) = harness::separate(&node, &directory).await;
    let store = runtime::images::ImageStore::open(directory.join("root/images")).unwrap();
    store
        .import(&node.directory.join("guest.tar"), None)
        .unwrap();
    let sandbox = victim.sandbox("killed").await;
    let long = victim
        .run(&sandbox, victim.container_config(&["sleep"]))
        .await;
    let mut config = victim.container_config(&["cat"]);
    (config.stdin, config.log_path) = (true, "cat.log".into());
    let short = victim.run(&sandbox, config).await;
    let pid = |info: &str| {
        serde_json::from_str::<serde_json::Value>(info).unwrap()["pid"]
            .as_i64()
            .unwrap()
    };
    let request = v1::ContainerStatusRequest {
        container_id: short.clone(),
        verbose: true,
    };
    let status = victim
        .cri
        .clone()
        .container_status(request)
        .await
        .unwrap()
        .into_inner();
    let pid = pid(&status.info["info"]);
    server.kill().unwrap();
    server.wait().unwrap();
    // One ends while nobody is there to hear of it.
    let process = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let watched =
        rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    let mut poll = [rustix::event::PollFd::new(
        &watched,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut poll, None).unwrap();
    let again = Node::start(&directory).await;
    assert_eq!(
        again.status(&long).await.state,
        v1::ContainerState::ContainerRunning as i32
    );
    let short = again.ended(&short).await;
    assert_eq!((short.exit_code, short.reason.as_str()), (137, "Error"));
    assert_eq!(
        again.exec(&long, &["echo", "alive"]).await.stdout,
        b"alive\n"
    );
    again.clean().await;
}
