//! `tar`, as far as `kubectl cp` calls it: `tar cf - PATH` and `tar xmf - [-C DIR]`.

use std::{
    io,
    path::{Component, Path},
};

use super::Outcome;

/// See the module.
pub fn tar(arguments: &[String]) -> Outcome {
    let mut mode = None;
    let mut folder = None;
    let mut paths = Vec::new();
    let mut arguments = arguments.iter().peekable();
    let mut first = true;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-C" => folder = Some(arguments.next().ok_or("-C needs a folder")?.clone()),
            "-" => {}
            flags if first || (flags.starts_with('-') && flags.len() > 1) => {
                for flag in flags.trim_start_matches('-').chars() {
                    match flag {
                        'c' | 'x' => mode = Some(flag),
                        'f' | 'm' | 'p' | 'v' => {}
                        other => return Err(format!("no such option: {other}")),
                    }
                }
            }
            path => paths.push(path.to_string()),
        }
        first = false;
    }
    let folder = folder.unwrap_or_else(|| ".".into());
    match mode {
        Some('c') => create(Path::new(&folder), &paths),
        Some(_) => extract(Path::new(&folder)),
        None => Err("usage: tar c[f] - PATH…, or tar x[m]f - [-C FOLDER]".into()),
    }
}

fn create(folder: &Path, paths: &[String]) -> Outcome {
    let mut builder = tar::Builder::new(io::stdout().lock());
    builder.follow_symlinks(false);
    for path in paths {
        let from = folder.join(path);
        let name: std::path::PathBuf = Path::new(path)
            .components()
            .filter(|c| matches!(c, Component::Normal(_)))
            .collect();
        let fail = |e: io::Error| format!("{path}: {e}");
        let meta = std::fs::symlink_metadata(&from).map_err(fail)?;
        if meta.is_dir() {
            builder.append_dir_all(&name, &from).map_err(fail)?;
        } else {
            builder.append_path_with_name(&from, &name).map_err(fail)?;
        }
    }
    builder.finish().map_err(|e| e.to_string())?;
    Ok(0)
}

fn extract(folder: &Path) -> Outcome {
    let mut archive = tar::Archive::new(io::stdin().lock());
    archive.set_preserve_mtime(false);
    archive.set_preserve_permissions(true);
    // `unpack` refuses entries that would leave the folder.
    archive
        .unpack(folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(0)
}
