//! Layouts of control groups: as mounts tell them, and on a directory that stands in for version 2.

use super::*;

const HYBRID: &str = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
    cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
    cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
    cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

#[test]
fn hybrid_hierarchies_use_version_1() {
    let found = Hierarchies::parse(HYBRID);
    assert!(found.any_v1());
    assert_eq!(found.only_unified(), None);
    assert_eq!(found.each()[0].aliases, ["cpu", "cpuacct"]);
    assert_eq!(
        found.directory("cpuacct", "/a/b"),
        Some("/sys/fs/cgroup/cpu,cpuacct/a/b".into())
    );
    assert_eq!(found.directory("pids", "/a"), None);
}

#[test]
fn unified_alone_is_version_2() {
    let found = Hierarchies::parse("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
    assert_eq!(found.only_unified(), Some(Path::new("/sys/fs/cgroup")));
    assert_eq!(
        found.directory("memory", "/a"),
        Some("/sys/fs/cgroup/a".into())
    );
}

#[test]
fn limits_become_settings() {
    let r = Resources {
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        memory: Some(1 << 20),
        memory_swap: Some(3 << 20),
        pids: Some(-1),
        ..Resources::default()
    };
    let text = |list: Vec<Setting>| -> Vec<String> {
        list.into_iter()
            .map(|(_, file, value)| format!("{file}={value}"))
            .collect()
    };
    assert_eq!(
        text(settings_v1(&r)),
        [
            "cpu.shares=512",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "memory.limit_in_bytes=1048576",
            "memory.memsw.limit_in_bytes=3145728",
            "pids.max=max"
        ]
    );
    assert_eq!(
        text(settings_v2(&r)),
        [
            "cpu.weight=20",
            "cpu.max=50000 100000",
            "memory.max=1048576",
            "memory.swap.max=2097152",
            "pids.max=max"
        ]
    );
}

#[test]
fn weights_span_their_range() {
    assert_eq!(
        [weight(0), weight(2), weight(1024), weight(262_144)],
        [1, 1, 39, 10_000]
    );
}

/// A version 2 mount with the files that the kernel would make in these groups.
fn pretended(groups: &[&str]) -> (tempfile::TempDir, Hierarchies) {
    let root = tempfile::tempdir().unwrap();
    for group in groups {
        let directory = root.path().join(group);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(directory.join("cgroup.subtree_control"), "pids\n").unwrap();
    }
    let hierarchies = Hierarchies::unified_at(root.path());
    (root, hierarchies)
}

#[test]
fn version_2_hands_controllers_down_to_the_last_but_one() {
    let (root, hierarchies) = pretended(&["", "pods", "pods/one"]);
    unified_directories(&hierarchies, "/pods/one/container").unwrap();
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    for group in ["", "pods", "pods/one"] {
        assert_eq!(
            read(format!("{group}/cgroup.subtree_control").trim_start_matches('/')),
            "+cpu +memory"
        );
    }
    // A group with processes of its own may hand nothing down.
    let made = root.path().join("pods/one/container");
    assert_eq!(fs::read_dir(made).unwrap().count(), 0);
}

#[test]
fn version_2_limits_are_files_of_the_group() {
    let (root, hierarchies) = pretended(&["", "pods", "pods/one"]);
    let resources = Resources {
        cpu_shares: Some(1024),
        cpu_quota: Some(-1),
        memory: Some(64 << 20),
        memory_swap: Some(64 << 20),
        pids: Some(100),
        unified: [("memory.high".to_owned(), "1000".to_owned())].into(),
        ..Resources::default()
    };
    let expected = [
        ("cpu.weight", "39"),
        ("cpu.max", "max 100000"),
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("pids.max", "100"),
        ("memory.high", "1000"),
    ];
    let group = root.path().join("pods/one");
    for (file, _) in expected {
        fs::write(group.join(file), "").unwrap();
    }
    limit(&hierarchies, "/pods/one", &resources).unwrap();
    for (file, value) in expected {
        let text = fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(text, value, "{file}");
    }
    let outside = Resources {
        unified: [("../memory.max".to_owned(), "1".to_owned())].into(),
        ..Resources::default()
    };
    assert!(limit(&hierarchies, "/pods/one", &outside).is_err());
}

#[test]
fn version_2_tells_processes_and_kills_for_memory() {
    let (root, hierarchies) = pretended(&["", "c"]);
    assert_eq!(oom_kills(&hierarchies, "/c"), 0);
    let write = |file: &str, text: &str| fs::write(root.path().join("c").join(file), text).unwrap();
    write("memory.events", "low 0\nmax 7\noom 2\noom_kill 3\n");
    write("cgroup.procs", "12\n345\n");
    assert_eq!(oom_kills(&hierarchies, "c"), 3);
    assert_eq!(processes(&hierarchies, "/c"), [12, 345]);
    write("cgroup.kill", "");
    signal_all(&hierarchies, "/c", libc::SIGKILL);
    let killed = fs::read_to_string(root.path().join("c/cgroup.kill")).unwrap();
    assert_eq!(killed, "1");
}

#[test]
fn controllers_that_the_kernel_lacks_are_left_out() {
    let (_root, hierarchies) = pretended(&["", "c"]);
    assert!(hierarchies.lacks_controller("cpuset", "/c"));
    assert!(!hierarchies.lacks_controller("memory", "/c"));
    assert!(!hierarchies.lacks_controller("", "/c"));
}
