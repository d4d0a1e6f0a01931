//! A container's file system: overlay, mounts, devices, `pivot_root`, masked paths.
//!
//! Runs in the new process, in its own mount namespace, before privileges are dropped. Paths
//! inside the image are never trusted: every one is resolved with the root as its limit, so that
//! a hostile symbolic link cannot lead a mount out of the container.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Uid, makedev},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags, OpenTreeFlags, UnmountFlags,
    },
};

use super::{
    cgroup,
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

fn attach(source: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    rustix::mount::move_mount(
        source,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

fn new_filesystem(
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
fn cgroups(tree: &Tree<'_>, path: &str, target: &OwnedFd, mount: &MountSpec) -> Result<(), Fault> {
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
fn image_volume(
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

/// The container's root while it is being furnished.
struct Tree<'a> {
    root: BorrowedFd<'a>,
}

impl Tree<'_> {
    fn open(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat2(
            self.root,
            path.trim_start_matches('/'),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Opens a path inside the root, making what is missing.
    fn ensure(&self, path: &str, directory: bool) -> Result<OwnedFd, Fault> {
        let what = || format!("make mount point {path}");
        let clean = path.trim_matches('/');
        if clean.is_empty() {
            return rustix::io::dup(self.root).step(what);
        }
        match self.open(clean) {
            Ok(fd) => return Ok(fd),
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).step(what),
        }
        let (parent, name) = match clean.rsplit_once('/') {
            Some((parent, name)) => (self.ensure(parent, true)?, name),
            None => (rustix::io::dup(self.root).step(what)?, clean),
        };
        if name == "." || name == ".." {
            return Err(io::Error::from(io::ErrorKind::InvalidInput)).step(what);
        }
        let made = if directory {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        } else {
            rustix::fs::openat(
                &parent,
                name,
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::from_raw_mode(0o755),
            )
            .map(drop)
        };
        match made {
            // A dangling link stands there already: follow it within the root.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error).step(what),
        }
        self.open(clean).step(what)
    }

    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), Fault> {
        let clean = path.trim_matches('/');
        let (parent, name) = clean.rsplit_once('/').unwrap_or(("", clean));
        Ok((self.ensure(parent, true)?, name))
    }

    fn symlink(&self, to: &str, path: &str) -> Result<(), Fault> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::symlinkat(to, &parent, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error).step(|| format!("link {path}")),
        }
    }

    fn device(
        &self,
        path: &str,
        kind: FileType,
        mode: u32,
        number: u64,
        owner: (u32, u32),
    ) -> Result<(), Fault> {
        let what = || format!("make device {path}");
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mknodat(
            &parent,
            name,
            kind,
            Mode::from_raw_mode(mode as RawMode),
            number,
        ) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error).step(what),
        }
        rustix::fs::chmodat(
            &parent,
            name,
            Mode::from_raw_mode(mode as RawMode),
            AtFlags::empty(),
        )
        .step(what)?;
        rustix::fs::chownat(
            &parent,
            name,
            Some(Uid::from_raw(owner.0)),
            Some(Gid::from_raw(owner.1)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .step(what)
    }
}

/// The devices every container has.
pub const STANDARD_DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

fn devices(tree: &Tree<'_>, spec: &ContainerSpec, console: Option<&Path>) -> Result<(), Fault> {
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
        ("/dev/core", "/proc/kcore"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        tree.symlink(to, link)?;
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
