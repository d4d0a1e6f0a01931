//! The same options through Debian's runc: what a container sees of itself has to be the same.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

use cri::v1;
use serde_json::json;

use crate::harness::{Node, guest_layer};

/// A set of options, as the kubelet gives them and as runc's configuration has them.
struct Variant {
    name: &'static str,
    security: v1::LinuxContainerSecurityContext,
    user: serde_json::Value,
    capabilities: &'static [&'static str],
    privileged: bool,
}

const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/sys/firmware",
];
const READONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

fn variants() -> Vec<Variant> {
    let base = || v1::LinuxContainerSecurityContext {
        namespace_options: Some(v1::NamespaceOption {
            pid: v1::NamespaceMode::Container as i32,
            ..Default::default()
        }),
        masked_paths: MASKED.iter().map(|s| (*s).to_owned()).collect(),
        readonly_paths: READONLY.iter().map(|s| (*s).to_owned()).collect(),
        ..Default::default()
    };
    vec![
        Variant {
            name: "root",
            security: base(),
            user: json!({"uid": 0, "gid": 0, "additionalGids": [0]}),
            capabilities: DEFAULT,
            privileged: false,
        },
        Variant {
            name: "user",
            security: v1::LinuxContainerSecurityContext {
                run_as_user: Some(v1::Int64Value { value: 1000 }),
                supplemental_groups: vec![4000],
                no_new_privs: true,
                readonly_rootfs: true,
                capabilities: Some(v1::Capability {
                    add_capabilities: vec!["NET_BIND_SERVICE".into()],
                    drop_capabilities: vec!["ALL".into()],
                    ..Default::default()
                }),
                ..base()
            },
            user: json!({"uid": 1000, "gid": 1000, "additionalGids": [1000, 2000, 4000]}),
            capabilities: &["CAP_NET_BIND_SERVICE"],
            privileged: false,
        },
    ]
}

fn bundle(node: &Node, directory: &Path, variant: &Variant) {
    let rootfs = directory.join("rootfs");
    std::fs::create_dir_all(&rootfs).unwrap();
    tar::Archive::new(guest_layer().as_slice())
        .unpack(&rootfs)
        .unwrap();
    for name in ["resolv.conf", "hosts", "hostname"] {
        std::fs::write(directory.join(name), "").unwrap();
        std::fs::write(rootfs.join("etc").join(name), "").unwrap();
    }
    std::fs::create_dir(directory.join("shm")).unwrap();
    let ro = if variant.security.readonly_rootfs {
        "ro"
    } else {
        "rw"
    };
    let file = |name: &str| json!({"destination": format!("/etc/{name}"), "type": "bind", "source": directory.join(name), "options": ["bind", "rprivate", ro]});
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": variant.user,
            "args": ["/guest", "guest", "identity"],
            "env": ["PATH=/bin"],
            "cwd": "/tmp",
            "capabilities": {
                "bounding": variant.capabilities,
                "effective": variant.capabilities,
                "permitted": variant.capabilities,
            },
            "noNewPrivileges": variant.security.no_new_privs,
        },
        "root": {"path": "rootfs", "readonly": variant.security.readonly_rootfs},
        "hostname": "oracle",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            file("hostname"), file("hosts"), file("resolv.conf"),
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}],
            "maskedPaths": if variant.privileged { &[] } else { MASKED },
            "readonlyPaths": if variant.privileged { &[] } else { READONLY },
            "cgroupsPath": format!("{}/oracle-{}", crate::harness::config(&node.directory).cgroup_parent, variant.name),
        },
    });
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
}

/// What is told, apart from what has to differ: names of groups, order of mounts.
fn comparable(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with("cgroup "))
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields.as_slice() {
                // The root is an overlay here and a directory there.
                ["mount", "/", options, _] => format!("mount / {options}"),
                ["mount", path, _, kind] if path.starts_with("/etc/") => {
                    format!("mount {path} {kind}")
                }
                fields => fields.join(" "),
            }
        })
        .collect()
}

pub async fn containers_see_the_same_as_under_runc(node: Node) {
    if Command::new("runc")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        println!("skipped: runc is not installed");
        return;
    }
    node.guest_image();
    let sandbox = {
        let mut config = node.sandbox_config("oracle");
        config.hostname = "oracle".into();
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        node.cri
            .clone()
            .run_pod_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .pod_sandbox_id
    };
    for variant in variants() {
        let directory = node.directory.join(format!("bundle-{}", variant.name));
        bundle(&node, &directory, &variant);
        let id = format!("corten-oracle-{}-{}", std::process::id(), variant.name);
        let theirs = Command::new("runc")
            .args(["run", "--bundle"])
            .arg(&directory)
            .arg(&id)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            theirs.status.success(),
            "{}",
            String::from_utf8_lossy(&theirs.stderr)
        );
        let theirs = String::from_utf8(theirs.stdout).unwrap();

        let mut config = node.container_config(&["identity"]);
        config.working_dir = "/tmp".into();
        config.log_path = format!("{}.log", variant.name);
        config.linux.as_mut().unwrap().security_context = Some(variant.security.clone());
        let container = node.run(&sandbox, config).await;
        assert_eq!(node.ended(&container).await.exit_code, 0);
        let path = node
            .directory
            .join("logs/oracle")
            .join(format!("{}.log", variant.name));
        let ours: String = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|l| format!("{}\n", l.splitn(4, ' ').nth(3).unwrap()))
            .collect();
        let (ours, theirs) = (comparable(&ours), comparable(&theirs));
        let only_ours: Vec<_> = ours.difference(&theirs).collect();
        let only_theirs: Vec<_> = theirs.difference(&ours).collect();
        assert!(
            only_ours.is_empty() && only_theirs.is_empty(),
            "{}: only here {only_ours:#?}, only under runc {only_theirs:#?}",
            variant.name
        );
    }
}
