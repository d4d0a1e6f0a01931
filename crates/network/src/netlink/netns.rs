//! Work inside another network namespace.
//!
//! A socket belongs for life to the namespace of the thread that opened it. So a short-lived thread
//! enters the namespace and ends there: no thread of the async runtime ever changes its namespace,
//! which could not be undone if going back failed.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Error;

fn error(path: &Path, errno: Errno) -> Error {
    Error::Namespace {
        path: path.display().to_string(),
        errno,
    }
}

/// Opens a pinned namespace.
pub fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|e| {
        error(
            path,
            Errno::from_raw_os_error(e.raw_os_error().filter(|n| *n > 0).unwrap_or(libc::EIO)),
        )
    })
}

/// Runs `work` on a thread of its own inside the namespace.
pub fn within<T: Send>(
    path: &Path,
    namespace: &File,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|errno| error(path, errno))?;
                work()
            })
            .map_err(|_| error(path, Errno::AGAIN))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(error(path, Errno::IO)))
    })
}
