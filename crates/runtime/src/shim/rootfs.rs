//! A container's file system: overlay, mounts, devices, `pivot_root`, masked paths.
//!
//! Runs in the new process, in its own mount namespace, before privileges are dropped. Paths
//! inside the image are never trusted: every one is resolved with the root as its limit, so that
//! a hostile symbolic link cannot lead a mount out of the container.

mod devices;
mod mounts;
mod tree;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags},
};

use self::{
    devices::devices,
    mounts::{attach, cgroups, image_volume, new_filesystem},
    tree::Tree,
};
use super::{
    fault::{Fault, Step},
    spec::{ContainerSpec, MountSource, MountSpec, Propagation, Rootfs},
};
use crate::sys;

/// A mount prepared before the container's mount namespace exists.
#[derive(Debug)]
pub struct Prepared {
    tree: Option<OwnedFd>,
    is_directory: bool,
}

/// Detaches copies of everything to be bind-mounted. Done in the node's mount namespace, where
/// the sources belong to the peer groups that `Bidirectional` mounts have to stay in.
pub fn prepare(spec: &ContainerSpec) -> Result<Vec<Prepared>, Fault> {
    spec.mounts.iter().map(prepare_one).collect()
}

fn prepare_one(mount: &MountSpec) -> Result<Prepared, Fault> {
    let MountSource::Bind(source) = &mount.source else {
        return Ok(Prepared {
            tree: None,
            is_directory: true,
        });
    };
    let what = || format!("mount {} at {}", source.display(), mount.target);
    let tree = rustix::mount::open_tree(
        CWD,
        source,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )
    .step(what)?;
    let stat = rustix::fs::fstat(&tree).step(what)?;
    let propagation = match mount.propagation {
        Propagation::Private => sys::mount::Propagation::Private,
        Propagation::HostToContainer => sys::mount::Propagation::Slave,
        Propagation::Bidirectional => sys::mount::Propagation::Shared,
    };
    sys::mount::set_attributes(tree.as_fd(), 0, propagation, true).step(what)?;
    let mut set = mount.attributes;
    if mount.readonly || mount.recursive_readonly {
        set |= sys::mount::RDONLY;
    }
    if set != 0 {
        sys::mount::set_attributes(
            tree.as_fd(),
            set,
            sys::mount::Propagation::Keep,
            mount.recursive_readonly,
        )
        .step(what)?;
    }
    Ok(Prepared {
        tree: Some(tree),
        is_directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
    })
}

/// Makes the whole file system and moves the process into it.
pub fn enter(
    spec: &ContainerSpec,
    prepared: Vec<Prepared>,
    console: Option<&Path>,
) -> Result<(), Fault> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .step(|| "keep mounts from spreading to the node".into())?;
    let root = mount_root(&spec.rootfs)?;
    let tree = Tree { root: root.as_fd() };
    for (mount, ready) in spec.mounts.iter().zip(prepared) {
        let what = || format!("mount at {}", mount.target);
        match (&mount.source, ready.tree) {
            (_, Some(source)) => {
                let target = tree.ensure(&mount.target, ready.is_directory)?;
                attach(&source, &target).step(what)?;
            }
            (MountSource::New(kind, options), None) => {
                let target = tree.ensure(&mount.target, true)?;
                let source = new_filesystem(kind, options, mount).step(what)?;
                attach(&source, &target).step(what)?;
            }
            (MountSource::Cgroup, None) => {
                let target = tree.ensure(&mount.target, true)?;
                cgroups(&tree, &spec.cgroup.path, &target, mount).step(what)?;
            }
            (MountSource::Image(layers, lower, path), None) => {
                image_volume(&tree, layers, lower, path, mount)?;
            }
            (MountSource::Bind(_), None) => {}
        }
    }
    devices(&tree, spec, console)?;
    pivot(&root)?;
    for path in &spec.masked_paths {
        mask(path)?;
    }
    for path in &spec.readonly_paths {
        protect(path)?;
    }
    if spec.rootfs.readonly {
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .step(|| "open the root".into())?;
        sys::mount::set_attributes(
            root.as_fd(),
            sys::mount::RDONLY,
            sys::mount::Propagation::Keep,
            false,
        )
        .step(|| "make the root file system read-only".into())?;
    }
    Ok(())
}

/// Mounts the overlay (or binds the ready directory) and opens it.
fn mount_root(rootfs: &Rootfs) -> Result<OwnedFd, Fault> {
    let what = || format!("mount root file system at {}", rootfs.target.display());
    if rootfs.lower.is_empty() {
        rustix::mount::mount_bind_recursive(&rootfs.target, &rootfs.target).step(what)?;
    } else {
        overlay(
            &rootfs.layers,
            &rootfs.lower,
            Some((&rootfs.upper, &rootfs.work)),
            &rootfs.target,
        )
        .step(what)?;
    }
    rustix::mount::mount_change(&rootfs.target, MountPropagationFlags::PRIVATE).step(what)?;
    rustix::fs::open(
        &rootfs.target,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step(what)
}

/// Mounts layers over one another. Layers are named relative to their directory, which keeps a
/// hundred of them within the one page the kernel takes.
pub fn overlay(
    layers: &Path,
    lower: &[String],
    writable: Option<(&Path, &Path)>,
    target: &Path,
) -> io::Result<()> {
    let options = crate::snapshot::options(lower, writable);
    std::env::set_current_dir(layers)?;
    let options = sys::process::c_string(options)?;
    let flags = match writable {
        Some(_) => MountFlags::empty(),
        None => MountFlags::RDONLY,
    };
    let mounted = rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str());
    std::env::set_current_dir("/")?;
    Ok(mounted?)
}

fn pivot(root: &OwnedFd) -> Result<(), Fault> {
    let what = || "move into the root file system".to_owned();
    rustix::process::fchdir(root).step(what)?;
    // With both arguments the same the old root lies over the new one and is then detached.
    rustix::process::pivot_root(".", ".").step(what)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step(what)?;
    rustix::process::chdir("/").step(what)
}

/// Hides a path: files behind `/dev/null`, directories behind an empty file system.
fn mask(path: &str) -> Result<(), Fault> {
    let what = || format!("mask {path}");
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let target = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(target) => target,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(error).step(what),
    };
    let stat = rustix::fs::fstat(&target).step(what)?;
    let source = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let mount = MountSpec {
            target: path.to_owned(),
            source: MountSource::New("tmpfs".into(), Vec::new()),
            readonly: true,
            recursive_readonly: false,
            attributes: 0,
            propagation: Propagation::Private,
        };
        new_filesystem("tmpfs", &[], &mount).step(what)?
    } else {
        rustix::mount::open_tree(
            CWD,
            "/dev/null",
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .step(what)?
    };
    attach(&source, &target).step(what)
}

/// Makes a path read-only in place.
fn protect(path: &str) -> Result<(), Fault> {
    let what = || format!("make {path} read-only");
    let copy = match rustix::mount::open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    ) {
        Ok(copy) => copy,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(error).step(what),
    };
    sys::mount::set_attributes(
        copy.as_fd(),
        sys::mount::RDONLY,
        sys::mount::Propagation::Keep,
        true,
    )
    .step(what)?;
    let target =
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step(what)?;
    attach(&copy, &target).step(what)
}

/// Makes the working directory when the image does not have it.
pub fn working_directory(path: &str) -> Result<(), Fault> {
    let what = || format!("change to working directory {path:?}");
    let path = if path.is_empty() { "/" } else { path };
    if !Path::new(path).is_absolute() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not an absolute path",
        ))
        .step(what);
    }
    if rustix::process::chdir(path) == Err(rustix::io::Errno::NOENT) {
        std::fs::create_dir_all(PathBuf::from(path)).step(what)?;
        rustix::process::chdir(path).step(what)?;
    }
    Ok(())
}
