//! The cgroups of pods: `<root>/pod<uid>` for guaranteed pods, `<root>/burstable/…` and
//! `<root>/besteffort/…` for the rest. Containers' own cgroups below them are the runtime's.
//!
//! Works on cgroup v2, on v1 (one tree per controller), and does nothing where neither is
//! mounted at the configured place.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    qos::Qos,
    resources::{self, PodResources},
    view::PodView,
};

/// A cgroup could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("{what} cgroup {path}: {source}")]
pub struct CgroupError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    /// Controllers whose limits are set here, and every tree the runtime may use.
    V1 { trees: Vec<PathBuf> },
    /// One tree.
    V2 { root: PathBuf },
    /// None.
    Absent,
}

/// The node's pod cgroups.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Layout,
    root: String,
}

/// v1 controllers that pod limits need.
const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];
/// v2 controllers handed down to pods.
const DELEGATED: &str = "+cpu +memory +pids +cpuset +io +hugetlb";
/// Tries to remove a cgroup whose last process is still being reaped, and the wait between them.
const REMOVE_TRIES: u32 = 20;
const REMOVE_WAIT: Duration = Duration::from_millis(25);

impl Cgroups {
    /// Looks at what is mounted at `mount`.
    pub fn detect(mount: &Path, root: &str) -> Self {
        let layout = if mount.join("cgroup.controllers").exists() {
            Layout::V2 {
                root: mount.to_owned(),
            }
        } else {
            let trees: Vec<_> = fs::read_dir(mount)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|tree| tree.join("cgroup.procs").exists())
                .collect();
            if trees.is_empty() {
                Layout::Absent
            } else {
                Layout::V1 { trees }
            }
        };
        Self {
            layout,
            root: root.trim_matches('/').to_owned(),
        }
    }

    /// Whether the machine has the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        matches!(self.layout, Layout::V2 { .. })
    }

    /// Path of a pod's cgroup below the mount, as the runtime is told it.
    pub fn pod_path(&self, pod: &PodView) -> String {
        let class = match Qos::of(pod.spec()) {
            Qos::Guaranteed => "",
            Qos::Burstable => "/burstable",
            Qos::BestEffort => "/besteffort",
        };
        format!("/{}{class}/pod{}", self.root, pod.uid())
    }

    /// Makes the cgroups of the classes.
    pub fn set_up(&self) -> Result<(), CgroupError> {
        for class in ["", "/burstable", "/besteffort"] {
            let path = format!("/{}{class}", self.root);
            self.make(&path)?;
            if class == "/besteffort" {
                self.limit(
                    &path,
                    &PodResources {
                        shares: 2,
                        ..Default::default()
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Gives the burstable pods together the weight of what they asked for.
    pub fn weigh_burstable(&self, milli_cpu: i64) -> Result<(), CgroupError> {
        let limits = PodResources {
            shares: resources::shares(milli_cpu),
            ..Default::default()
        };
        self.limit(&format!("/{}/burstable", self.root), &limits)
    }

    /// Makes a pod's cgroup with its limits.
    pub fn create(&self, pod: &PodView) -> Result<(), CgroupError> {
        let path = self.pod_path(pod);
        self.make(&path)?;
        self.limit(&path, &resources::pod(pod.spec()))
    }

    fn make(&self, path: &str) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::Absent => Ok(()),
            Layout::V1 { .. } => {
                for tree in self.needed() {
                    create_all(&below(&tree, path))?;
                }
                Ok(())
            }
            Layout::V2 { root } => {
                let mut at = root.clone();
                for part in path.trim_matches('/').split('/') {
                    // Each level hands the controllers down before its child is made.
                    enable(&at);
                    at.push(part);
                    create_all(&at)?;
                }
                enable(&at);
                Ok(())
            }
        }
    }

    fn needed(&self) -> Vec<PathBuf> {
        let Layout::V1 { trees } = &self.layout else {
            return Vec::new();
        };
        trees
            .iter()
            .filter(|tree| {
                tree.file_name()
                    .and_then(|n| n.to_str())
                    .is_some_and(|name| name.split(',').any(|c| NEEDED.contains(&c)))
            })
            .cloned()
            .collect()
    }

    fn limit(&self, path: &str, limits: &PodResources) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::Absent => Ok(()),
            Layout::V1 { .. } => {
                for tree in self.needed() {
                    let dir = below(&tree, path);
                    put(&dir, "cpu.shares", &limits.shares.to_string())?;
                    if let Some(quota) = limits.quota {
                        put(&dir, "cpu.cfs_period_us", "100000")?;
                        put(&dir, "cpu.cfs_quota_us", &quota.to_string())?;
                    }
                    if let Some(memory) = limits.memory {
                        put(&dir, "memory.limit_in_bytes", &memory.to_string())?;
                    }
                }
                Ok(())
            }
            Layout::V2 { root } => {
                let dir = below(root, path);
                put(&dir, "cpu.weight", &weight(limits.shares).to_string())?;
                if let Some(quota) = limits.quota {
                    put(&dir, "cpu.max", &format!("{quota} 100000"))?;
                }
                if let Some(memory) = limits.memory {
                    put(&dir, "memory.max", &memory.to_string())?;
                }
                Ok(())
            }
        }
    }

    /// Removes a pod's cgroup with everything below it, in every tree.
    pub fn remove(&self, pod: &PodView) -> Result<(), CgroupError> {
        let path = self.pod_path(pod);
        let trees: &[PathBuf] = match &self.layout {
            Layout::Absent => &[],
            Layout::V1 { trees } => trees,
            Layout::V2 { root } => std::slice::from_ref(root),
        };
        for tree in trees {
            remove_tree(&below(tree, &path))?;
        }
        Ok(())
    }
}

fn below(tree: &Path, path: &str) -> PathBuf {
    tree.join(path.trim_start_matches('/'))
}

/// The kernel's conversion of v1 shares to v2 weights.
fn weight(shares: i64) -> i64 {
    (1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142).clamp(1, 10_000)
}

fn create_all(dir: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(dir).map_err(|source| CgroupError {
        what: "create",
        path: dir.to_owned(),
        source,
    })
}

/// Controllers a level lacks are left out: each is asked for alone.
fn enable(dir: &Path) {
    for controller in DELEGATED.split(' ') {
        let _ = fs::write(dir.join("cgroup.subtree_control"), controller);
    }
}

/// Writes a limit; a file that the tree does not have belongs to another controller.
fn put(dir: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = dir.join(file);
    if !path.exists() {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| CgroupError {
        what: "set limit of",
        path,
        source,
    })
}

fn remove_tree(dir: &Path) -> Result<(), CgroupError> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    let mut tries = 0;
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if tries < REMOVE_TRIES && error.kind() == io::ErrorKind::ResourceBusy => {
                tries += 1;
                std::thread::sleep(REMOVE_WAIT);
            }
            Err(source) => {
                return Err(CgroupError {
                    what: "remove",
                    path: dir.to_owned(),
                    source,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
    }

    #[test]
    fn no_cgroups_mounted_is_no_error() {
        let home = tempfile::tempdir().expect("a directory");
        let cgroups = Cgroups::detect(home.path(), "/kubepods/");
        assert!(cgroups.set_up().is_ok());
        assert!(!cgroups.is_v2());
        assert_eq!(fs::read_dir(home.path()).expect("there").count(), 0);
    }
}
