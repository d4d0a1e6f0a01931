//! The everyday programs: `cat`, `env`, `ls`, `hostname`, `id`, `printf`.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use super::Outcome;

/// The machine's name as the kernel has it.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Prints files, or standard input.
pub fn cat(arguments: &[String]) -> Outcome {
    let mut out = io::stdout().lock();
    if arguments.is_empty() {
        io::copy(&mut io::stdin().lock(), &mut out).map_err(|e| e.to_string())?;
    }
    for path in arguments {
        if path == "-" {
            io::copy(&mut io::stdin().lock(), &mut out).map_err(|e| e.to_string())?;
        } else {
            let mut file = fs::File::open(path).map_err(|e| format!("{path}: {e}"))?;
            io::copy(&mut file, &mut out).map_err(|e| format!("{path}: {e}"))?;
        }
    }
    out.flush().map_err(|e| e.to_string())?;
    Ok(0)
}

/// Prints the environment, sorted.
pub fn env() -> Outcome {
    let mut all: Vec<_> = std::env::vars_os().collect();
    all.sort();
    for (name, value) in all {
        println!("{}={}", name.to_string_lossy(), value.to_string_lossy());
    }
    Ok(0)
}

/// Lists a folder; with `-l`, modes, owners, sizes and where links lead.
pub fn ls(arguments: &[String]) -> Outcome {
    let long = arguments
        .iter()
        .any(|a| a.starts_with('-') && a.contains('l'));
    let paths: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|a| !a.starts_with('-'))
        .collect();
    for path in if paths.is_empty() { vec!["."] } else { paths } {
        let fail = |e: io::Error| format!("{path}: {e}");
        let meta = fs::symlink_metadata(path).map_err(fail)?;
        let mut names = if meta.is_dir() {
            let read: Result<Vec<_>, _> = fs::read_dir(path)
                .map_err(fail)?
                .map(|e| e.map(|e| e.path()))
                .collect();
            read.map_err(fail)?
        } else {
            vec![path.into()]
        };
        names.sort();
        for entry in names {
            let name = entry
                .file_name()
                .unwrap_or(entry.as_os_str())
                .to_string_lossy()
                .into_owned();
            if !long {
                println!("{name}");
                continue;
            }
            let meta = fs::symlink_metadata(&entry).map_err(fail)?;
            let kind = match meta.file_type() {
                t if t.is_dir() => 'd',
                t if t.is_symlink() => 'l',
                _ => '-',
            };
            let target = fs::read_link(&entry)
                .map(|t| format!(" -> {}", t.display()))
                .unwrap_or_default();
            let mode = meta.permissions().mode() & 0o7777;
            println!(
                "{kind}{mode:04o} {:>5} {:>5} {:>10} {name}{target}",
                meta.uid(),
                meta.gid(),
                meta.len()
            );
        }
    }
    Ok(0)
}

/// Prints the machine's name.
pub fn hostname() -> Outcome {
    println!("{}", host_name());
    Ok(0)
}

/// Prints user and groups.
pub fn id() -> Outcome {
    let groups = rustix::process::getgroups().map_err(|e| e.to_string())?;
    let groups: Vec<String> = groups.iter().map(|g| g.as_raw().to_string()).collect();
    println!(
        "uid={} gid={} groups={}",
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
        groups.join(",")
    );
    Ok(0)
}

/// Prints its arguments, with `\n` and `\t` understood.
pub fn printf(arguments: &[String]) -> Outcome {
    let text = arguments
        .join(" ")
        .replace("\\n", "\n")
        .replace("\\t", "\t");
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| e.to_string())?;
    Ok(0)
}
