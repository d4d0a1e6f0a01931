//! Unpacks one layer over the layers below it.
//!
//! The new layer is the upper directory of an overlay mount: the kernel itself then turns
//! deletions into whiteouts and copies up parent directories (with their owner, mode and
//! attributes) that the archive leaves out. The mount lives in a mount namespace of the one
//! thread that unpacks, so it is gone when that thread is, whatever happens.
//!
//! Every path is resolved with the mount's root as its limit; the last component is never
//! followed.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};

use crate::sys::process;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive itself cannot be read.
    #[error("read layer: {0}")]
    Read(#[from] io::Error),
    /// One entry cannot be made.
    #[error("unpack {path:?}: {reason}")]
    Entry {
        /// Path in the archive.
        path: String,
        /// Why.
        reason: String,
    },
    /// The overlay of the layers below cannot be mounted.
    #[error("mount the layers below: {0}")]
    Mount(io::Error),
}

/// What a layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories and others.
    pub inodes: u64,
}

/// Where a layer goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directory of all layers.
    pub layers: PathBuf,
    /// Layers below, the uppermost first.
    pub lower: Vec<String>,
    /// The new layer's directory, empty.
    pub upper: PathBuf,
    /// An empty directory for the overlay on the same file system.
    pub work: PathBuf,
    /// An empty directory to mount at.
    pub target: PathBuf,
}

/// Unpacks an uncompressed tar stream. Blocks; uses a thread of its own.
pub fn unpack<R: Read + Send + 'static>(tar: R, place: Place) -> Result<Contents, UnpackError> {
    let thread = std::thread::Builder::new()
        .name("unpack".into())
        .spawn(move || in_thread(tar, &place))?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the unpacking thread panicked").into()))
}

fn in_thread<R: Read>(tar: R, place: &Place) -> Result<Contents, UnpackError> {
    let root = if place.lower.is_empty() {
        &place.upper
    } else {
        process::unshare(libc::CLONE_NEWNS).map_err(UnpackError::Mount)?;
        mount(place).map_err(UnpackError::Mount)?;
        &place.target
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).map_err(io::Error::from)?;
    let mut unpacker = Unpacker {
        root,
        base: place.lower.is_empty(),
        contents: Contents::default(),
        directories: Vec::new(),
        made: std::collections::HashSet::new(),
    };
    let mut archive = tar::Archive::new(tar);
    archive.set_ignore_zeros(false);
    for entry in archive.entries()? {
        unpacker.entry(&mut entry?)?;
    }
    // What lies behind the last entry still counts for the stream's digest.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    unpacker.finish()
}

fn mount(place: &Place) -> io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?;
    let options = crate::snapshot::options(&place.lower, Some((&place.upper, &place.work)));
    std::env::set_current_dir("/")?;
    // The thread has its own current directory since it left the shared namespace.
    rustix::process::chdir(&place.layers)?;
    let options = process::c_string(options)?;
    rustix::mount::mount(
        "overlay",
        &place.target,
        "overlay",
        rustix::mount::MountFlags::empty(),
        options.as_c_str(),
    )?;
    rustix::process::chdir("/")?;
    Ok(())
}

struct Unpacker {
    root: OwnedFd,
    base: bool,
    contents: Contents,
    /// Times are set last: making files in a directory changes its own.
    directories: Vec<(PathBuf, Timespec)>,
    /// What this layer itself brought, which its opaque markers must spare.
    made: std::collections::HashSet<PathBuf>,
}

const OPAQUE: &str = ".wh..wh..opq";
const WHITEOUT: &str = ".wh.";

/// Brings an archive's path into the form `a/b`; none when it would lead out or is the root.
fn clean(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => out.push(part),
            std::path::Component::RootDir | std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            std::path::Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), UnpackError> {
        let raw = entry.path()?.into_owned();
        let fail = |error: io::Error| UnpackError::Entry {
            path: raw.display().to_string(),
            reason: error.to_string(),
        };
        let Some(path) = clean(&raw) else {
            return Err(fail(io::Error::new(
                io::ErrorKind::InvalidData,
                "leads out of the layer",
            )));
        };
        let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else {
            return self.root_entry(entry).map_err(fail);
        };
        if name == OPAQUE {
            return self
                .opaque(path.parent().unwrap_or(Path::new("")))
                .map_err(fail);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if hidden.is_empty() || hidden == "." || hidden == ".." {
                return Err(fail(io::ErrorKind::InvalidData.into()));
            }
            let parent = self.parent(&path).map_err(fail)?;
            return remove(&parent, hidden.as_ref(), 0).map_err(fail);
        }
        self.make(entry, &path).map_err(fail)
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        Ok(rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?)
    }

    /// The parent directory, made when the archive leaves it out and nothing below has it.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        let parent = path.parent().unwrap_or(Path::new(""));
        match self.open(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let above = self.parent(parent)?;
        if let Some(name) = parent.file_name() {
            match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.open(parent, OFlags::PATH | OFlags::DIRECTORY)
    }

    fn root_entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        if entry.header().entry_type().is_dir() {
            let root = self.open(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY)?;
            attributes(&root, entry)?;
        }
        Ok(())
    }

    fn opaque(&mut self, directory: &Path) -> io::Result<()> {
        if self.base {
            return Ok(());
        }
        let fd = match self.open(directory, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for name in names(&fd)? {
            // What this layer has brought already stays, wherever the marker stands.
            if !self.made.contains(&directory.join(&name)) {
                remove(&fd, name.as_ref(), 0)?;
            }
        }
        Ok(())
    }

    fn make<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &Path) -> io::Result<()> {
        let parent = self.parent(path)?;
        let name = path.file_name().unwrap_or_default();
        let kind = entry.header().entry_type();
        let mode = Mode::from_raw_mode(entry.header().mode()? as RawMode & 0o7777);
        let existing = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|s| FileType::from_raw_mode(s.st_mode));
        let keep = kind.is_dir() && existing == Some(FileType::Directory);
        if existing.is_some() && !keep {
            remove(&parent, name, 0)?;
        }
        for ancestor in path.ancestors().take(64) {
            self.made.insert(ancestor.to_owned());
        }
        self.contents.inodes += 1;
        let node = |kind, number| {
            rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(0o600), number)
        };
        let number = || -> io::Result<u64> {
            let major = entry.header().device_major()?.unwrap_or(0);
            let minor = entry.header().device_minor()?.unwrap_or(0);
            Ok(rustix::fs::makedev(major, minor))
        };
        match kind {
            tar::EntryType::Directory => {
                if !keep {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
                }
                self.directories.push((path.to_owned(), modified(entry)));
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?;
                let mut file = std::fs::File::from(fd);
                self.contents.bytes += io::copy(entry, &mut file)?;
                file.flush()?;
            }
            tar::EntryType::Symlink => {
                let target = link(entry)?;
                rustix::fs::symlinkat(&target, &parent, name)?;
            }
            tar::EntryType::Link => {
                let target = link(entry)?;
                let target = clean(&target).ok_or(io::ErrorKind::InvalidData)?;
                let target_parent = self.parent(&target)?;
                let target_name = target.file_name().ok_or(io::ErrorKind::InvalidData)?;
                rustix::fs::linkat(&target_parent, target_name, &parent, name, AtFlags::empty())?;
                // The inode and its attributes are the other name's.
                self.contents.inodes -= 1;
                return Ok(());
            }
            tar::EntryType::Char => node(FileType::CharacterDevice, number()?)?,
            tar::EntryType::Block => node(FileType::BlockDevice, number()?)?,
            tar::EntryType::Fifo => node(FileType::Fifo, 0)?,
            // Global headers and the like describe the archive, not files.
            _ => {
                self.contents.inodes -= 1;
                return Ok(());
            }
        }
        let (uid, gid) = owner(entry)?;
        rustix::fs::chownat(
            &parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        if kind == tar::EntryType::Symlink {
            return set_times(&parent, name, modified(entry));
        }
        // After the change of owner, which takes set-id bits away.
        rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
        extended(entry, &parent, name)?;
        if !kind.is_dir() {
            set_times(&parent, name, modified(entry))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Contents, UnpackError> {
        for (path, time) in self.directories.iter().rev() {
            // It may have been replaced by a later entry.
            if let Ok(parent) = self.parent(path)
                && let Some(name) = path.file_name()
            {
                set_times(&parent, name, *time)?;
            }
        }
        Ok(self.contents)
    }
}

fn link<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<PathBuf> {
    let name = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
    Ok(name.into_owned())
}

fn modified<R: Read>(entry: &tar::Entry<'_, R>) -> Timespec {
    Timespec {
        tv_sec: entry.header().mtime().unwrap_or(0) as i64,
        tv_nsec: 0,
    }
}

/// Owner ids; extended headers bring those that are too large for the plain one.
fn owner<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<(Uid, Gid)> {
    let mut uid = entry.header().uid()? as u32;
    let mut gid = entry.header().gid()? as u32;
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions.flatten() {
            match (
                extension.key(),
                extension.value().ok().and_then(|v| v.parse().ok()),
            ) {
                (Ok("uid"), Some(value)) => uid = value,
                (Ok("gid"), Some(value)) => gid = value,
                _ => {}
            }
        }
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Extended attributes (file capabilities above all) of `name` in `parent`.
fn extended<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(());
    };
    // Through the descriptor of the parent, which cannot have been exchanged for a link.
    let path = crate::shim::descriptor_path(parent).join(name);
    for extension in extensions {
        let extension = extension?;
        let Some(key) = extension
            .key()
            .ok()
            .and_then(|k| k.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        // These steer the overlay itself and never come from an image.
        if key.starts_with("trusted.overlay.") || key.starts_with("user.overlay.") {
            continue;
        }
        match rustix::fs::lsetxattr(&path, key, extension.value_bytes(), XattrFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn attributes<R: Read>(fd: &OwnedFd, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
    let (uid, gid) = owner(entry)?;
    rustix::fs::fchown(fd, Some(uid), Some(gid))?;
    let mode = entry.header().mode()? as RawMode & 0o7777;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    Ok(())
}

fn set_times(parent: &OwnedFd, name: &std::ffi::OsStr, time: Timespec) -> io::Result<()> {
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        parent,
        name,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStringExt;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Removes a file or a whole tree, following no links. Nothing there is fine.
pub fn remove(parent: &impl AsFd, name: &std::ffi::OsStr, depth: u32) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(rustix::io::Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    // Deeper than any path the kernel takes in one piece.
    if depth > 4096 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too deep"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for inner in names(&fd)? {
        remove(&fd, &inner, depth + 1)?;
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}
