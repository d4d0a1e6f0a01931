//! Who may read a volume: modes that the umask does not touch, and the pod's fsGroup.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

use super::VolumeError;

/// Sets permission bits.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(VolumeError::io("chmod", path))
}

/// Gives everything below `path` to a group that may read it (and write, unless read-only); new
/// files in its directories belong to the group too. With `only_on_mismatch` a tree whose root is
/// right already is left alone.
pub fn give_to_group(
    path: &Path,
    group: i64,
    read_only: bool,
    only_on_mismatch: bool,
) -> Result<(), VolumeError> {
    let Ok(group) = u32::try_from(group) else {
        return Err(VolumeError::Reference(format!(
            "fsGroup {group} is no group id"
        )));
    };
    let metadata = fs::symlink_metadata(path).map_err(VolumeError::io("stat", path))?;
    if only_on_mismatch && metadata.gid() == group && metadata.mode() & 0o2000 != 0 {
        return Ok(());
    }
    one(path, &metadata, group, read_only)
}

fn one(
    path: &Path,
    metadata: &fs::Metadata,
    group: u32,
    read_only: bool,
) -> Result<(), VolumeError> {
    lchown(path, None, Some(group)).map_err(VolumeError::io("chown", path))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mut mode = metadata.mode() & 0o7777;
    mode |= if read_only { 0o440 } else { 0o660 };
    if metadata.is_dir() {
        mode |= 0o2110;
    }
    set_mode(path, mode)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(VolumeError::io("read", path))? {
            let child = entry.map_err(VolumeError::io("read", path))?.path();
            let metadata = fs::symlink_metadata(&child).map_err(VolumeError::io("stat", &child))?;
            one(&child, &metadata, group, read_only)?;
        }
    }
    Ok(())
}
