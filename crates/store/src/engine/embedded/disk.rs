//! The file under redb. It reserves room when it grows, so that a full disk shows in one place
//! and before anything was overwritten, and it can be cut off: after a failure the file is opened
//! anew, and what is left of the failed instance must not write to it any more.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

/// Opens files for redb; tests put a failing disk here.
pub(super) trait Medium: Send {
    /// Opens `path`, making it (mode 0600) where it is not.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>>;
}

/// The machine's own files.
pub(super) struct Plain;

impl Medium for Plain {
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        Ok(Box::new(Disk(options.open(path)?)))
    }
}

#[derive(Debug)]
struct Disk(File);

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let old = self.0.metadata()?.len();
        if len > old {
            use rustix::fs::{FallocateFlags, fallocate};
            match fallocate(&self.0, FallocateFlags::empty(), old, len - old) {
                Ok(()) => return Ok(()),
                // File systems that cannot reserve room
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => {
                    // What was reserved before the room ended
                    self.0.set_len(old)?;
                    return Err(error.into());
                }
            }
        }
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// Cuts one opening of the file off when dropped or told to.
#[derive(Debug, Default)]
pub(super) struct Guard(Arc<AtomicBool>);

impl Guard {
    /// Wraps a backend that works until the guard is cut.
    pub(super) fn wrap(&self, backend: Box<dyn StorageBackend>) -> Guarded {
        Guarded {
            backend,
            cut: self.0.clone(),
        }
    }

    /// From now on the backend refuses everything.
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
pub(super) struct Guarded {
    backend: Box<dyn StorageBackend>,
    cut: Arc<AtomicBool>,
}

impl Guarded {
    fn live(&self) -> io::Result<&dyn StorageBackend> {
        if self.cut.load(Ordering::Acquire) {
            return Err(io::Error::other("the file was opened anew after a failure"));
        }
        Ok(&*self.backend)
    }
}

impl StorageBackend for Guarded {
    fn len(&self) -> io::Result<u64> {
        self.live()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.live()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.live()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.live()?.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.live()?.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }
}
