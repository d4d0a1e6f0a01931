//! One process at a time: an exclusive lock on `DIR/lock`, in which its holder writes its pid.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine::OpenError;

/// Makes the directory where there is none, and takes its lock. Waits `patience` for another
/// holder, because a killed process holds its locks until it has quite exited.
pub(super) fn take(dir: &Path, patience: Duration) -> Result<File, OpenError> {
    let unreadable = |path: &Path, source| match source {
        source if is_full(&source) => OpenError::Full {
            path: path.to_owned(),
        },
        source => OpenError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    if dir.exists() && !dir.is_dir() {
        return Err(OpenError::NotAStore {
            path: dir.to_owned(),
            detail: "it is not a directory".into(),
        });
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| unreadable(dir, source))?;
    let restricted = std::fs::set_permissions(dir, Permissions::from_mode(0o700));
    restricted.map_err(|source| unreadable(dir, source))?;

    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options
        .open(&path)
        .map_err(|source| unreadable(&path, source))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    dir: dir.to_owned(),
                    pid: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unreadable(&path, source)),
        }
    }
    // Only for the message above, in another process: a full disk must not keep the store shut
    let noted = file
        .set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(%error, "cannot note the pid in the lock file");
    }
    Ok(file)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether an error says that there is no room.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
