//! emptyDir, on disk or in memory, and the mounts that go with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::{MountFlags, UnmountFlags};

use super::{VolumeError, ownership};
use crate::pods::{resources, view::PodView};

/// Makes the directory, writable by every container of the pod.
pub fn set_up(
    dir: &Path,
    memory: bool,
    limit: Option<u64>,
    group: Option<i64>,
) -> Result<(), VolumeError> {
    fs::create_dir_all(dir).map_err(VolumeError::io("create", dir))?;
    if memory && !is_tmpfs(dir) {
        mount_tmpfs(dir, limit, 0o777)?;
    }
    ownership::set_mode(dir, 0o777)?;
    if let Some(group) = group {
        ownership::give_to_group(dir, group, false, true)?;
        ownership::set_mode(dir, 0o2777)?;
    }
    Ok(())
}

/// The size of a memory-backed emptyDir: its own limit or the containers' memory together.
pub fn memory_limit(pod: &PodView, source: &EmptyDirVolumeSource) -> Option<u64> {
    let own = source
        .size_limit
        .as_ref()
        .map(resources::value)
        .filter(|v| *v > 0);
    let pod_limit = resources::pod(pod.spec()).memory;
    own.into_iter()
        .chain(pod_limit)
        .min()
        .and_then(|v| u64::try_from(v).ok())
}

/// Mounts a tmpfs.
pub fn mount_tmpfs(dir: &Path, size: Option<u64>, mode: u32) -> Result<(), VolumeError> {
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    let options = std::ffi::CString::new(options)
        .map_err(|e| VolumeError::Reference(format!("tmpfs options: {e}")))?;
    rustix::mount::mount(
        "tmpfs",
        dir,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        options.as_c_str(),
    )
    .map_err(|e| VolumeError::io("mount tmpfs on", dir)(e.into()))
}

/// Whether a tmpfs is mounted right there.
pub fn is_tmpfs(dir: &Path) -> bool {
    mounts_below(dir)
        .iter()
        .any(|(path, kind)| path == dir && kind == "tmpfs")
}

/// Mount points at or below a directory, with their types; the last mounted first.
fn mounts_below(dir: &Path) -> Vec<(PathBuf, String)> {
    let Ok(text) = fs::read_to_string("/proc/self/mounts") else {
        return Vec::new();
    };
    let mut out: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let path = PathBuf::from(unescape(words.nth(1)?));
            let kind = words.next()?.to_owned();
            path.starts_with(dir).then_some((path, kind))
        })
        .collect();
    out.reverse();
    out
}

/// The kernel writes blanks and backslashes as octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Unmounts everything at or below a directory, so that removing it removes nothing else.
pub fn unmount_below(dir: &Path) -> Result<(), VolumeError> {
    for (path, _) in mounts_below(dir) {
        rustix::mount::unmount(&path, UnmountFlags::DETACH)
            .map_err(|e| VolumeError::io("unmount", &path)(e.into()))?;
    }
    Ok(())
}
