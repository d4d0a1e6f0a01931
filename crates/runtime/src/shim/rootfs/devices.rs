//! What is in a container's `/dev`.

use std::path::Path;

use rustix::{
    fs::{CWD, FileType, makedev},
    mount::OpenTreeFlags,
};

use super::{mounts::attach, tree::Tree};
use crate::shim::{
    fault::{Fault, Step},
    spec::ContainerSpec,
};

/// The devices every container has.
const STANDARD_DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

pub(super) fn devices(
    tree: &Tree<'_>,
    spec: &ContainerSpec,
    console: Option<&Path>,
) -> Result<(), Fault> {
    for (name, major, minor) in STANDARD_DEVICES {
        let number = makedev(major, minor);
        tree.device(
            &format!("/dev/{name}"),
            FileType::CharacterDevice,
            0o666,
            number,
            (0, 0),
        )?;
    }
    for (link, to) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        tree.symlink(to, link)?;
    }
    // Kernels without it have nothing there to link to.
    if Path::new("/proc/kcore").exists() {
        tree.symlink("/proc/kcore", "/dev/core")?;
    }
    if spec.all_devices {
        all_devices(tree, Path::new("/dev"), "/dev", 0)?;
    }
    for device in &spec.devices {
        let stat = rustix::fs::stat(&device.host_path)
            .step(|| format!("look at device {}", device.host_path.display()))?;
        tree.device(
            &device.path,
            FileType::from_raw_mode(stat.st_mode),
            stat.st_mode & 0o7777,
            stat.st_rdev,
            (stat.st_uid, stat.st_gid),
        )?;
    }
    if let Some(console) = console {
        let what = || "mount the terminal at /dev/console".to_owned();
        let source = rustix::mount::open_tree(
            CWD,
            console,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .step(what)?;
        let target = tree.ensure("/dev/console", false)?;
        attach(&source, &target).step(what)?;
    }
    Ok(())
}

/// Copies the node's device files, leaving out those that belong to mounts of their own.
fn all_devices(tree: &Tree<'_>, host: &Path, inside: &str, depth: u32) -> Result<(), Fault> {
    let Ok(entries) = std::fs::read_dir(host) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if matches!(
            name.as_str(),
            "pts" | "shm" | "fd" | "mqueue" | "console" | "ptmx" | ".lxc" | ".udev"
        ) {
            continue;
        }
        let Ok(stat) = rustix::fs::lstat(entry.path()) else {
            continue;
        };
        let path = format!("{inside}/{name}");
        match FileType::from_raw_mode(stat.st_mode) {
            // Eight levels are more than any node has.
            FileType::Directory if depth < 8 => all_devices(tree, &entry.path(), &path, depth + 1)?,
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                tree.device(
                    &path,
                    kind,
                    stat.st_mode & 0o7777,
                    stat.st_rdev,
                    (stat.st_uid, stat.st_gid),
                )?;
            }
            _ => {}
        }
    }
    Ok(())
}
