//! hostPath: what must be there is there, what may be made is made.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{VolumeError, ownership};

/// Checks (and makes, where its type says so) the path.
pub fn check(source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" if fs::metadata(path).is_err() => {
            fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
            return ownership::set_mode(path, 0o755);
        }
        "FileOrCreate" if fs::metadata(path).is_err() => {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(path)
                .map_err(VolumeError::io("create", path))?;
            return Ok(());
        }
        _ => {}
    }
    let found = fs::metadata(path).map(|m| m.file_type());
    let fits = |test: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(test);
    let (ok, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (fits(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (fits(fs::FileType::is_file), "a file"),
        "Socket" => (fits(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (fits(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (fits(FileTypeExt::is_block_device), "a block device"),
        other => {
            return Err(VolumeError::Reference(format!(
                "{other} is an invalid volume type"
            )));
        }
    };
    if ok {
        return Ok(());
    }
    Err(VolumeError::Reference(format!(
        "hostPath type check failed: {} is not {what}",
        source.path
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str, kind: &str| {
            check(&HostPathVolumeSource {
                path: home.path().join(name).to_string_lossy().into_owned(),
                type_: Some(kind.to_owned()),
            })
        };
        assert!(at("none", "").is_ok());
        assert!(at("none", "Directory").is_err());
        assert!(at("d", "DirectoryOrCreate").is_ok());
        assert!(at("d", "Directory").is_ok());
        assert!(at("f", "FileOrCreate").is_ok());
        assert!(at("f", "File").is_ok());
        let error = at("f", "Directory").expect_err("a file");
        assert!(
            error.to_string().ends_with("f is not a directory"),
            "{error}"
        );
        assert!(at("f", "Nonsense").is_err());
    }
}
