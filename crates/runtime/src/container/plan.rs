//! From the kubelet's request to what the shim is told to make: pure, apart from reading a
//! seccomp profile file that a pod names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::Engine;
use cri::v1;

use super::{
    capabilities::{self, UnknownCapability},
    signals,
};
use crate::{
    images::{Image, ImageConfig},
    shim::{
        seccomp::{self, Circumstances, Profile, ProfileError},
        spec::{
            CapabilitySpec, CgroupSpec, ContainerSpec, DeviceSpec, MountSource, MountSpec,
            PidNamespace, ProcessSpec, Propagation, Resources, Rootfs, UserSpec,
        },
    },
    sys::mount::{NODEV, NOEXEC, NOSUID},
};

/// A container that cannot be made as asked.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Neither the pod nor the image says what to run.
    #[error("no command specified")]
    NoCommand,
    /// A capability that is none.
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// The seccomp profile cannot be read.
    #[error("seccomp profile {path:?}: {source}")]
    ProfileFile {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The seccomp profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// An image to mount is not on the node.
    #[error("image {0:?} to mount is not present")]
    NoImage(String),
    /// A value that makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Where the things of one container are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Its state directory.
    pub directory: PathBuf,
    /// Its writable layer and mount point.
    pub storage: PathBuf,
    /// The store's layers.
    pub layers: PathBuf,
    /// The sandbox's state directory, with `resolv.conf`, `hostname`, `hosts`.
    pub sandbox: PathBuf,
    /// What is mounted at `/dev/shm`.
    pub shm: PathBuf,
    /// Control group of the container.
    pub cgroup: String,
}

/// Everything a plan is made from.
pub struct Request<'a> {
    /// Container id.
    pub id: &'a str,
    /// What is asked for.
    pub config: &'a v1::ContainerConfig,
    /// The sandbox.
    pub sandbox: &'a v1::PodSandboxConfig,
    /// The image.
    pub image: &'a Image,
    /// Images that are mounted, by the name asked for.
    pub volumes: &'a BTreeMap<String, Image>,
    /// Where things are.
    pub places: &'a Places,
    /// Kernel version.
    pub kernel: (u32, u32),
    /// Whether control groups are version 2 only.
    pub unified: bool,
}

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Hidden in containers unless a pod says otherwise.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
/// The same, of the other tree.
const MASKED_SYS: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];
/// Read-only in containers unless a pod says otherwise.
const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

fn own<'a>(list: impl IntoIterator<Item = &'a &'a str>) -> Vec<String> {
    list.into_iter().map(|s| (*s).to_owned()).collect()
}

/// Plans a container.
pub fn plan(request: &Request<'_>) -> Result<ContainerSpec, PlanError> {
    let config = request.config;
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.clone().unwrap_or_default();
    let privileged = security.privileged;
    let (masked_paths, readonly_paths) = if privileged {
        (Vec::new(), Vec::new())
    } else if security.masked_paths.is_empty() && security.readonly_paths.is_empty() {
        (own(MASKED.iter().chain(&MASKED_SYS)), own(&READONLY))
    } else {
        (
            security.masked_paths.clone(),
            security.readonly_paths.clone(),
        )
    };
    let options = security.namespace_options.clone().unwrap_or_default();
    let pid = match v1::NamespaceMode::try_from(options.pid) {
        Ok(v1::NamespaceMode::Pod) => PidNamespace::Pod,
        Ok(v1::NamespaceMode::Node) => PidNamespace::Host,
        Ok(v1::NamespaceMode::Target) => PidNamespace::Target(options.target_id.clone()),
        Ok(v1::NamespaceMode::Container) | Err(_) => PidNamespace::Private,
    };
    let places = request.places;
    let log_path = match (
        request.sandbox.log_directory.as_str(),
        config.log_path.as_str(),
    ) {
        ("", _) | (_, "") => None,
        (directory, file) => Some(Path::new(directory).join(file)),
    };
    let resources = linux.resources.clone().unwrap_or_default();
    Ok(ContainerSpec {
        id: request.id.to_owned(),
        directory: places.directory.clone(),
        rootfs: Rootfs {
            layers: places.layers.clone(),
            lower: lower(request.image),
            upper: places.storage.join("upper"),
            work: places.storage.join("work"),
            target: places.storage.join("rootfs"),
            readonly: security.readonly_rootfs,
        },
        process: process(request, &security, &resources)?,
        mounts: mounts(request, privileged)?,
        devices: config.devices.iter().map(device).collect(),
        all_devices: privileged,
        masked_paths,
        readonly_paths,
        cgroup: CgroupSpec {
            path: places.cgroup.clone(),
            resources: limits(&resources),
            all_devices: privileged,
        },
        pid,
        cgroup_namespace: request.unified && !privileged,
        log_path,
        stdin: config.stdin,
        stdin_once: config.stdin_once,
    })
}

/// Layers, the uppermost first. An image without layers has the empty one.
fn lower(image: &Image) -> Vec<String> {
    if image.layers.is_empty() {
        return vec![crate::snapshot::EMPTY_LAYER.to_owned()];
    }
    image.layers.iter().rev().cloned().collect()
}

fn device(device: &v1::Device) -> DeviceSpec {
    DeviceSpec {
        path: device.container_path.clone(),
        host_path: device.host_path.clone().into(),
        permissions: device.permissions.clone(),
    }
}

/// Limits in the shim's terms; zero means "not given".
pub fn limits(linux: &v1::LinuxContainerResources) -> Resources {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    Resources {
        cpu_period: u64::try_from(linux.cpu_period).ok().filter(|p| *p > 0),
        cpu_quota: Some(linux.cpu_quota).filter(|q| *q != 0),
        cpu_shares: u64::try_from(linux.cpu_shares).ok().filter(|s| *s > 0),
        memory: Some(linux.memory_limit_in_bytes).filter(|m| *m != 0),
        memory_swap: Some(linux.memory_swap_limit_in_bytes).filter(|m| *m != 0),
        cpuset_cpus: text(&linux.cpuset_cpus),
        cpuset_mems: text(&linux.cpuset_mems),
        hugepages: linux
            .hugepage_limits
            .iter()
            .map(|h| (h.page_size.clone(), h.limit))
            .collect(),
        pids: None,
        unified: linux.unified.clone().into_iter().collect(),
    }
}

/// Program and arguments, as Kubernetes lets a pod override an image.
fn arguments(config: &v1::ContainerConfig, image: &ImageConfig) -> Result<Vec<String>, PlanError> {
    let mut list = Vec::new();
    if config.command.is_empty() {
        list.extend(image.entrypoint.iter().cloned());
        if config.args.is_empty() {
            list.extend(image.cmd.iter().cloned());
        } else {
            list.extend(config.args.iter().cloned());
        }
    } else {
        list.extend(config.command.iter().chain(&config.args).cloned());
    }
    if list.is_empty() {
        return Err(PlanError::NoCommand);
    }
    Ok(list)
}

/// The image's variables, then the pod's; a later one replaces an earlier one of the same name.
fn environment(config: &v1::ContainerConfig, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    let mut set = |entry: String| {
        let name = entry.split('=').next().unwrap_or_default();
        let known = list
            .iter()
            .position(|e| e.split('=').next().unwrap_or_default() == name);
        match known {
            Some(at) => list[at] = entry,
            None => list.push(entry),
        }
    };
    set(DEFAULT_PATH.to_owned());
    if !hostname.is_empty() {
        set(format!("HOSTNAME={hostname}"));
    }
    if config.tty {
        set("TERM=xterm".to_owned());
    }
    image.env.iter().cloned().for_each(&mut set);
    for variable in &config.envs {
        set(format!(
            "{}={}",
            variable.key,
            String::from_utf8_lossy(&variable.value)
        ));
    }
    list
}

fn user(
    security: &v1::LinuxContainerSecurityContext,
    image: &ImageConfig,
) -> Result<UserSpec, PlanError> {
    let id = |value: i64, what: &str| {
        u32::try_from(value)
            .map_err(|_| PlanError::Invalid(format!("{what} {value} is out of range")))
    };
    let name = match (&security.run_as_user, security.run_as_username.as_str()) {
        (Some(user), _) => id(user.value, "user")?.to_string(),
        (None, "") => image.user.clone(),
        (None, name) => name.to_owned(),
    };
    let gid = match &security.run_as_group {
        Some(group) => Some(id(group.value, "group")?),
        None => None,
    };
    let additional_gids = security
        .supplemental_groups
        .iter()
        .map(|g| id(*g, "group"))
        .collect::<Result<_, _>>()?;
    Ok(UserSpec {
        name,
        gid,
        additional_gids,
        strict_groups: security.supplemental_groups_policy
            == v1::SupplementalGroupsPolicy::Strict as i32,
    })
}

fn process(
    request: &Request<'_>,
    security: &v1::LinuxContainerSecurityContext,
    resources: &v1::LinuxContainerResources,
) -> Result<ProcessSpec, PlanError> {
    let image = &request.image.config;
    let config = request.config;
    let asked = security.capabilities.clone().unwrap_or_default();
    let set = if security.privileged {
        capabilities::ALL
    } else {
        capabilities::effective(&asked.add_capabilities, &asked.drop_capabilities)?
    };
    let ambient = capabilities::mask(&asked.add_ambient_capabilities)?;
    let cwd = match (config.working_dir.as_str(), image.working_dir.as_str()) {
        ("", "") => "/",
        ("", of_image) => of_image,
        (of_pod, _) => of_pod,
    };
    Ok(ProcessSpec {
        args: arguments(config, image)?,
        env: environment(config, image, &request.sandbox.hostname),
        cwd: cwd.to_owned(),
        user: user(security, image)?,
        terminal: config.tty,
        capabilities: CapabilitySpec {
            bounding: set | ambient,
            permitted: set | ambient,
            ambient,
        },
        no_new_privileges: security.no_new_privs,
        seccomp: filter(security, set | ambient, request.kernel)?,
        rlimits: Vec::new(),
        oom_score_adj: i32::try_from(resources.oom_score_adj).ok(),
    })
}

/// Compiles the profile a container asks for.
fn filter(
    security: &v1::LinuxContainerSecurityContext,
    capabilities: u64,
    kernel: (u32, u32),
) -> Result<Option<String>, PlanError> {
    use v1::security_profile::ProfileType;
    if security.privileged {
        return Ok(None);
    }
    let Some(asked) = &security.seccomp else {
        return Ok(None);
    };
    let now = Circumstances {
        capabilities,
        kernel,
    };
    let program = match ProfileType::try_from(asked.profile_type) {
        Ok(ProfileType::RuntimeDefault) => seccomp::default_filter(&now)?,
        Ok(ProfileType::Localhost) => {
            let text =
                std::fs::read(&asked.localhost_ref).map_err(|source| PlanError::ProfileFile {
                    path: asked.localhost_ref.clone(),
                    source,
                })?;
            seccomp::compile(&Profile::parse(&text)?.resolve(&now)?)?
        }
        Ok(ProfileType::Unconfined) | Err(_) => return Ok(None),
    };
    Ok(Some(
        base64::engine::general_purpose::STANDARD.encode(program),
    ))
}

fn new(target: &str, kind: &str, options: &[(&str, &str)], attributes: u64) -> MountSpec {
    MountSpec {
        target: target.to_owned(),
        source: MountSource::New(
            kind.to_owned(),
            options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        ),
        readonly: false,
        recursive_readonly: false,
        attributes,
        propagation: Propagation::Private,
    }
}

fn bind(target: &str, source: PathBuf, readonly: bool) -> MountSpec {
    MountSpec {
        source: MountSource::Bind(source),
        readonly,
        ..new(target, "", &[], 0)
    }
}

fn mounts(request: &Request<'_>, privileged: bool) -> Result<Vec<MountSpec>, PlanError> {
    let safe = NOSUID | NOEXEC | NODEV;
    let mut sys = new("/sys", "sysfs", &[], safe);
    sys.readonly = !privileged;
    let cgroup = MountSpec {
        source: MountSource::Cgroup,
        readonly: !privileged,
        ..new("/sys/fs/cgroup", "", &[], safe)
    };
    let mut list = vec![
        new("/proc", "proc", &[], safe),
        new(
            "/dev",
            "tmpfs",
            &[("mode", "755"), ("size", "65536k")],
            NOSUID,
        ),
        new(
            "/dev/pts",
            "devpts",
            &[
                ("newinstance", ""),
                ("ptmxmode", "0666"),
                ("mode", "0620"),
                ("gid", "5"),
            ],
            NOSUID | NOEXEC,
        ),
        new("/dev/mqueue", "mqueue", &[], safe),
        sys,
        cgroup,
    ];
    let readonly_root = request
        .config
        .linux
        .as_ref()
        .and_then(|l| l.security_context.as_ref())
        .is_some_and(|s| s.readonly_rootfs);
    let asked = |path: &str| {
        request
            .config
            .mounts
            .iter()
            .any(|m| m.container_path.trim_end_matches('/') == path)
    };
    if !asked("/dev/shm") {
        list.push(bind("/dev/shm", request.places.shm.clone(), false));
    }
    for (target, file) in [
        ("/etc/hostname", "hostname"),
        ("/etc/hosts", "hosts"),
        ("/etc/resolv.conf", "resolv.conf"),
    ] {
        if !asked(target) {
            list.push(bind(
                target,
                request.places.sandbox.join(file),
                readonly_root,
            ));
        }
    }
    let mut own: Vec<&v1::Mount> = request.config.mounts.iter().collect();
    // A mount below another one has to come after it.
    own.sort_by_key(|m| Path::new(&m.container_path).components().count());
    for mount in own {
        list.push(mount_of(mount, request)?);
    }
    Ok(list)
}

fn mount_of(mount: &v1::Mount, request: &Request<'_>) -> Result<MountSpec, PlanError> {
    let source = match &mount.image {
        Some(image) => {
            let found = request
                .volumes
                .get(&image.image)
                .ok_or_else(|| PlanError::NoImage(image.image.clone()))?;
            MountSource::Image(
                request.places.layers.clone(),
                lower(found),
                mount.image_sub_path.clone(),
            )
        }
        None => MountSource::Bind(mount.host_path.clone().into()),
    };
    Ok(MountSpec {
        target: mount.container_path.clone(),
        source,
        readonly: mount.readonly || mount.image.is_some(),
        recursive_readonly: mount.recursive_read_only,
        attributes: 0,
        propagation: match v1::MountPropagation::try_from(mount.propagation) {
            Ok(v1::MountPropagation::PropagationHostToContainer) => Propagation::HostToContainer,
            Ok(v1::MountPropagation::PropagationBidirectional) => Propagation::Bidirectional,
            Ok(v1::MountPropagation::PropagationPrivate) | Err(_) => Propagation::Private,
        },
    })
}

/// The process of an exec: the container's own with another command.
pub fn exec(of: &ProcessSpec, command: &[String], terminal: bool) -> ProcessSpec {
    let mut process = of.clone();
    process.args = command.to_vec();
    process.terminal = terminal;
    if terminal && !process.env.iter().any(|e| e.starts_with("TERM=")) {
        process.env.push("TERM=xterm".to_owned());
    }
    process
}

/// The signal that asks a container to end.
pub fn stop_signal(config: &v1::ContainerConfig, image: Option<&str>) -> i32 {
    v1::Signal::try_from(config.stop_signal)
        .ok()
        .filter(|s| *s != v1::Signal::RuntimeDefault)
        .and_then(|s| signals::number(s.as_str_name()))
        .or_else(|| image.and_then(signals::number))
        .unwrap_or(libc::SIGTERM)
}

#[cfg(test)]
mod tests;
