//! Mount attributes (`mount_setattr`), which no safe crate offers yet.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Read-only.
pub const RDONLY: u64 = 0x1;
/// No set-user-id.
pub const NOSUID: u64 = 0x2;
/// No device files.
pub const NODEV: u64 = 0x4;
/// No execution.
pub const NOEXEC: u64 = 0x8;

/// How mount events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// As it is.
    Keep,
    /// Neither way.
    Private,
    /// From the host to the container.
    Slave,
    /// Both ways.
    Shared,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets attributes and propagation of the mount behind `fd` (an `O_PATH` or `open_tree`
/// descriptor), and of every mount below it when `recursive`.
#[allow(unsafe_code)]
pub fn set_attributes(
    fd: BorrowedFd<'_>,
    set: u64,
    propagation: Propagation,
    recursive: bool,
) -> io::Result<()> {
    change(fd, c"", libc::AT_EMPTY_PATH, set, propagation, recursive)
}

#[allow(unsafe_code)]
fn change(
    fd: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
    set: u64,
    propagation: Propagation,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: match propagation {
            Propagation::Keep => 0,
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
        },
        userns: 0,
    };
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = flags | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads one struct of the size given and a null-terminated path.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
