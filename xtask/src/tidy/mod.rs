//! The rules of the house that a program can check: each in a file of its own, over the files git
//! tracks.

mod floors;
mod text;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

/// A tracked file with its text.
pub struct Source {
    /// Path from the root of the repository.
    pub path: String,
    /// Content.
    pub text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("tests.rs")
            || self.path.starts_with("tests/")
    }
}

/// All complaints, one line each: `path:line: what is wrong`.
pub fn check() -> Result<Vec<String>> {
    let sources = sources()?;
    let mut complaints = Vec::new();
    for source in &sources {
        text::check(source, &mut complaints);
    }
    floors::check(&sources, &mut complaints);
    complaints.sort();
    Ok(complaints)
}

fn sources() -> Result<Vec<Source>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(&root)
        .output()
        .context("run git ls-files")?;
    anyhow::ensure!(
        listed.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listed.stderr).trim()
    );
    let mut sources = Vec::new();
    for path in listed.stdout.split(|b| *b == 0).filter(|p| !p.is_empty()) {
        let path = String::from_utf8_lossy(path).into_owned();
        // A tracked file that was deleted, or is no text, has nothing to be checked.
        if let Ok(text) = fs::read_to_string(root.join(&path)) {
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests;
