//! Images made from a program on this machine, without an archive: `corten.local/tools`.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use serde_json::json;

use super::{
    At, Image, ImageConfig, ImageError, ImageStore, Reference,
    ingest::{Ingest, layer_name},
    sha256,
    unpack::Contents,
};
use crate::state;

/// Program name inside the image.
const PROGRAM: &str = "corten";
const PATH: &str = "PATH=/bin:/";
const PASSWD: &str = "root:x:0:0:root:/root:/corten\nnobody:x:65534:65534:nobody:/:/corten\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";

impl ImageStore {
    /// Makes sure that the image `name` made from the static program `exe` is there. The program
    /// is linked into the store (copied only across file systems) and digested only when it is
    /// not the one of last time. `programs` become links to it in `/bin`.
    pub fn ensure_builtin(
        &self,
        name: &str,
        exe: &Path,
        programs: &[&str],
    ) -> Result<Image, ImageError> {
        let reference: Reference = name.parse()?;
        let tag = reference.to_string();
        let metadata = fs::metadata(exe).at(exe)?;
        let stamp = format!(
            "{}:{}:{}:{}.{}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        let known = self.root.join("builtin.json");
        let last: std::collections::BTreeMap<String, (String, String)> = fs::read(&known)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        if let Some((seen, id)) = last.get(&tag)
            && *seen == stamp
            && let Some(image) = self.find(id)?
            && image.tags.contains(&tag)
        {
            return Ok(image);
        }
        let image = self.make_builtin(&tag, exe, programs)?;
        let mut next = last;
        next.insert(tag, (stamp, image.id.clone()));
        let text = serde_json::to_vec(&next).map_err(ImageError::Index)?;
        state::write(&known, &text).at(&known)?;
        Ok(image)
    }

    fn make_builtin(&self, tag: &str, exe: &Path, programs: &[&str]) -> Result<Image, ImageError> {
        let digest = sha256(&fs::read(exe).at(exe)?);
        let chain = sha256(format!("builtin {digest} {PASSWD}{GROUP}{programs:?}").as_bytes());
        let name = layer_name(&chain);
        let config = json!({
            "architecture": super::pull::architecture(),
            "os": "linux",
            "config": {"Entrypoint": [format!("/{PROGRAM}"), "tools"], "Env": [PATH], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [chain]},
        });
        let config = serde_json::to_vec(&config).map_err(ImageError::Index)?;
        let ingest = Ingest::begin(self, None)?;
        let size = fs::metadata(exe).at(exe)?.len();
        if !self.index()?.layers.contains_key(&name) {
            let layer = ingest.directory().join("layer");
            fill(&layer, exe, programs).at(&layer)?;
            ingest.keep(
                &name,
                &chain,
                &layer,
                Contents {
                    bytes: size,
                    inodes: 8,
                },
            )?;
        }
        let id = sha256(&config);
        self.write_blob(&id, &config)?;
        ingest.commit(Image {
            id,
            tags: [tag.to_owned()].into(),
            layers: vec![name],
            size: size + config.len() as u64,
            config: ImageConfig {
                entrypoint: vec![format!("/{PROGRAM}"), "tools".into()],
                env: vec![PATH.into()],
                working_dir: "/".into(),
                ..ImageConfig::default()
            },
            pinned: true,
            ..Image::default()
        })
    }
}

fn fill(layer: &Path, exe: &Path, programs: &[&str]) -> std::io::Result<()> {
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    fs::create_dir(layer)?;
    mode(layer, 0o755)?;
    for (name, bits) in [
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("root", 0o700),
        ("bin", 0o755),
    ] {
        let path = layer.join(name);
        fs::create_dir(&path)?;
        mode(&path, bits)?;
    }
    fs::write(layer.join("etc/passwd"), PASSWD)?;
    fs::write(layer.join("etc/group"), GROUP)?;
    for program in programs.iter().chain(&[PROGRAM]) {
        symlink(format!("/{PROGRAM}"), layer.join("bin").join(program))?;
    }
    let program = layer.join(PROGRAM);
    // A link shares its pages in memory with the running server and every shim.
    if fs::metadata(exe)?.mode() & 0o111 != 0o111 || fs::hard_link(exe, &program).is_err() {
        fs::copy(exe, &program)?;
        mode(&program, 0o755)?;
    }
    Ok(())
}
