//! subPath: a place inside a volume that a container may have filled with links. The path is
//! walked with links refused to leave the volume, so that none leads out of it.

use std::{
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::VolumeError;

/// The place of `sub_path` in `volume`, made as a directory when it is not there. The answer has
/// no links left in it.
pub fn resolve(volume: &Path, sub_path: &str) -> Result<PathBuf, VolumeError> {
    let sub = Path::new(sub_path);
    let relative = sub
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !relative {
        return Err(VolumeError::Reference(format!(
            "subPath {sub_path:?} must be a relative path without '..'"
        )));
    }
    let root = rustix::fs::open(
        volume,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| VolumeError::io("open", volume)(e.into()))?;
    let whole = volume.join(sub);
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = |path: &Path| {
        rustix::fs::openat2(
            &root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            beneath,
        )
    };
    let mut walked = PathBuf::new();
    for part in sub.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        let parent: PathBuf = walked.clone();
        walked.push(name);
        match open(&walked) {
            Ok(_) => {}
            Err(rustix::io::Errno::NOENT) => {
                let parent = if parent.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    &parent
                };
                let dir = open(parent).map_err(|e| VolumeError::io("open", &whole)(e.into()))?;
                let mode = directory_mode(&dir);
                match rustix::fs::mkdirat(&dir, name, mode) {
                    Ok(()) => {
                        // The umask had its say; the handle makes sure that it is no link by now.
                        let made = rustix::fs::openat2(
                            &dir,
                            name,
                            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                            Mode::empty(),
                            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                        );
                        made.and_then(|made| rustix::fs::fchmod(made, mode))
                            .map_err(|e| VolumeError::io("chmod", &whole)(e.into()))?;
                    }
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(VolumeError::io("create", &whole)(error.into())),
                }
            }
            Err(error) => return Err(VolumeError::io("resolve", &whole)(error.into())),
        }
    }
    if walked.as_os_str().is_empty() {
        return Ok(volume.to_owned());
    }
    let target = open(&walked).map_err(|e| VolumeError::io("resolve", &whole)(e.into()))?;
    let real = std::fs::read_link(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&target)
    ))
    .map_err(VolumeError::io("resolve", &whole))?;
    Ok(real)
}

/// New directories take the mode of the one they are made in.
fn directory_mode(dir: &OwnedFd) -> Mode {
    rustix::fs::statat(dir, "", AtFlags::EMPTY_PATH)
        .ok()
        .filter(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
        .map_or(Mode::from_raw_mode(0o750), |s| {
            Mode::from_raw_mode(s.st_mode & 0o7777)
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn new_directories_are_as_open_as_the_volume() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().expect("a directory");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(home.path(), open).expect("set");
        let made = resolve(home.path(), "a/b").expect("made");
        let mode = std::fs::metadata(made).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
    }

    #[test]
    fn links_cannot_leave_the_volume() {
        let home = tempfile::tempdir().expect("a directory");
        let volume = home.path().join("v");
        std::fs::create_dir_all(volume.join("real")).expect("made");
        symlink("real", volume.join("inside")).expect("linked");
        symlink("/etc", volume.join("outside")).expect("linked");
        symlink("../..", volume.join("up")).expect("linked");
        let real = volume.canonicalize().expect("there").join("real");
        assert_eq!(resolve(&volume, "inside").expect("inside"), real);
        assert_eq!(
            resolve(&volume, "real/new/deep").expect("made"),
            real.join("new/deep")
        );
        for bad in ["outside", "outside/passwd", "up/x", "../x", "/etc"] {
            assert!(resolve(&volume, bad).is_err(), "{bad}");
        }
    }
}
