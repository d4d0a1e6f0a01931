//! The mounts that are not copies of the node's: new file systems, control groups, images.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    },
};

use super::tree::Tree;
use crate::{
    shim::{
        cgroup,
        fault::{Fault, Step},
        spec::MountSpec,
    },
    sys,
};

pub(super) fn attach(source: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    rustix::mount::move_mount(
        source,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

pub(super) fn new_filesystem(
    kind: &str,
    options: &[(String, String)],
    mount: &MountSpec,
) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", kind)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context.as_fd(), key.as_str())?;
        } else {
            rustix::mount::fsconfig_set_string(context.as_fd(), key.as_str(), value.as_str())?;
        }
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let mut flags = MountAttrFlags::from_bits_retain(mount.attributes as u32);
    if mount.readonly {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// The container's own view of the control groups.
pub(super) fn cgroups(
    tree: &Tree<'_>,
    path: &str,
    target: &OwnedFd,
    mount: &MountSpec,
) -> Result<(), Fault> {
    let what = || "mount the control groups".to_owned();
    let hierarchies = cgroup::Hierarchies::detect();
    if let Some(unified) = hierarchies.only_unified() {
        let source = match new_filesystem("cgroup2", &[], mount) {
            Ok(source) => source,
            // A user namespace may not mount anew; it still may bind.
            Err(_) => bind(&unified.join(path.trim_start_matches('/')), mount).step(what)?,
        };
        return attach(&source, target).step(what);
    }
    let options = [("mode".to_owned(), "755".to_owned())];
    let mut writable = mount.clone();
    writable.readonly = false;
    let base = new_filesystem("tmpfs", &options, &writable).step(what)?;
    attach(&base, target).step(what)?;
    for hierarchy in hierarchies.each() {
        let source = hierarchy.mount.join(path.trim_start_matches('/'));
        let Ok(copy) = bind(&source, mount) else {
            continue;
        };
        let inner = format!("{}/{}", mount.target, hierarchy.name);
        let place = tree.ensure(&inner, true)?;
        attach(&copy, &place).step(what)?;
        for alias in &hierarchy.aliases {
            let inner = format!("{}/{alias}", mount.target.trim_end_matches('/'));
            tree.symlink(&hierarchy.name, &inner)?;
        }
    }
    if mount.readonly {
        sys::mount::set_attributes(
            tree.ensure(&mount.target, true)?.as_fd(),
            sys::mount::RDONLY,
            sys::mount::Propagation::Keep,
            false,
        )
        .step(what)?;
    }
    Ok(())
}

fn bind(source: &Path, mount: &MountSpec) -> io::Result<OwnedFd> {
    let tree = rustix::mount::open_tree(
        CWD,
        source,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    let readonly = if mount.readonly {
        sys::mount::RDONLY
    } else {
        0
    };
    sys::mount::set_attributes(
        tree.as_fd(),
        mount.attributes | readonly,
        sys::mount::Propagation::Private,
        false,
    )?;
    Ok(tree)
}

/// Mounts an image's files, or a directory of them, read-only.
pub(super) fn image_volume(
    tree: &Tree<'_>,
    layers: &Path,
    lower: &[String],
    path: &str,
    mount: &MountSpec,
) -> Result<(), Fault> {
    let what = || format!("mount image at {}", mount.target);
    let target = tree.ensure(&mount.target, true)?;
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step(what)?;
    std::env::set_current_dir(layers).step(what)?;
    // An overlay needs two lower layers when it has no upper one: the first is doubled by an
    // empty one that the store keeps.
    let mut names = lower.to_vec();
    if names.len() == 1 {
        names.push(crate::snapshot::EMPTY_LAYER.to_owned());
    }
    let created = rustix::mount::fsconfig_set_string(context.as_fd(), "source", "overlay")
        .and_then(|()| {
            rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir", names.join(":"))
        })
        .and_then(|()| rustix::mount::fsconfig_create(context.as_fd()));
    std::env::set_current_dir("/").step(what)?;
    created.step(what)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::from_bits_retain(mount.attributes as u32);
    let whole =
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).step(what)?;
    if path.is_empty() {
        return attach(&whole, &target).step(what);
    }
    // A sub-path: the whole goes in place first, then the part over it.
    attach(&whole, &target).step(what)?;
    let part = rustix::fs::openat2(
        &whole,
        path.trim_start_matches('/'),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .step(what)?;
    let copy = rustix::mount::open_tree(
        &part,
        "",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH,
    )
    .step(what)?;
    rustix::mount::unmount(
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&whole)),
        UnmountFlags::DETACH,
    )
    .step(what)?;
    attach(&copy, &target).step(what)
}
