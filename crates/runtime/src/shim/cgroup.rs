//! Control groups, version 1, version 2 and both at once: make, limit, join, count, kill, remove.

use std::{
    fs,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::{
    devices,
    fault::{Fault, Step},
    spec::{CgroupSpec, DeviceSpec, Resources},
};

/// One version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Name of its directory.
    pub name: String,
    /// Other names for the same hierarchy.
    pub aliases: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Controllers in it.
    pub controllers: Vec<String>,
}

/// The hierarchies of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    v1: Vec<Hierarchy>,
    unified: Option<PathBuf>,
}

const CONTROLLERS: [&str; 14] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

impl Hierarchies {
    /// Reads the mounts of this process.
    pub fn detect() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    fn parse(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let mut fields = line.split(' ');
            let (Some(_), Some(target), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if !target.starts_with("/sys/fs/cgroup") {
                continue;
            }
            if kind == "cgroup2" {
                found.unified.get_or_insert_with(|| target.into());
            }
            if kind != "cgroup" {
                continue;
            }
            let controllers: Vec<String> = options
                .split(',')
                .filter(|o| CONTROLLERS.contains(o) || o.starts_with("name="))
                .map(str::to_owned)
                .collect();
            let name = target.rsplit('/').next().unwrap_or_default().to_owned();
            let aliases = controllers
                .iter()
                .filter(|c| controllers.len() > 1 && **c != name && !c.starts_with("name="))
                .cloned()
                .collect();
            found.v1.push(Hierarchy {
                name,
                aliases,
                mount: target.into(),
                controllers,
            });
        }
        found
    }

    /// Version 2 alone, mounted somewhere else.
    #[cfg(test)]
    pub(crate) fn unified_at(mount: &Path) -> Self {
        Self {
            v1: Vec::new(),
            unified: Some(mount.to_owned()),
        }
    }

    /// The version 2 mount when there is nothing else.
    pub fn only_unified(&self) -> Option<&Path> {
        if self.v1.is_empty() {
            self.unified.as_deref()
        } else {
            None
        }
    }

    /// Whether any version 1 hierarchy is in use.
    pub fn any_v1(&self) -> bool {
        !self.v1.is_empty()
    }

    /// Each version 1 hierarchy.
    pub fn each(&self) -> &[Hierarchy] {
        &self.v1
    }

    fn directories(&self, path: &str) -> impl Iterator<Item = (Option<&Hierarchy>, PathBuf)> {
        let path = path.trim_start_matches('/').to_owned();
        let unified = self.only_unified().map(|mount| (None, mount.join(&path)));
        self.v1
            .iter()
            .map(move |h| (Some(h), h.mount.join(&path)))
            .chain(unified)
    }

    /// The directory of `path` under the hierarchy with `controller`.
    pub fn directory(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let path = path.trim_start_matches('/');
        match self.only_unified() {
            Some(mount) => Some(mount.join(path)),
            None => self
                .v1
                .iter()
                .find(|h| h.controllers.iter().any(|c| c == controller))
                .map(|h| h.mount.join(path)),
        }
    }

    /// Whether a version 2 group has no such controller at all, as the kernel has none.
    fn lacks_controller(&self, controller: &str, path: &str) -> bool {
        let Some(mount) = self.only_unified() else {
            return false;
        };
        // What the parent could have handed down.
        let group = mount.join(path.trim_start_matches('/'));
        let available = group
            .parent()
            .and_then(|parent| fs::read_to_string(parent.join("cgroup.controllers")).ok());
        !controller.is_empty()
            && available.is_some_and(|list| !list.split_whitespace().any(|c| c == controller))
    }

    /// Opens the version 2 directory, for cloning straight into it.
    pub fn open_unified(&self, path: &str) -> Option<OwnedFd> {
        let directory = self.only_unified()?.join(path.trim_start_matches('/'));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(directory, flags, Mode::empty()).ok()
    }
}

/// Makes the groups and sets their limits.
pub fn create(
    hierarchies: &Hierarchies,
    spec: &CgroupSpec,
    devices: &[DeviceSpec],
) -> Result<(), Fault> {
    for (hierarchy, directory) in hierarchies.directories(&spec.path) {
        let what = || format!("make control group {}", directory.display());
        match hierarchy {
            Some(h) if h.controllers.iter().any(|c| c == "cpuset") => {
                cpuset_directories(&h.mount, &spec.path).step(what)?;
            }
            Some(_) => fs::create_dir_all(&directory).step(what)?,
            None => unified_directories(hierarchies, &spec.path).step(what)?,
        }
    }
    limit(hierarchies, &spec.path, &spec.resources)?;
    if !spec.all_devices {
        devices::restrict(hierarchies, &spec.path, devices)?;
    }
    Ok(())
}

/// A version 1 cpuset starts empty and takes no process until it has CPUs and memory nodes.
fn cpuset_directories(mount: &Path, path: &str) -> io::Result<()> {
    let mut directory = mount.to_owned();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let parent = directory.clone();
        directory.push(part);
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(directory.join(file))?.trim().is_empty() {
                fs::write(directory.join(file), fs::read(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

/// Makes version 2 groups, handing every controller down to the last but one.
fn unified_directories(hierarchies: &Hierarchies, path: &str) -> io::Result<()> {
    let Some(mount) = hierarchies.only_unified() else {
        return Ok(());
    };
    let mut directory = mount.to_owned();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let available = fs::read_to_string(directory.join("cgroup.controllers"))?;
        let enabled = fs::read_to_string(directory.join("cgroup.subtree_control"))?;
        let missing: Vec<String> = available
            .split_whitespace()
            .filter(|controller| !enabled.split_whitespace().any(|e| e == *controller))
            .map(|controller| format!("+{controller}"))
            .collect();
        let control = directory.join("cgroup.subtree_control");
        if !missing.is_empty() && put(&control, &missing.join(" ")).is_err() {
            for controller in missing {
                // One that cannot be handed down shows when its limit is set.
                let _ = put(&control, &controller);
            }
        }
        directory.push(part);
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a file of a control group. Opened as it is: the kernel answers an attempt to make a file
/// that is not there with a refusal, which would hide that it is not there.
fn put(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)?;
    file.write_all(value.as_bytes())
}

/// Puts the calling process, which has one thread, into the groups.
pub fn join(hierarchies: &Hierarchies, path: &str) -> Result<(), Fault> {
    for (hierarchy, directory) in hierarchies.directories(path) {
        // A thread that moves itself need not stop every fork and exit on the machine, which
        // takes the kernel some ten milliseconds. Version 2 has that file for threads only.
        let file = if hierarchy.is_some() {
            "tasks"
        } else {
            "cgroup.procs"
        };
        put(&directory.join(file), "0")
            .step(|| format!("join control group {}", directory.display()))?;
    }
    Ok(())
}

/// One file to write: controller, file, value.
type Setting = (&'static str, String, String);

/// Version 1 settings for limits, in the order they have to be written in.
fn settings_v1(r: &Resources) -> Vec<Setting> {
    let mut list: Vec<Setting> = Vec::new();
    let mut add =
        |controller, file: &str, value: String| list.push((controller, file.to_owned(), value));
    if let Some(shares) = r.cpu_shares.filter(|s| *s > 0) {
        add("cpu", "cpu.shares", shares.max(2).to_string());
    }
    if let Some(period) = r.cpu_period.filter(|p| *p > 0) {
        add("cpu", "cpu.cfs_period_us", period.to_string());
    }
    if let Some(quota) = r.cpu_quota.filter(|q| *q != 0) {
        add("cpu", "cpu.cfs_quota_us", quota.to_string());
    }
    if let Some(memory) = r.memory.filter(|m| *m != 0) {
        add("memory", "memory.limit_in_bytes", memory.to_string());
    }
    if let Some(swap) = r.memory_swap.filter(|m| *m != 0) {
        add("memory", "memory.memsw.limit_in_bytes", swap.to_string());
    }
    if let Some(cpus) = r.cpuset_cpus.as_ref().filter(|c| !c.is_empty()) {
        add("cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = r.cpuset_mems.as_ref().filter(|c| !c.is_empty()) {
        add("cpuset", "cpuset.mems", mems.clone());
    }
    for (size, limit) in &r.hugepages {
        add(
            "hugetlb",
            &format!("hugetlb.{size}.limit_in_bytes"),
            limit.to_string(),
        );
    }
    if let Some(pids) = r.pids.filter(|p| *p != 0) {
        add(
            "pids",
            "pids.max",
            if pids < 0 {
                "max".into()
            } else {
                pids.to_string()
            },
        );
    }
    list
}

/// Version 2 settings for limits.
fn settings_v2(r: &Resources) -> Vec<Setting> {
    let mut list: Vec<Setting> = Vec::new();
    let mut add =
        |controller, file: &str, value: String| list.push((controller, file.to_owned(), value));
    let bytes = |value: i64| {
        if value < 0 {
            "max".to_owned()
        } else {
            value.to_string()
        }
    };
    if let Some(shares) = r.cpu_shares.filter(|s| *s > 0) {
        add("cpu", "cpu.weight", weight(shares).to_string());
    }
    if let Some(quota) = r.cpu_quota.filter(|q| *q != 0) {
        let period = r.cpu_period.filter(|p| *p > 0).unwrap_or(100_000);
        let quota = if quota < 0 {
            "max".to_owned()
        } else {
            quota.to_string()
        };
        add("cpu", "cpu.max", format!("{quota} {period}"));
    }
    if let Some(memory) = r.memory.filter(|m| *m != 0) {
        add("memory", "memory.max", bytes(memory));
        if let Some(swap) = r.memory_swap.filter(|m| *m != 0) {
            let swap = if swap < 0 || memory < 0 {
                -1
            } else {
                (swap - memory).max(0)
            };
            add("memory", "memory.swap.max", bytes(swap));
        }
    }
    if let Some(cpus) = r.cpuset_cpus.as_ref().filter(|c| !c.is_empty()) {
        add("cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = r.cpuset_mems.as_ref().filter(|c| !c.is_empty()) {
        add("cpuset", "cpuset.mems", mems.clone());
    }
    for (size, limit) in &r.hugepages {
        add("hugetlb", &format!("hugetlb.{size}.max"), limit.to_string());
    }
    if let Some(pids) = r.pids.filter(|p| *p != 0) {
        add(
            "pids",
            "pids.max",
            if pids < 0 {
                "max".into()
            } else {
                pids.to_string()
            },
        );
    }
    for (file, value) in &r.unified {
        add("", file, value.clone());
    }
    list
}

/// Version 1 shares (2 to 262144) as version 2 weight (1 to 10000).
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Sets limits on existing groups.
pub fn limit(hierarchies: &Hierarchies, path: &str, resources: &Resources) -> Result<(), Fault> {
    let settings = match hierarchies.only_unified() {
        Some(_) => settings_v2(resources),
        None => settings_v1(resources),
    };
    let mut later = Vec::new();
    for setting in settings {
        if apply(hierarchies, path, &setting).is_err() {
            // Raising memory and swap together (or lowering) has to happen in the other order.
            later.push(setting);
        }
    }
    for setting in later {
        apply(hierarchies, path, &setting)
            .step(|| format!("set {} to {:?}", setting.1, setting.2))?;
    }
    Ok(())
}

fn apply(
    hierarchies: &Hierarchies,
    path: &str,
    (controller, file, value): &Setting,
) -> io::Result<()> {
    let Some(directory) = hierarchies.directory(controller, path) else {
        // No such controller on this node: the same as with other runtimes, it is left out.
        return Ok(());
    };
    if file.contains('/') {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    match put(&directory.join(file), value) {
        // Swap accounting and huge pages are options of the kernel.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && (file.contains("memsw")
                    || file.contains("swap")
                    || *controller == "hugetlb") =>
        {
            Ok(())
        }
        // In version 2 every directory is there, whether or not it has the controller.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && hierarchies.lacks_controller(controller, path) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// How often the kernel killed a process of the group for want of memory.
pub fn oom_kills(hierarchies: &Hierarchies, path: &str) -> u64 {
    let Some(directory) = hierarchies.directory("memory", path) else {
        return 0;
    };
    let file = match hierarchies.only_unified() {
        Some(_) => "memory.events",
        None => "memory.oom_control",
    };
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0)
}

/// Every process of the group.
pub fn processes(hierarchies: &Hierarchies, path: &str) -> Vec<i32> {
    let Some(directory) = hierarchies.directory("pids", path).or_else(|| {
        hierarchies
            .each()
            .first()
            .map(|h| h.mount.join(path.trim_start_matches('/')))
    }) else {
        return Vec::new();
    };
    fs::read_to_string(directory.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect()
}

/// Sends a signal to every process of the group. With SIGKILL repeats, bounded, while new
/// processes appear.
pub fn signal_all(hierarchies: &Hierarchies, path: &str, signal: i32) {
    if signal == libc::SIGKILL
        && let Some(mount) = hierarchies.only_unified()
        && put(
            &mount.join(path.trim_start_matches('/')).join("cgroup.kill"),
            "1",
        )
        .is_ok()
    {
        return;
    }
    for _ in 0..if signal == libc::SIGKILL { 16 } else { 1 } {
        let processes = processes(hierarchies, path);
        if processes.is_empty() {
            return;
        }
        for pid in processes {
            // It may have ended by itself.
            let _ = crate::sys::process::kill(pid, signal);
        }
    }
}

/// Removes the groups. What is still busy stays for the next try.
pub fn remove(hierarchies: &Hierarchies, path: &str) {
    for (_, directory) in hierarchies.directories(path) {
        if fs::remove_dir(&directory).is_err()
            && let Ok(entries) = fs::read_dir(&directory)
        {
            // A container with a writable cgroup may have made groups of its own.
            for entry in entries.flatten().filter(|e| e.path().is_dir()) {
                let _ = fs::remove_dir(entry.path());
            }
            let _ = fs::remove_dir(&directory);
        }
    }
}

#[cfg(test)]
mod tests;
