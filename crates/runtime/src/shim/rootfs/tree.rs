//! Paths inside a container's root. They are never trusted: each is resolved with the root as its
//! limit.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Uid};

use crate::shim::fault::{Fault, Step};

/// The container's root while it is being furnished.
pub(super) struct Tree<'a> {
    pub(super) root: BorrowedFd<'a>,
}

impl Tree<'_> {
    pub(super) fn open(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat2(
            self.root,
            path.trim_start_matches('/'),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Opens a path inside the root, making what is missing.
    pub(super) fn ensure(&self, path: &str, directory: bool) -> Result<OwnedFd, Fault> {
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

    pub(super) fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), Fault> {
        let clean = path.trim_matches('/');
        let (parent, name) = clean.rsplit_once('/').unwrap_or(("", clean));
        Ok((self.ensure(parent, true)?, name))
    }

    pub(super) fn symlink(&self, to: &str, path: &str) -> Result<(), Fault> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::symlinkat(to, &parent, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error).step(|| format!("link {path}")),
        }
    }

    pub(super) fn device(
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
