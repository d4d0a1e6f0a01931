//! The same options through Debian's runc: what a container sees of itself, and how it ends, has to
//! be the same.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

use cri::v1::{self, NamespaceMode};
use runtime::shim::seccomp;
use serde_json::{Value, json};

use crate::harness::{Node, guest_layer};

/// A set of options, as the kubelet gives them and as runc's configuration has them.
struct Variant {
    name: &'static str,
    /// What the program inside is told to do.
    command: &'static [&'static str],
    /// Changes what the kubelet asks for.
    ours: fn(&mut v1::ContainerConfig),
    /// Changes runc's configuration.
    theirs: fn(&mut Value),
    /// Whether the pod has the node's namespaces.
    on_node: bool,
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
    "/proc/interrupts",
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

/// Rules with every kind of comparison and action; `personality` and friends take what they are
/// given and change nothing that matters here.
fn profile() -> Value {
    let rule = |name: &str, action: &str, errno: Option<u32>, args: Value| json!({"names": [name], "action": action, "errnoRet": errno, "args": args});
    let arg = |index: u32, value: u64, two: u64, op: &str| json!({"index": index, "value": value, "valueTwo": two, "op": op});
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            rule("mkdirat", "SCMP_ACT_ERRNO", Some(95), json!([])),
            rule("mkdir", "SCMP_ACT_ERRNO", None, json!([])),
            rule("symlinkat", "SCMP_ACT_LOG", None, json!([])),
            // File modes, by value.
            rule("fchmod", "SCMP_ACT_ERRNO", Some(71), json!([arg(1, 0o600, 0, "SCMP_CMP_EQ")])),
            rule("fchmod", "SCMP_ACT_ERRNO", Some(72), json!([arg(1, 0o7000, 0o4000, "SCMP_CMP_MASKED_EQ")])),
            // Lengths, by order; beyond 32 bits as well.
            rule("ftruncate", "SCMP_ACT_ERRNO", Some(73), json!([arg(1, 1 << 33, 0, "SCMP_CMP_GE")])),
            rule("fallocate", "SCMP_ACT_ERRNO", Some(74),
                 json!([arg(2, 4096, 0, "SCMP_CMP_GT"), arg(3, 1 << 32, 0, "SCMP_CMP_LT")])),
        ],
    })
}

/// The runtime's default profile, in the form that runc takes: the rules that hold with the
/// default capabilities.
fn default_profile() -> Value {
    let has = |caps: &[String]| caps.iter().any(|c| DEFAULT.contains(&c.as_str()));
    let profile = seccomp::default_profile();
    let rules: Vec<Value> = profile
        .syscalls
        .iter()
        .filter(|rule| {
            let wanted = rule.includes.as_ref().is_none_or(|f| f.caps.is_empty() || has(&f.caps));
            wanted && !rule.excludes.as_ref().is_some_and(|f| has(&f.caps))
        })
        .map(|rule| {
            let args: Vec<Value> = (rule.args.iter().flatten())
                .map(|a| json!({"index": a.index, "value": a.value, "valueTwo": a.value_two, "op": a.op}))
                .collect();
            json!({"names": rule.names, "action": rule.action, "errnoRet": rule.errno_ret, "args": args})
        })
        .collect();
    json!({
        "defaultAction": profile.default_action,
        "defaultErrnoRet": profile.default_errno_ret,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules,
    })
}

fn security(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerSecurityContext {
    config
        .linux
        .get_or_insert_default()
        .security_context
        .get_or_insert_default()
}

fn capabilities(config: &mut Value, names: &[&str]) {
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(names);
    }
}

fn seccomp_of(
    config: &mut v1::ContainerConfig,
    kind: v1::security_profile::ProfileType,
    path: &str,
) {
    security(config).seccomp = Some(v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: path.into(),
    });
}

const IDENTITY: &[&str] = &["identity"];
/// Where the test puts [`profile`], for both.
const PROFILE: &str = "corten-oracle-profile.json";

fn variants() -> Vec<Variant> {
    let plain = |name, command| Variant {
        name,
        command,
        ours: |_| (),
        theirs: |_| (),
        on_node: false,
    };
    vec![
        plain("root", IDENTITY),
        plain("exits-with-0", &["exit", "0"]),
        plain("exits-with-7", &["exit", "7"]),
        plain("exits-with-255", &["exit", "255"]),
        plain("aborts", &["abort"]),
        Variant {
            ours: |config| {
                let context = security(config);
                context.run_as_user = Some(v1::Int64Value { value: 1000 });
                context.supplemental_groups = vec![4000];
                context.no_new_privs = true;
                context.readonly_rootfs = true;
                context.capabilities = Some(v1::Capability {
                    add_capabilities: vec!["NET_BIND_SERVICE".into()],
                    drop_capabilities: vec!["ALL".into()],
                    ..Default::default()
                });
            },
            theirs: |config| {
                config["process"]["user"] =
                    json!({"uid": 1000, "gid": 1000, "additionalGids": [1000, 2000, 4000]});
                config["process"]["noNewPrivileges"] = json!(true);
                config["root"]["readonly"] = json!(true);
                for mount in config["mounts"].as_array_mut().unwrap() {
                    if mount["type"] == "bind" && mount["destination"] != "/dev/shm" {
                        mount["options"] = json!(["bind", "rprivate", "ro"]);
                    }
                }
                capabilities(config, &["CAP_NET_BIND_SERVICE"]);
            },
            ..plain("user", IDENTITY)
        },
        Variant {
            ours: |config| {
                let context = security(config);
                context.run_as_user = Some(v1::Int64Value { value: 4711 });
                context.run_as_group = Some(v1::Int64Value { value: 4712 });
                context.supplemental_groups = vec![4713];
                context.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict as i32;
                config.working_dir = "/made/on/the/way".into();
                config.envs = vec![v1::KeyValue {
                    key: "GREETING".into(),
                    value: b"hello = world".to_vec(),
                }];
            },
            theirs: |config| {
                config["process"]["user"] =
                    json!({"uid": 4711, "gid": 4712, "additionalGids": [4712, 4713]});
                config["process"]["cwd"] = json!("/made/on/the/way");
                let env = config["process"]["env"].as_array_mut().unwrap();
                env.push(json!("GREETING=hello = world"));
            },
            ..plain("stranger", IDENTITY)
        },
        Variant {
            ours: |config| {
                let linux = config.linux.get_or_insert_default();
                linux.resources = Some(v1::LinuxContainerResources {
                    memory_limit_in_bytes: 64 << 20,
                    cpu_shares: 512,
                    cpu_quota: 50_000,
                    cpu_period: 100_000,
                    oom_score_adj: 700,
                    ..Default::default()
                });
            },
            theirs: |config| {
                config["process"]["oomScoreAdj"] = json!(700);
                config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
                config["linux"]["resources"]["cpu"] =
                    json!({"shares": 512, "quota": 50_000, "period": 100_000});
            },
            ..plain("limits", IDENTITY)
        },
        Variant {
            ours: |config| {
                config.devices = vec![v1::Device {
                    container_path: "/dev/made/kmsg".into(),
                    host_path: "/dev/kmsg".into(),
                    permissions: "rw".into(),
                }];
            },
            theirs: |config| {
                let stat = rustix::fs::stat("/dev/kmsg").unwrap();
                config["linux"]["devices"] = json!([{
                    "path": "/dev/made/kmsg", "type": "c", "major": 1, "minor": 11,
                    "fileMode": stat.st_mode & 0o777, "uid": stat.st_uid, "gid": stat.st_gid,
                }]);
                let rules = config["linux"]["resources"]["devices"]
                    .as_array_mut()
                    .unwrap();
                rules.push(
                    json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}),
                );
            },
            ..plain("device", IDENTITY)
        },
        Variant {
            ours: |config| {
                seccomp_of(
                    config,
                    v1::security_profile::ProfileType::RuntimeDefault,
                    "",
                )
            },
            theirs: |config| config["linux"]["seccomp"] = default_profile(),
            ..plain("default-profile", IDENTITY)
        },
        Variant {
            ours: |config| {
                seccomp_of(
                    config,
                    v1::security_profile::ProfileType::RuntimeDefault,
                    "",
                )
            },
            theirs: |config| config["linux"]["seccomp"] = default_profile(),
            ..plain("default-profile-calls", &["calls"])
        },
        Variant {
            ours: |config| {
                let path = std::env::temp_dir().join(PROFILE);
                let path = path.display().to_string();
                seccomp_of(config, v1::security_profile::ProfileType::Localhost, &path);
                security(config).no_new_privs = true;
            },
            theirs: |config| {
                config["linux"]["seccomp"] = profile();
                config["process"]["noNewPrivileges"] = json!(true);
            },
            ..plain("own-profile-calls", &["calls"])
        },
        Variant {
            ours: |config| {
                security(config).namespace_options = Some(v1::NamespaceOption {
                    pid: NamespaceMode::Node as i32,
                    ipc: NamespaceMode::Node as i32,
                    network: NamespaceMode::Node as i32,
                    ..Default::default()
                });
            },
            theirs: |config| {
                config["linux"]["namespaces"] = json!([{"type": "mount"}]);
                config.as_object_mut().unwrap().remove("hostname");
                let env = config["process"]["env"].as_array_mut().unwrap();
                env.retain(|e| !e.as_str().unwrap().starts_with("HOSTNAME="));
                // The node's own, as the kubelet's host IPC gives it.
                for mount in config["mounts"].as_array_mut().unwrap() {
                    if mount["destination"] == "/dev/shm" {
                        *mount = json!({"destination": "/dev/shm", "type": "bind", "source": "/dev/shm",
                            "options": ["bind", "rprivate", "rw"]});
                    }
                }
            },
            on_node: true,
            ..plain("on-the-node", IDENTITY)
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
    let file = |name: &str| json!({"destination": format!("/etc/{name}"), "type": "bind", "source": directory.join(name), "options": ["bind", "rprivate", "rw"]});
    let command: Vec<&str> = ["/guest", "guest"]
        .iter()
        .chain(variant.command)
        .copied()
        .collect();
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
            "args": command,
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOSTNAME=oracle",
                "FROM=image",
            ],
            "cwd": "/tmp",
            "noNewPrivileges": false,
        },
        "root": {"path": "rootfs", "readonly": false},
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
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
            "cgroupsPath": format!("{}/oracle-{}", crate::harness::config(&node.directory).cgroup_parent, variant.name),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    });
    capabilities(&mut config, DEFAULT);
    (variant.theirs)(&mut config);
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
}

/// What is told, apart from what has to differ: names of groups, order of mounts.
fn comparable(text: &str) -> BTreeSet<String> {
    let node = |kind: &str| {
        std::fs::read_link(format!("/proc/self/ns/{kind}"))
            .unwrap()
            .display()
            .to_string()
    };
    text.lines()
        .filter(|line| !line.starts_with("cgroup "))
        // As with containerd, a container may use its console, and not the node's tunnels, which
        // runc allowed up to 1.1.
        .filter(|line| !line.ends_with("devices.list c 5:1 rwm"))
        .filter(|line| !line.ends_with("devices.list c 10:200 rwm"))
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields.as_slice() {
                // The root is an overlay here and a directory there.
                ["mount", "/", options, _] => format!("mount / {options}"),
                // That runc leaves the folder of the hierarchies writable, which nothing needs.
                ["mount", "/sys/fs/cgroup", ..] => "mount /sys/fs/cgroup".to_owned(),
                ["mount", path, _, kind] if path.starts_with("/etc/") => {
                    format!("mount {path} {kind}")
                }
                ["namespace", kind, id] if *id == node(kind) => {
                    format!("namespace {kind}: the node's")
                }
                ["namespace", kind, _] => format!("namespace {kind}: its own"),
                fields => fields.join(" "),
            }
        })
        .collect()
}

/// Runs it under runc: its output and exit code.
fn under_runc(node: &Node, variant: &Variant) -> (String, i32) {
    let directory = node.directory.join(format!("bundle-{}", variant.name));
    bundle(node, &directory, variant);
    let id = format!("corten-oracle-{}-{}", std::process::id(), variant.name);
    let output = Command::new("runc")
        .args(["run", "--bundle"])
        .arg(&directory)
        .arg(&id)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !problem.contains("runc run failed"),
        "{}: {problem}",
        variant.name
    );
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.code().unwrap(),
    )
}

/// Runs it in a pod: its output and exit code.
async fn in_a_pod(node: &Node, variant: &Variant) -> (String, i32) {
    let mut pod = node.sandbox_config(variant.name);
    pod.hostname = "oracle".into();
    if variant.on_node {
        pod.hostname = String::new();
        let context = pod
            .linux
            .get_or_insert_default()
            .security_context
            .get_or_insert_default();
        context.namespace_options = Some(v1::NamespaceOption {
            pid: NamespaceMode::Node as i32,
            ipc: NamespaceMode::Node as i32,
            network: NamespaceMode::Node as i32,
            ..Default::default()
        });
    }
    let request = v1::RunPodSandboxRequest {
        config: Some(pod.clone()),
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
    let mut config = node.container_config(variant.command);
    config.working_dir = "/tmp".into();
    let context = security(&mut config);
    context.masked_paths = MASKED.iter().map(|s| (*s).to_owned()).collect();
    context.readonly_paths = READONLY.iter().map(|s| (*s).to_owned()).collect();
    (variant.ours)(&mut config);
    let container = node.run(&sandbox, config).await;
    let status = node.ended(&container).await;
    let text = node
        .log(variant.name)
        .into_iter()
        .filter(|(stream, ..)| stream == "stdout")
        .map(|(.., text)| text + "\n")
        .collect();
    (text, status.exit_code)
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
    let profile_path = std::env::temp_dir().join(PROFILE);
    std::fs::write(&profile_path, profile().to_string()).unwrap();
    let mut differences = Vec::new();
    for variant in variants() {
        let (theirs, their_code) = under_runc(&node, &variant);
        let (ours, our_code) = in_a_pod(&node, &variant).await;
        if variant.command == IDENTITY {
            assert!(ours.contains("Seccomp:"), "{}: {ours}", variant.name);
        }
        let (ours, theirs) = (comparable(&ours), comparable(&theirs));
        let only_ours: Vec<_> = ours.difference(&theirs).collect();
        let only_theirs: Vec<_> = theirs.difference(&ours).collect();
        if !only_ours.is_empty() || !only_theirs.is_empty() || our_code != their_code {
            differences.push(format!(
                "{}: exits with {our_code} here and {their_code} under runc; \
                 only here {only_ours:#?}, only under runc {only_theirs:#?}",
                variant.name
            ));
        }
    }
    std::fs::remove_file(&profile_path).unwrap();
    // runc leaves the groups above its containers' own.
    let parent = crate::harness::config(&node.directory).cgroup_parent;
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        // Those that pods still have, and those that are not there, are not ours to remove.
        let _ = std::fs::remove_dir(hierarchy.path().join(parent.trim_start_matches('/')));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
