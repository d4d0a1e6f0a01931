//! Importing image archives: `docker save` and OCI layouts, plain or compressed.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    At, Image, ImageError, ImageStore, OnProgress, Reference,
    ingest::{self, Incoming, Ingest},
    pull::{Descriptor, Manifest, ManifestIndex, architecture},
    sha256,
};

/// Most bytes of a manifest or configuration.
const MAX_DOCUMENT: u64 = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The archive's files, set down in the ingest's directory under numbers.
struct Files {
    by_name: HashMap<String, PathBuf>,
}

impl Files {
    fn document(&self, name: &str) -> Option<io::Result<Vec<u8>>> {
        let path = self.by_name.get(name)?;
        Some(fs::File::open(path).and_then(|file| {
            let mut text = Vec::new();
            file.take(MAX_DOCUMENT).read_to_end(&mut text)?;
            Ok(text)
        }))
    }
}

fn normal(path: &Path) -> String {
    let parts = path.components().fold(Vec::new(), |mut parts, part| {
        match part {
            std::path::Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
        parts
    });
    parts.join("/")
}

fn extract(reader: Box<dyn Read + Send>, directory: &Path) -> io::Result<Files> {
    let mut by_name = HashMap::new();
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(reader);
    for (number, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let name = normal(&entry.path()?);
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let path = directory.join(format!("file-{number}"));
                io::copy(&mut entry, &mut fs::File::create(&path)?)?;
                by_name.insert(name, path);
            }
            tar::EntryType::Symlink | tar::EntryType::Link => {
                if let Some(target) = entry.link_name()? {
                    let base = match entry.header().entry_type() {
                        tar::EntryType::Symlink => {
                            Path::new(&name).parent().unwrap_or(Path::new(""))
                        }
                        _ => Path::new(""),
                    };
                    let target = normal(&base.join(target));
                    links.push((name, target));
                }
            }
            _ => {}
        }
    }
    // Old archives name equal layers by links.
    for (name, target) in links {
        if let Some(path) = by_name.get(&target).cloned() {
            by_name.insert(name, path);
        }
    }
    Ok(Files { by_name })
}

impl ImageStore {
    /// Imports every image of an archive file. Blocks for as long as that takes.
    pub fn import(
        &self,
        path: &Path,
        progress: Option<OnProgress>,
    ) -> Result<Vec<Image>, ImageError> {
        let bad = |reason: String| ImageError::Archive {
            path: path.to_owned(),
            reason,
        };
        let file = fs::File::open(path).at(path)?;
        let work = Ingest::begin(self, None)?;
        let reader = ingest::decompress(Box::new(file)).at(path)?;
        let files = extract(reader, work.directory())
            .map_err(|error| bad(format!("not an image archive: {error}")))?;
        let images = if let Some(text) = files.document("manifest.json") {
            self.docker(&files, &text.at(path)?, &bad, progress.as_ref())?
        } else if let Some(text) = files.document("index.json") {
            self.layout(&files, &text.at(path)?, &bad, progress.as_ref())?
        } else {
            return Err(bad("neither manifest.json nor index.json is in it".into()));
        };
        if images.is_empty() {
            return Err(bad("no image for this machine is in it".into()));
        }
        Ok(images)
    }

    fn docker(
        &self,
        files: &Files,
        text: &[u8],
        bad: &impl Fn(String) -> ImageError,
        progress: Option<&OnProgress>,
    ) -> Result<Vec<Image>, ImageError> {
        let list: Vec<DockerImage> =
            serde_json::from_slice(text).map_err(|e| bad(format!("manifest.json: {e}")))?;
        let mut images = Vec::new();
        for entry in list {
            let config = files
                .document(&normal(Path::new(&entry.config)))
                .ok_or_else(|| bad(format!("{} is missing", entry.config)))?
                .map_err(|e| bad(e.to_string()))?;
            let mut ingest = Ingest::begin(self, progress.cloned())?;
            let mut image = ingest.image(&config, |number| {
                let name = entry
                    .layers
                    .get(number)
                    .ok_or_else(|| bad(format!("layer {number} is not listed")))?;
                incoming(files, &normal(Path::new(name)), bad)
            })?;
            for tag in entry.repo_tags.iter().flatten() {
                image.tags.extend(tag.parse::<Reference>()?.repo_tag());
            }
            images.push(ingest.commit(image)?);
        }
        Ok(images)
    }

    fn layout(
        &self,
        files: &Files,
        text: &[u8],
        bad: &impl Fn(String) -> ImageError,
        progress: Option<&OnProgress>,
    ) -> Result<Vec<Image>, ImageError> {
        let index: ManifestIndex =
            serde_json::from_slice(text).map_err(|e| bad(format!("index.json: {e}")))?;
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let name = descriptor
                .annotation("io.containerd.image.name")
                .or_else(|| descriptor.annotation("org.opencontainers.image.ref.name"));
            let Some((digest, manifest)) = self.resolve(files, descriptor, bad, 0)? else {
                continue;
            };
            let config = blob(files, &manifest.config.digest, bad)?;
            let mut ingest = Ingest::begin(self, progress.cloned())?;
            let mut image = ingest.image(&config, |number| {
                let layer = manifest
                    .layers
                    .get(number)
                    .ok_or_else(|| bad(format!("layer {number} is not listed")))?;
                incoming(files, &blob_name(&layer.digest), bad)
            })?;
            // A bare tag without a name cannot be told from a name: only full names count.
            if let Some(reference) = name.and_then(|n| n.parse::<Reference>().ok()) {
                image.tags.extend(reference.repo_tag());
                image
                    .digests
                    .insert(format!("{}@{digest}", reference.name()));
            }
            images.push(ingest.commit(image)?);
        }
        Ok(images)
    }

    /// Follows indexes down to this machine's manifest.
    fn resolve(
        &self,
        files: &Files,
        descriptor: &Descriptor,
        bad: &impl Fn(String) -> ImageError,
        depth: u32,
    ) -> Result<Option<(String, Manifest)>, ImageError> {
        if !descriptor.fits(architecture()) || depth > 4 {
            return Ok(None);
        }
        let text = blob(files, &descriptor.digest, bad)?;
        let parse = |e: serde_json::Error| bad(format!("manifest {}: {e}", descriptor.digest));
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(parse)?;
        if value.get("manifests").is_some() {
            let index: ManifestIndex = serde_json::from_value(value).map_err(parse)?;
            for inner in &index.manifests {
                if let Some(found) = self.resolve(files, inner, bad, depth + 1)? {
                    return Ok(Some(found));
                }
            }
            return Ok(None);
        }
        if value.get("layers").is_none() || value.get("config").is_none() {
            return Ok(None);
        }
        let manifest = serde_json::from_value(value).map_err(parse)?;
        self.write_blob(&descriptor.digest, &text)?;
        Ok(Some((descriptor.digest.clone(), manifest)))
    }
}

fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn blob(
    files: &Files,
    digest: &str,
    bad: &impl Fn(String) -> ImageError,
) -> Result<Vec<u8>, ImageError> {
    let text = files
        .document(&blob_name(digest))
        .ok_or_else(|| bad(format!("blob {digest} is missing")))?
        .map_err(|e| bad(e.to_string()))?;
    let actual = sha256(&text);
    if actual != digest {
        return Err(ImageError::Digest {
            what: "blob".into(),
            expected: digest.to_owned(),
            actual,
        });
    }
    Ok(text)
}

fn incoming(
    files: &Files,
    name: &str,
    bad: &impl Fn(String) -> ImageError,
) -> Result<Incoming, ImageError> {
    let path = files
        .by_name
        .get(name)
        .ok_or_else(|| bad(format!("{name} is missing")))?;
    Ok(Incoming {
        name: name.to_owned(),
        reader: Box::new(fs::File::open(path).at(path)?),
    })
}
