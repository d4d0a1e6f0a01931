//! Waits until something happens to the files of a directory.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::{Interest, unix::AsyncFd};

/// A watched directory.
pub struct Directory {
    events: AsyncFd<OwnedFd>,
}

impl Directory {
    /// Begins to watch.
    // The replacement is an unsafe function for the sake of file descriptors that are closed by
    // others; an owned one of inotify is not.
    #[allow(deprecated)]
    pub fn new(dir: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE;
        inotify::add_watch(&fd, dir, flags)?;
        Ok(Self {
            events: AsyncFd::with_interest(fd, Interest::READABLE)?,
        })
    }

    /// Waits for a change; several may have happened.
    pub async fn changed(&self) -> io::Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            let mut ready = self.events.readable().await?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer)?));
            match read {
                Ok(result) => {
                    result?;
                    return Ok(());
                }
                Err(_) => continue,
            }
        }
    }
}
