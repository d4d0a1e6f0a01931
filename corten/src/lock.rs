//! One server per data directory: a lock on `DIR/lock`, which also tells who holds it.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// Holds the directory until dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Makes the directory if there is none and takes its lock.
pub fn take(dir: &Path) -> Result<DirLock> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| {
            format!(
                "cannot make the data directory {} (choose another with --data-dir)",
                dir.display()
            )
        })?;
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| {
            format!(
                "cannot open {} (is the data directory writable for this user?)",
                path.display()
            )
        })?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        // Who holds it only makes the message better.
        let _ = file.read_to_string(&mut holder);
        let holder = holder.trim();
        let by = if holder.is_empty() {
            String::new()
        } else {
            format!(" (process {holder})")
        };
        bail!(
            "another corten{by} uses {}: stop it first, or give this one a directory of its own with --data-dir",
            dir.display()
        );
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()))
        .with_context(|| format!("cannot write {} (is the disk full?)", path.display()))?;
    Ok(DirLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::take;

    #[test]
    fn a_second_taker_is_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        let message = format!("{:#}", take(dir.path()).unwrap_err());
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        assert!(message.contains("--data-dir"), "{message}");
        drop(first);
        take(dir.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = format!("{:#}", take(&file.join("data")).unwrap_err());
        assert!(
            message.contains("cannot make the data directory"),
            "{message}"
        );
    }
}
