//! What the server tells a shim to make: plain data, planned in `container::plan` and `sandbox`,
//! executed in this folder. It travels as JSON and rests in the state directory.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The pod whose namespaces a shim holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PodSpec {
    /// Sandbox id.
    pub id: String,
    /// Host name to set; none keeps the node's (and its UTS namespace).
    pub hostname: Option<String>,
    /// Where the pod's own network namespace is to be pinned; none keeps the node's.
    pub netns: Option<PathBuf>,
    /// Whether the pod gets its own IPC namespace.
    pub ipc: bool,
    /// Where the pod's `/dev/shm` is mounted on the node; none uses the node's.
    pub shm: Option<PathBuf>,
    /// Whether containers share one process namespace, with a reaper as its first process.
    pub shared_pid: bool,
    /// Namespaced kernel settings.
    pub sysctls: BTreeMap<String, String>,
}

/// A container to start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Container id.
    pub id: String,
    /// The container's state directory; the exit record is written there.
    pub directory: PathBuf,
    /// The file system.
    pub rootfs: Rootfs,
    /// The first process.
    pub process: ProcessSpec,
    /// Mounts in the order to make them.
    pub mounts: Vec<MountSpec>,
    /// Devices beside the standard ones.
    pub devices: Vec<DeviceSpec>,
    /// Whether all of the node's devices appear.
    pub all_devices: bool,
    /// Paths to hide.
    pub masked_paths: Vec<String>,
    /// Paths to make read-only.
    pub readonly_paths: Vec<String>,
    /// Control groups.
    pub cgroup: CgroupSpec,
    /// Process namespace.
    pub pid: PidNamespace,
    /// Whether the container sees its own cgroup as the root (version 2).
    pub cgroup_namespace: bool,
    /// The log file; none discards output nobody is attached to.
    pub log_path: Option<PathBuf>,
    /// Whether the container has a standard input.
    pub stdin: bool,
    /// Whether standard input closes when the first attached client goes.
    pub stdin_once: bool,
}

/// The root file system of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rootfs {
    /// Directory that holds the layers.
    pub layers: PathBuf,
    /// Layer names within it, the uppermost first. Empty: `target` is a ready directory.
    pub lower: Vec<String>,
    /// The container's own writable layer.
    pub upper: PathBuf,
    /// The overlay's working directory.
    pub work: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Whether it is read-only in the end.
    pub readonly: bool,
}

/// A process to run, first or later.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; made when missing.
    pub cwd: String,
    /// Who runs it.
    pub user: UserSpec,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Capabilities, one bit each.
    pub capabilities: CapabilitySpec,
    /// Whether privileges can never grow.
    pub no_new_privileges: bool,
    /// The compiled seccomp filter in base64.
    pub seccomp: Option<String>,
    /// Resource limits: number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Badness for the out-of-memory killer.
    pub oom_score_adj: Option<i32>,
}

/// Whom a process runs as. Names are looked up in the container's own files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UserSpec {
    /// `user[:group]` by name or number, as an image says it.
    pub name: String,
    /// Overrides the group.
    pub gid: Option<u32>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Whether the groups of `/etc/group` are left out.
    pub strict_groups: bool,
}

/// Capability sets, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySpec {
    /// The most that can ever be had.
    pub bounding: u64,
    /// Permitted and effective.
    pub permitted: u64,
    /// Kept over `execve` by unprivileged users.
    pub ambient: u64,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Path inside the container.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Read-only.
    pub readonly: bool,
    /// Read-only with everything mounted below.
    pub recursive_readonly: bool,
    /// `nosuid`, `nodev`, `noexec` as `sys::mount` bits.
    pub attributes: u64,
    /// Mount events.
    pub propagation: Propagation,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A new file system: type and options.
    New(String, Vec<(String, String)>),
    /// A file or directory of the node.
    Bind(PathBuf),
    /// The container's view of the control groups.
    Cgroup,
    /// Image layers, uppermost first, in this directory, and the path within.
    Image(PathBuf, Vec<String>, String),
}

/// How mount events travel between node and container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// From the node to the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// A device file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Path inside the container.
    pub path: String,
    /// Device on the node whose type and numbers are taken.
    pub host_path: PathBuf,
    /// `r`, `w`, `m`.
    pub permissions: String,
}

/// Control groups of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CgroupSpec {
    /// Path below each hierarchy's root.
    pub path: String,
    /// Limits.
    pub resources: Resources,
    /// Whether every device may be used.
    pub all_devices: bool,
}

/// Limits of a container or pod; none leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU period in microseconds.
    pub cpu_period: Option<u64>,
    /// CPU quota in microseconds; -1 is none.
    pub cpu_quota: Option<i64>,
    /// CPU weight in version 1 units.
    pub cpu_shares: Option<u64>,
    /// Memory in bytes; -1 is none.
    pub memory: Option<i64>,
    /// Memory and swap in bytes; -1 is none.
    pub memory_swap: Option<i64>,
    /// CPUs.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Huge pages: size and limit.
    pub hugepages: Vec<(String, u64)>,
    /// Processes.
    pub pids: Option<i64>,
    /// Version 2 files and their values.
    pub unified: BTreeMap<String, String>,
}

/// Which process namespace a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNamespace {
    /// Its own.
    #[default]
    Private,
    /// The pod's shared one.
    Pod,
    /// The node's.
    Host,
    /// That of another container of the pod.
    Target(String),
}

/// Whom a container really runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed for want of memory in the container.
    pub oom_killed: bool,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}
