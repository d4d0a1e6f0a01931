//! The image store: images by the digest of their configuration, layers unpacked once and shared.
//!
//! ```text
//! ROOT/index.json        what there is (see `index`)
//! ROOT/lock              held for every change of the index
//! ROOT/blobs/HEX         manifests and configurations, by digest
//! ROOT/layers/NAME/      unpacked layers; NAME is short so that many fit in mount options
//! ROOT/uses/CONTAINER    layers that a container has mounted
//! ROOT/ingest/…          work under way, swept when nobody holds it any more
//! ```
//!
//! Several processes may work on one store: a layer appears by a rename, an image by a change of
//! the index under the lock, and collection looks at images, uses and ingests under the same lock.

mod archive;
mod builtin;
mod index;
mod ingest;
mod pull;
mod reference;
mod unpack;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;

pub use index::{Image, ImageConfig, Index, Layer};
pub use pull::{Credentials, PullError};
pub use reference::{Reference, ReferenceError};
pub use unpack::UnpackError;

use crate::state;

/// The image store.
#[derive(Debug)]
pub struct ImageStore {
    root: PathBuf,
    cached: Mutex<Option<(Stamp, Arc<Index>)>>,
}

/// Tells one version of the index file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: Option<SystemTime>,
    length: u64,
}

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file system failed.
    #[error("image store {path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index cannot be understood.
    #[error("image store index is damaged: {0}")]
    Index(serde_json::Error),
    /// Not an image reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No such image.
    #[error("image {0:?} not found")]
    NotFound(String),
    /// The file to import is no image archive.
    #[error("{path}: {reason}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {layer}: {source}")]
    Layer {
        /// Digest of the layer.
        layer: String,
        /// Why.
        source: UnpackError,
    },
    /// Content is not what its digest says.
    #[error("content of {what} has digest {actual}, not {expected}")]
    Digest {
        /// What was checked.
        what: String,
        /// As announced.
        expected: String,
        /// As computed.
        actual: String,
    },
    /// A manifest or configuration does not make sense.
    #[error("{what}: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong.
        reason: String,
    },
}

/// Where an import or a pull has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Digest of the layer, or what else is being worked on.
    pub what: String,
    /// What is done with it.
    pub step: ProgressStep,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, when known.
    pub total: Option<u64>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressStep {
    /// Bytes arrive.
    Downloading,
    /// Files are being made.
    Unpacking,
    /// It is there.
    Ready,
}

/// Told about progress; must return quickly.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, ImageError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, ImageError> {
        self.map_err(|source| ImageError::Io {
            path: path.to_owned(),
            source: source.into(),
        })
    }
}

/// An exclusive hold on the store's index.
pub(crate) struct Locked<'a> {
    store: &'a ImageStore,
    _file: fs::File,
}

impl ImageStore {
    /// Opens the store, making its directories.
    pub fn open(root: impl Into<PathBuf>) -> Result<Arc<Self>, ImageError> {
        let root = root.into();
        for name in ["blobs", "layers", "uses", "ingest"] {
            let path = root.join(name);
            fs::create_dir_all(&path).at(&path)?;
        }
        let empty = root.join("layers").join(crate::snapshot::EMPTY_LAYER);
        fs::create_dir_all(&empty).at(&empty)?;
        let store = Arc::new(Self {
            root,
            cached: Mutex::new(None),
        });
        store.index()?;
        Ok(store)
    }

    /// Where the layers are.
    pub fn layers_directory(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// The index as it is now on the disk; read again only when it has changed.
    pub fn index(&self) -> Result<Arc<Index>, ImageError> {
        use std::os::unix::fs::MetadataExt;
        let path = self.index_path();
        let stamp = match fs::metadata(&path) {
            Ok(metadata) => Stamp {
                inode: metadata.ino(),
                modified: metadata.modified().ok(),
                length: metadata.len(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(error).at(&path),
        };
        let mut cached = self.cached.lock();
        if let Some((known, index)) = &*cached
            && *known == stamp
        {
            return Ok(Arc::clone(index));
        }
        let text = fs::read(&path).at(&path)?;
        let index: Arc<Index> = Arc::new(serde_json::from_slice(&text).map_err(ImageError::Index)?);
        *cached = Some((stamp, Arc::clone(&index)));
        Ok(index)
    }

    /// All images.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        Ok(self.index()?.images.values().cloned().collect())
    }

    /// One image by id, tag or digest.
    pub fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        Ok(self.index()?.find(name).cloned())
    }

    pub(crate) fn lock(&self) -> Result<Locked<'_>, ImageError> {
        let path = self.root.join("lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).at(&path)?;
        Ok(Locked {
            store: self,
            _file: file,
        })
    }

    /// Removes an image by id, tag or digest, and the layers nothing else needs: whether it was
    /// there.
    pub fn remove(&self, name: &str) -> Result<bool, ImageError> {
        let locked = self.lock()?;
        let mut index = (*self.index()?).clone();
        if !index.remove(name) {
            return Ok(false);
        }
        locked.write(&index)?;
        locked.collect(index)?;
        Ok(true)
    }

    /// Takes one tag away; the image goes with its last one.
    pub fn untag(&self, tag: &str) -> Result<bool, ImageError> {
        let locked = self.lock()?;
        let mut index = (*self.index()?).clone();
        if !index.untag(tag) {
            return Ok(false);
        }
        locked.write(&index)?;
        locked.collect(index)?;
        Ok(true)
    }

    /// Records that a container mounts these images' layers, so that they outlive the images.
    /// Gives the first image.
    pub fn hold(&self, container: &str, images: &[&str]) -> Result<Vec<Image>, ImageError> {
        let _locked = self.lock()?;
        let index = self.index()?;
        let mut found = Vec::new();
        let mut layers = BTreeSet::new();
        for name in images {
            let image = index
                .find(name)
                .ok_or_else(|| ImageError::NotFound((*name).to_owned()))?;
            layers.extend(image.layers.iter().cloned());
            found.push(image.clone());
        }
        let path = self.root.join("uses").join(container);
        let text = layers.into_iter().collect::<Vec<_>>().join("\n");
        state::write(&path, text.as_bytes()).at(&path)?;
        Ok(found)
    }

    /// Takes the record of [`ImageStore::hold`] back. Unused layers go with the next removal.
    pub fn release(&self, container: &str) -> Result<(), ImageError> {
        let path = self.root.join("uses").join(container);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(&path),
            _ => Ok(()),
        }
    }

    /// Containers with a record of [`ImageStore::hold`].
    pub fn holders(&self) -> Result<Vec<String>, ImageError> {
        let path = self.root.join("uses");
        let entries = fs::read_dir(&path).at(&path)?;
        Ok(entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect())
    }

    /// Bytes and inodes of all unpacked layers.
    pub fn usage(&self) -> Result<(u64, u64), ImageError> {
        let index = self.index()?;
        let layers = index.layers.values();
        Ok(layers.fold((0, 0), |(b, i), l| (b + l.size, i + l.inodes)))
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        let hexadecimal = digest.rsplit(':').next().unwrap_or_default();
        self.root.join("blobs").join(hexadecimal)
    }

    /// Stores a manifest or configuration.
    fn write_blob(&self, digest: &str, text: &[u8]) -> Result<(), ImageError> {
        let path = self.blob_path(digest);
        state::write_durably(&path, text).at(&path)
    }

    /// Reads a manifest or configuration.
    pub fn read_blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let path = self.blob_path(digest);
        fs::read(&path).at(&path)
    }
}

impl Locked<'_> {
    fn write(&self, index: &Index) -> Result<(), ImageError> {
        let path = self.store.index_path();
        let text = serde_json::to_vec(index).map_err(ImageError::Index)?;
        state::write_durably(&path, &text).at(&path)
    }

    /// Changes the index.
    fn change(&self, change: impl FnOnce(&mut Index)) -> Result<(), ImageError> {
        let mut index = (*self.store.index()?).clone();
        change(&mut index);
        self.write(&index)
    }

    /// Removes layers that no image, container or ingest needs, and blobs of no image.
    fn collect(&self, mut index: Index) -> Result<(), ImageError> {
        let mut in_use = BTreeSet::new();
        let uses = self.store.root.join("uses");
        for entry in fs::read_dir(&uses).at(&uses)?.flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            in_use.extend(text.lines().map(str::to_owned));
        }
        in_use.extend(ingest::held_layers(&self.store.root));
        let unused = index.unused_layers(&in_use);
        for name in &unused {
            index.layers.remove(name);
        }
        self.write(&index)?;
        for name in unused {
            let path = self.store.layers_directory().join(name);
            remove_tree(&path).at(&path)?;
        }
        let keep: BTreeSet<&str> = index
            .images
            .values()
            .flat_map(|i| std::iter::once(&i.id).chain(&i.digests))
            .filter_map(|d| d.rsplit(':').next())
            .collect();
        let blobs = self.store.root.join("blobs");
        for entry in fs::read_dir(&blobs).at(&blobs)?.flatten() {
            if !keep.contains(entry.file_name().to_string_lossy().as_ref()) {
                // The next collection tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// Removes a tree that holds image content, where no name can be trusted.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match fs::File::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    unpack::remove(&parent, name, 0)
}

pub(crate) fn sha256(data: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, data);
    format!("sha256:{}", state::hex(digest.as_ref()))
}
