//! Finds the program to run, with the error texts container users know.

use std::{ffi::CString, io, os::unix::fs::MetadataExt, path::Path};

use super::fault::Fault;
use crate::sys::process::c_string;

/// Resolves the first argument in `$PATH` of the process's own environment.
pub fn find(args: &[String], env: &[String]) -> Result<CString, Fault> {
    let Some(name) = args.first().filter(|a| !a.is_empty()) else {
        return Err(Fault::new("no command specified"));
    };
    let path = if name.contains('/') {
        check(Path::new(name)).map_err(|error| {
            let text = match error.kind() {
                io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => format!("stat {name}: {}", reason(&error)),
            };
            Fault::new(format!("exec: {name:?}: {text}"))
        })?;
        name.clone()
    } else {
        search(name, env).ok_or_else(|| {
            Fault::new(format!(
                "exec: {name:?}: executable file not found in $PATH"
            ))
        })?
    };
    not_ourselves(&path)?;
    c_string(&path).map_err(|error| Fault::new(format!("exec: {name:?}: {error}")))
}

fn search(name: &str, env: &[String]) -> Option<String> {
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH="))?;
    path.split(':')
        .map(|directory| match directory {
            "" => format!("./{name}"),
            directory => format!("{directory}/{name}"),
        })
        .find(|candidate| check(Path::new(candidate)).is_ok())
}

fn check(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() || metadata.mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// An image whose command leads to `/proc/self/exe` would get hold of the node's own program.
fn not_ourselves(path: &str) -> Result<(), Fault> {
    let (Ok(own), Ok(theirs)) = (std::fs::metadata("/proc/self/exe"), std::fs::metadata(path))
    else {
        return Ok(());
    };
    if (own.dev(), own.ino()) == (theirs.dev(), theirs.ino()) {
        return Err(Fault::new(format!(
            "exec: {path:?}: leads to the container runtime's own program"
        )));
    }
    Ok(())
}

/// The system's error text as C programs print it.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "unknown error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_users_know_them() {
        let env = ["PATH=/usr/bin:/bin".to_owned()];
        let text = |name: &str| find(&[name.to_owned()], &env).unwrap_err().to_string();
        assert_eq!(
            text("no-such"),
            "exec: \"no-such\": executable file not found in $PATH"
        );
        assert_eq!(
            text("/no/such"),
            "exec: \"/no/such\": stat /no/such: no such file or directory"
        );
        assert_eq!(text("/etc"), "exec: \"/etc\": permission denied");
        assert_eq!(
            find(&[], &env).unwrap_err().to_string(),
            "no command specified"
        );
        assert!(
            find(&["sh".to_owned()], &env)
                .unwrap()
                .to_string_lossy()
                .ends_with("/sh")
        );
    }
}
