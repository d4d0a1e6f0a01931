//! What the store knows of its images: one JSON file, replaced whole under the store's lock, so
//! that a second process sees either the old or the new.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// An image, identified by the digest of its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…` of the configuration.
    pub id: String,
    /// `registry/repository:tag`.
    pub tags: BTreeSet<String>,
    /// `registry/repository@sha256:…`.
    pub digests: BTreeSet<String>,
    /// Layers in the store, the lowermost first.
    pub layers: Vec<String>,
    /// Bytes of all layers as unpacked, with the configuration.
    pub size: u64,
    /// What the configuration says about running it.
    pub config: ImageConfig,
    /// Kept by garbage collection.
    #[serde(default)]
    pub pinned: bool,
}

/// The part of an image's configuration that containers need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `user[:group]`.
    pub user: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Program.
    pub entrypoint: Vec<String>,
    /// Arguments.
    pub cmd: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// Signal that ends it.
    pub stop_signal: Option<String>,
    /// Directories whose content belongs to a volume.
    #[serde(default)]
    pub volumes: BTreeSet<String>,
}

/// A layer in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest over it and all below.
    pub chain: String,
    /// Bytes it holds.
    pub size: u64,
    /// Files and directories it holds.
    pub inodes: u64,
}

/// The whole index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// By image id.
    pub images: BTreeMap<String, Image>,
    /// By name in the layers directory.
    pub layers: BTreeMap<String, Layer>,
}

impl Index {
    /// Finds an image by id (or an unambiguous beginning of one), tag, or digest.
    pub fn find(&self, name: &str) -> Option<&Image> {
        let with_algorithm = format!("sha256:{name}");
        if let Some(image) = self
            .images
            .get(name)
            .or_else(|| self.images.get(&with_algorithm))
        {
            return Some(image);
        }
        if let Ok(reference) = name.parse::<super::Reference>() {
            let by_digest = reference
                .digest
                .as_ref()
                .map(|d| format!("{}@{d}", reference.name()));
            let found = self.images.values().find(|image| match &by_digest {
                Some(digest) => image.digests.contains(digest),
                None => reference
                    .repo_tag()
                    .is_some_and(|tag| image.tags.contains(&tag)),
            });
            if found.is_some() {
                return found;
            }
        }
        let hexadecimal = name.strip_prefix("sha256:").unwrap_or(name);
        if hexadecimal.len() < 4 || !hexadecimal.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let prefix = format!("sha256:{hexadecimal}");
        let mut matching = self.images.values().filter(|i| i.id.starts_with(&prefix));
        let first = matching.next();
        if matching.next().is_some() {
            None
        } else {
            first
        }
    }

    /// Adds an image, or the names of one that is there already. A tag names one image only.
    pub fn add(&mut self, image: Image) {
        for other in self.images.values_mut() {
            if other.id != image.id {
                other.tags.retain(|tag| !image.tags.contains(tag));
            }
        }
        match self.images.get_mut(&image.id) {
            Some(known) => {
                known.tags.extend(image.tags);
                known.digests.extend(image.digests);
                known.pinned |= image.pinned;
                known.layers = image.layers;
            }
            None => {
                self.images.insert(image.id.clone(), image);
            }
        }
    }

    /// Takes names, or the whole image when `name` is its id or the last name goes: whether
    /// anything changed.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(id) = self.find(name).map(|image| image.id.clone()) else {
            return false;
        };
        self.images.remove(&id);
        true
    }

    /// Takes one tag; the image goes when it was its last name.
    pub fn untag(&mut self, tag: &str) -> bool {
        let Some(id) = self.find(tag).map(|image| image.id.clone()) else {
            return false;
        };
        let Ok(reference) = tag.parse::<super::Reference>() else {
            return self.remove(tag);
        };
        if let Some(image) = self.images.get_mut(&id)
            && let Some(tag) = reference.repo_tag()
            && image.tags.len() > 1
            && image.tags.remove(&tag)
        {
            return true;
        }
        self.remove(&id)
    }

    /// Layers no image uses.
    pub fn unused_layers(&self, in_use: &BTreeSet<String>) -> Vec<String> {
        let referenced: BTreeSet<&String> = self
            .images
            .values()
            .flat_map(|image| &image.layers)
            .chain(in_use)
            .collect();
        self.layers
            .keys()
            .filter(|layer| !referenced.contains(layer))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, tags: &[&str], layers: &[&str]) -> Image {
        Image {
            id: format!("sha256:{}", id.repeat(64)),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            layers: layers.iter().map(|l| (*l).to_owned()).collect(),
            ..Image::default()
        }
    }

    #[test]
    fn images_are_found_by_every_name() {
        let mut index = Index::default();
        let mut a = image("a", &["docker.io/library/web:latest"], &["1"]);
        let digest = format!("sha256:{}", "c".repeat(64));
        a.digests.insert(format!("docker.io/library/web@{digest}"));
        index.add(a.clone());
        index.add(image("b", &["registry.example/x/y:1"], &["1", "2"]));
        for name in [
            "web",
            "docker.io/library/web:latest",
            &a.id,
            "aaaa",
            &format!("web@{digest}"),
        ] {
            assert_eq!(index.find(name).map(|i| &i.id), Some(&a.id), "{name}");
        }
        for name in ["web:2", "cccc", "y:1", "aaab"] {
            assert_eq!(index.find(name), None, "{name}");
        }
    }

    #[test]
    fn a_tag_moves_to_the_newest_image() {
        let mut index = Index::default();
        index.add(image("a", &["h.io/w:1"], &["1"]));
        index.add(image("b", &["h.io/w:1"], &["2"]));
        assert!(index.find("h.io/w:1").unwrap().id.contains('b'));
        assert!(index.find("aaaa").unwrap().tags.is_empty());
    }

    #[test]
    fn layers_are_unused_when_no_image_and_no_container_has_them() {
        let mut index = Index::default();
        for layer in ["1", "2", "3"] {
            index.layers.insert(layer.into(), Layer::default());
        }
        index.add(image("a", &["h.io/w:1"], &["1", "2"]));
        index.add(image("b", &["h.io/v:1"], &["1", "3"]));
        assert!(index.unused_layers(&BTreeSet::new()).is_empty());
        assert!(index.remove("h.io/v:1"));
        assert_eq!(index.unused_layers(&BTreeSet::new()), ["3"]);
        assert!(
            index
                .unused_layers(&BTreeSet::from(["3".to_owned()]))
                .is_empty()
        );
        assert!(!index.remove("h.io/v:1"));
    }
}
