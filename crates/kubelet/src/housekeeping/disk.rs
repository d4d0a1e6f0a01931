//! How full the disk is: what is used of what can be used. Blocks that the file system keeps for
//! itself or for others count as neither.

use std::path::Path;

/// Bytes used, and bytes that there are.
pub fn usage(path: &Path) -> Option<(u64, u64)> {
    let fs = rustix::fs::statvfs(path).ok()?;
    parts(fs.f_blocks, fs.f_bfree, fs.f_bavail, fs.f_frsize)
}

/// Inodes used, and inodes that there are.
pub fn inodes(path: &Path) -> Option<(u64, u64)> {
    let fs = rustix::fs::statvfs(path).ok()?;
    parts(fs.f_files, fs.f_ffree, fs.f_favail, 1)
}

fn parts(all: u64, free: u64, available: u64, unit: u64) -> Option<(u64, u64)> {
    let used = all.checked_sub(free)?.checked_mul(unit)?;
    let total = used.checked_add(available.checked_mul(unit)?)?;
    // A file system without a count (btrfs has none of inodes) is never full.
    (total > 0).then_some((used, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_back_counts_as_neither() {
        assert_eq!(parts(100, 60, 10, 4), Some((160, 200)));
        assert_eq!(parts(0, 0, 0, 1), None);
    }
}
