//! Containers on control groups of version 2 alone: the server runs in a mount namespace where
//! nothing else is mounted. Which controllers version 2 has depends on the machine; groups, their
//! processes, killing, freezing and device filters are there without any.

use std::{path::Path, process::Command};

use cri::v1;

use crate::harness::{self, Node};

/// Replaces the machine's control groups by version 2 alone, for what is started after it.
const ENTER: &str = "mount --make-rprivate / && umount --recursive --lazy /sys/fs/cgroup; \
    mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" server \"$1\"";

/// Where this test can look at version 2.
fn mounted() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[2] == "cgroup2").then(|| fields[1].to_owned())
    })
}

pub async fn containers_live_in_version_2_groups(node: Node) {
    let Some(mount) = mounted() else {
        println!("skipped: needs version 2 of control groups mounted somewhere");
        return;
    };
    let directory = node.directory.join("unified");
    std::fs::create_dir(&directory).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", ENTER])
        .arg(std::env::current_exe().unwrap())
        .arg(&directory);
    let (mut server, unified) = harness::separate_as(command, &node, &directory).await;
    // A panic must not leave the server behind.
    let outcome = tokio::spawn({
        let (unified, directory, mount) = (unified.clone(), directory.clone(), mount.clone());
        async move { live(&unified, &directory, Path::new(&mount)).await }
    })
    .await;
    let pods = unified
        .cri
        .clone()
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await;
    for pod in pods.unwrap().into_inner().items {
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: pod.id,
        };
        unified
            .cri
            .clone()
            .remove_pod_sandbox(request)
            .await
            .unwrap();
    }
    let parent = format!("{mount}{}", harness::config(&directory).cgroup_parent);
    server.kill().unwrap();
    server.wait().unwrap();
    let left: Vec<_> = walk(Path::new(&parent));
    // The pod's own group is its maker's; the test made it by naming it.
    for group in left.iter().rev() {
        std::fs::remove_dir(group).unwrap();
    }
    outcome.unwrap();
    assert!(
        left.iter().all(|group| !group.contains("/pod-two/")),
        "{left:?}"
    );
}

/// A group and those below it, outer ones first.
fn walk(group: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(group) else {
        return Vec::new();
    };
    let mut list = vec![group.display().to_string()];
    for entry in entries.flatten().filter(|e| e.path().is_dir()) {
        list.extend(walk(&entry.path()));
    }
    list
}

async fn live(node: &Node, directory: &Path, mount: &Path) {
    let store = runtime::images::ImageStore::open(directory.join("root/images")).unwrap();
    let archive = directory.join("guest.tar");
    super::archive::docker(
        &archive,
        &["test.local/guest:latest"],
        &[harness::guest_layer()],
    );
    store.import(&archive, None).unwrap();
    let status = node
        .cri
        .clone()
        .status(v1::StatusRequest { verbose: true })
        .await
        .unwrap()
        .into_inner();
    assert!(
        status.info["config"].contains("\"cgroupVersion\":2"),
        "{:?}",
        status.info
    );

    let sandbox = node.sandbox("two").await;
    let mut config = node.container_config(&["sleep"]);
    config.linux.as_mut().unwrap().resources = Some(v1::LinuxContainerResources {
        cpu_shares: 512,
        memory_limit_in_bytes: 256 << 20,
        ..Default::default()
    });
    let id = node.run(&sandbox, config).await;
    let read = async |path: &str| {
        let answer = node.exec(&id, &["read", path]).await;
        String::from_utf8(answer.stdout).unwrap()
    };
    // It sees its own group as the root, and so does what joins it.
    assert_eq!(read("/proc/self/cgroup").await.lines().last(), Some("0::/"));
    let (_, path) = group_of(node, &id).await;
    let group = mount.join(path.trim_start_matches('/'));
    assert!(
        group.ends_with(format!("pod-two/{id}")),
        "{}",
        group.display()
    );
    let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
    assert_eq!(processes.lines().count(), 1);
    assert!(
        read("/sys/fs/cgroup/cgroup.controllers")
            .await
            .lines()
            .count()
            <= 1
    );
    // The device filter: its own null, not the kernel's log.
    let text = read("/proc/self/mountinfo").await;
    assert!(text.contains(" - cgroup2 "), "{text}");
    assert_eq!(
        node.exec(&id, &["write", "/dev/null", "x"]).await.exit_code,
        0
    );
    let answer = node.exec(&id, &["device", "1", "11"]).await;
    assert_eq!(
        String::from_utf8(answer.stdout).unwrap(),
        "Operation not permitted (os error 1)\n"
    );
    // Stopped as a group: version 2 freezes and kills it whole.
    std::fs::write(group.join("cgroup.freeze"), "1").unwrap();
    let request = v1::StopContainerRequest {
        container_id: id.clone(),
        timeout: 0,
    };
    node.cri.clone().stop_container(request).await.unwrap();
    assert_eq!(node.status(&id).await.exit_code, 137);
    let stats = node
        .cri
        .clone()
        .pod_sandbox_stats(v1::PodSandboxStatsRequest {
            pod_sandbox_id: sandbox,
        })
        .await;
    let cpu = stats
        .unwrap()
        .into_inner()
        .stats
        .unwrap()
        .linux
        .unwrap()
        .cpu
        .unwrap();
    assert!(cpu.usage_core_nano_seconds.unwrap().value > 0);
}

/// Process id and version 2 group of a container's first process.
async fn group_of(node: &Node, id: &str) -> (i64, String) {
    let request = v1::ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: true,
    };
    let status = node
        .cri
        .clone()
        .container_status(request)
        .await
        .unwrap()
        .into_inner();
    let info: serde_json::Value = serde_json::from_str(&status.info["info"]).unwrap();
    let pid = info["pid"].as_i64().unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|l| l.strip_prefix("0::")).unwrap();
    (pid, path.to_owned())
}
