//! Writes a volume's files so that a reader sees either the old version or the new one.
//!
//! The files of a version stand in a directory of their own; `..data` is a link to the current
//! one, replaced by a rename; the names a container reads are links through `..data`.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use super::{Payload, VolumeError, ownership};

const CURRENT: &str = "..data";
const CURRENT_NEW: &str = "..data_tmp";

/// Brings the directory to exactly these files; whether anything changed. `version` must differ
/// from the one before and have no slash.
pub fn write(
    dir: &Path,
    payload: &Payload,
    group: Option<i64>,
    version: &str,
) -> Result<bool, VolumeError> {
    fs::create_dir_all(dir).map_err(VolumeError::io("create", dir))?;
    ownership::set_mode(dir, 0o755)?;
    let old = fs::read_link(dir.join(CURRENT)).ok();
    if let Some(old) = &old
        && is_same(&dir.join(old), payload)
    {
        return Ok(false);
    }
    let fresh_name = format!("..{version}");
    let fresh = dir.join(&fresh_name);
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir(&fresh).map_err(VolumeError::io("create", &fresh))?;
    ownership::set_mode(&fresh, 0o755)?;
    for (name, file) in payload {
        let path = fresh.join(name);
        if let Some(parent) = path.parent().filter(|p| *p != fresh) {
            fs::create_dir_all(parent).map_err(VolumeError::io("create", parent))?;
        }
        fs::write(&path, &file.data).map_err(VolumeError::io("write", &path))?;
        // Not left to the umask.
        ownership::set_mode(&path, file.mode)?;
        if let Some(uid) = file.uid {
            chown(&path, Some(uid), None).map_err(VolumeError::io("chown", &path))?;
        }
    }
    if let Some(group) = group {
        ownership::give_to_group(&fresh, group, true, false)?;
    }
    let link = dir.join(CURRENT_NEW);
    let _ = fs::remove_file(&link);
    symlink(&fresh_name, &link).map_err(VolumeError::io("link", &link))?;
    let current = dir.join(CURRENT);
    fs::rename(&link, &current).map_err(VolumeError::io("rename to", &current))?;
    link_names(dir, payload)?;
    if let Some(old) = old {
        let old = dir.join(old);
        fs::remove_dir_all(&old).map_err(VolumeError::io("remove", &old))?;
    }
    Ok(true)
}

/// The first parts of the payload's paths.
fn names(payload: &Payload) -> BTreeSet<OsString> {
    payload
        .keys()
        .filter_map(|path| path.split('/').next())
        .map(OsString::from)
        .collect()
}

fn link_names(dir: &Path, payload: &Payload) -> Result<(), VolumeError> {
    let wanted = names(payload);
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(CURRENT).join(name), &link)
                .map_err(VolumeError::io("link", &link))?;
        }
    }
    for entry in fs::read_dir(dir).map_err(VolumeError::io("read", dir))? {
        let entry = entry.map_err(VolumeError::io("read", dir))?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("..") && !wanted.contains(&name) {
            let path = entry.path();
            fs::remove_file(&path).map_err(VolumeError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn is_same(current: &Path, payload: &Payload) -> bool {
    let mut seen = 0;
    for (name, file) in payload {
        let path = current.join(name);
        let Ok(metadata) = fs::metadata(&path) else {
            return false;
        };
        // A group's bits may have been added to the mode.
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & file.mode != file.mode || fs::read(&path).ok().as_deref() != Some(&file.data) {
            return false;
        }
        seen += 1;
    }
    seen == count(current)
}

fn count(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count(&entry.path()),
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::File;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(name, text)| {
                let file = File {
                    data: text.as_bytes().to_owned(),
                    mode: 0o640,
                    uid: None,
                };
                ((*name).to_owned(), file)
            })
            .collect()
    }

    #[test]
    fn versions_replace_one_another() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("v");
        assert!(write(&dir, &payload(&[("a", "1"), ("d/b", "2")]), None, "1").expect("written"));
        assert_eq!(fs::read_to_string(dir.join("d/b")).expect("there"), "2");
        let mode = fs::metadata(dir.join("a")).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o640);
        // Nothing new: nothing is touched.
        let before = fs::read_link(dir.join(CURRENT)).expect("a link");
        assert!(!write(&dir, &payload(&[("a", "1"), ("d/b", "2")]), None, "2").expect("same"));
        assert_eq!(fs::read_link(dir.join(CURRENT)).expect("a link"), before);
        // A key goes, a key comes.
        assert!(write(&dir, &payload(&[("a", "3"), ("c", "4")]), None, "3").expect("written"));
        assert_eq!(fs::read_to_string(dir.join("a")).expect("there"), "3");
        assert!(fs::symlink_metadata(dir.join("d")).is_err());
        let versions = fs::read_dir(&dir)
            .expect("readable")
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .count();
        assert_eq!(versions, 1, "the old version is gone");
    }
}
