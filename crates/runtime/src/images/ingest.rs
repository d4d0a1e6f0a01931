//! Taking an image in: its layers one after another, then the image itself.
//!
//! An ingest holds a lock on its directory for as long as its process lives, so that collection
//! spares its layers, and a later one sweeps what a crash left.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use serde::Deserialize;

use super::{
    At, Image, ImageConfig, ImageError, ImageStore, Layer, OnProgress, Progress, ProgressStep,
    remove_tree, sha256,
    unpack::{self, Contents, Place, UnpackError},
};
use crate::state;

/// The parts of an image's configuration the store reads.
#[derive(Clone, Debug, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    config: Option<Execution>,
    rootfs: RootFs,
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    volumes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
}

#[derive(Clone, Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// One layer as it comes: how to read it, and under which digest it is known outside.
pub struct Incoming {
    /// Digest of the bytes as they come (for messages), when known.
    pub name: String,
    /// The bytes, compressed or not.
    pub reader: Box<dyn Read + Send>,
}

/// Image content being taken in.
pub struct Ingest<'a> {
    store: &'a ImageStore,
    directory: PathBuf,
    _lock: fs::File,
    layers: Vec<String>,
    progress: Option<OnProgress>,
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        // What stays is swept by the next ingest.
        let _ = remove_tree(&self.directory);
    }
}

/// Layers that ingests under way have brought; directories of dead ones are swept.
pub fn held_layers(root: &Path) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    let Ok(entries) = fs::read_dir(root.join("ingest")) else {
        return held;
    };
    for entry in entries.flatten() {
        let Ok(lock) = fs::File::open(entry.path().join("lock")) else {
            continue;
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove_tree(&entry.path());
            continue;
        }
        let text = fs::read_to_string(entry.path().join("layers")).unwrap_or_default();
        held.extend(text.lines().map(str::to_owned));
    }
    held
}

impl<'a> Ingest<'a> {
    /// Begins, with a directory of its own for temporary files.
    pub fn begin(store: &'a ImageStore, progress: Option<OnProgress>) -> Result<Self, ImageError> {
        let _locked = store.lock()?;
        held_layers(&store.root);
        let directory = store.root.join("ingest").join(&state::new_id()[..16]);
        fs::create_dir(&directory).at(&directory)?;
        let lock = fs::File::create(directory.join("lock")).at(&directory)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).at(&directory)?;
        Ok(Self {
            store,
            directory,
            _lock: lock,
            layers: Vec::new(),
            progress,
        })
    }

    /// The directory for temporary files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn tell(&self, what: &str, step: ProgressStep, done: u64, total: Option<u64>) {
        self.teller()(what, step, done, total);
    }

    /// Tells about progress from elsewhere.
    pub fn teller(&self) -> impl Fn(&str, ProgressStep, u64, Option<u64>) + Send + Sync + 'static {
        let progress = self.progress.clone();
        move |what, step, done, total| {
            if let Some(progress) = &progress {
                progress(Progress {
                    what: what.to_owned(),
                    step,
                    done,
                    total,
                });
            }
        }
    }

    /// Takes the configuration's layers in, opening each by its number only when it is not in
    /// the store yet, and gives the finished image, not yet in the index.
    pub fn image(
        &mut self,
        config: &[u8],
        mut open: impl FnMut(usize) -> Result<Incoming, ImageError>,
    ) -> Result<Image, ImageError> {
        let id = sha256(config);
        let parsed: ConfigFile =
            serde_json::from_slice(config).map_err(|e| ImageError::Malformed {
                what: format!("image configuration {id}"),
                reason: e.to_string(),
            })?;
        check_platform(&id, &parsed)?;
        let chains = chains(&parsed.rootfs.diff_ids);
        for (number, (diff, chain)) in parsed.rootfs.diff_ids.iter().zip(&chains).enumerate() {
            let name = layer_name(chain);
            // Recorded before it is looked for, so that it cannot be collected in between.
            self.layers.push(name.clone());
            self.record()?;
            if self.store.index()?.layers.contains_key(&name) {
                self.tell(diff, ProgressStep::Ready, 0, None);
                continue;
            }
            let incoming = open(number)?;
            self.layer(&name, chain, diff, incoming)?;
        }
        self.store.write_blob(&id, config)?;
        let index = self.store.index()?;
        let layers = self.layers.clone();
        let size = layers
            .iter()
            .filter_map(|l| index.layers.get(l))
            .map(|l| l.size)
            .sum::<u64>();
        Ok(Image {
            id,
            size: size + config.len() as u64,
            layers,
            config: execution(parsed.config.unwrap_or_default()),
            ..Image::default()
        })
    }

    fn record(&self) -> Result<(), ImageError> {
        let path = self.directory.join("layers");
        let _locked = self.store.lock()?;
        state::write(&path, self.layers.join("\n").as_bytes()).at(&path)
    }

    fn layer(
        &self,
        name: &str,
        chain: &str,
        diff: &str,
        incoming: Incoming,
    ) -> Result<(), ImageError> {
        let work = self.directory.join(name);
        let place = Place {
            layers: self.store.layers_directory(),
            lower: self.layers.iter().rev().skip(1).cloned().collect(),
            upper: work.join("upper"),
            work: work.join("work"),
            target: work.join("merged"),
        };
        for directory in [&work, &place.upper, &place.work, &place.target] {
            fs::create_dir(directory).at(directory)?;
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&place.upper, fs::Permissions::from_mode(0o755)).at(&place.upper)?;
        self.tell(diff, ProgressStep::Unpacking, 0, None);
        let failed = |source| ImageError::Layer {
            layer: incoming.name.clone(),
            source,
        };
        let upper = place.upper.clone();
        let (reader, digest) =
            Digesting::new(decompress(incoming.reader).map_err(|e| failed(e.into()))?);
        let contents = unpack::unpack(reader, place).map_err(failed)?;
        let actual = digest.lock().take().unwrap_or_default();
        if actual != diff {
            return Err(ImageError::Digest {
                what: format!("layer {}", incoming.name),
                expected: diff.to_owned(),
                actual,
            });
        }
        self.keep(name, chain, &upper, contents)?;
        let _ = remove_tree(&work);
        self.tell(
            diff,
            ProgressStep::Ready,
            contents.bytes,
            Some(contents.bytes),
        );
        Ok(())
    }

    /// Moves an unpacked layer into the store, durably.
    pub fn keep(
        &self,
        name: &str,
        chain: &str,
        from: &Path,
        contents: Contents,
    ) -> Result<(), ImageError> {
        // One sync of the file system instead of one for each of thousands of files.
        let directory = fs::File::open(from).at(from)?;
        rustix::fs::syncfs(&directory).at(from)?;
        let to = self.store.layers_directory().join(name);
        let locked = self.store.lock()?;
        match rustix::fs::renameat_with(
            rustix::fs::CWD,
            from,
            rustix::fs::CWD,
            &to,
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) if self.store.index()?.layers.contains_key(name) => {
                // Another process was quicker with the same content.
                return Ok(());
            }
            Err(rustix::io::Errno::EXIST) => {
                // Left by a crash between rename and index: its content is not known to be whole.
                remove_tree(&to).at(&to)?;
                fs::rename(from, &to).at(&to)?;
            }
            Err(error) => return Err(error).at(&to),
        }
        state::sync_parent(&to).at(&to)?;
        locked.change(|index| {
            index.layers.insert(
                name.to_owned(),
                Layer {
                    chain: chain.to_owned(),
                    size: contents.bytes,
                    inodes: contents.inodes,
                },
            );
        })
    }

    /// Puts the image into the index and ends.
    pub fn commit(self, image: Image) -> Result<Image, ImageError> {
        let locked = self.store.lock()?;
        let id = image.id.clone();
        locked.change(|index| index.add(image))?;
        let index = self.store.index()?;
        index.find(&id).cloned().ok_or(ImageError::NotFound(id))
    }
}

/// The digest over each layer and all below it.
fn chains(diff_ids: &[String]) -> Vec<String> {
    let mut chains: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        chains.push(match chains.last() {
            None => diff.clone(),
            Some(below) => sha256(format!("{below} {diff}").as_bytes()),
        });
    }
    chains
}

/// The store's names for the layers of a configuration.
pub fn layer_names(config: &[u8]) -> Result<Vec<String>, ImageError> {
    let parsed: ConfigFile = serde_json::from_slice(config).map_err(|e| ImageError::Malformed {
        what: "image configuration".into(),
        reason: e.to_string(),
    })?;
    Ok(chains(&parsed.rootfs.diff_ids)
        .iter()
        .map(|c| layer_name(c))
        .collect())
}

/// A layer's directory name: short, as many have to fit into one page of mount options.
pub fn layer_name(chain: &str) -> String {
    let hexadecimal = chain.rsplit(':').next().unwrap_or_default();
    hexadecimal
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(20)
        .collect()
}

fn check_platform(id: &str, config: &ConfigFile) -> Result<(), ImageError> {
    let malformed = |reason: String| ImageError::Malformed {
        what: format!("image configuration {id}"),
        reason,
    };
    if !config.os.is_empty() && config.os != "linux" {
        return Err(malformed(format!(
            "made for operating system {:?}",
            config.os
        )));
    }
    if !config.architecture.is_empty() && config.architecture != super::pull::architecture() {
        return Err(malformed(format!(
            "made for architecture {:?}, this machine is {:?}",
            config.architecture,
            super::pull::architecture()
        )));
    }
    for diff in &config.rootfs.diff_ids {
        let hexadecimal = diff.strip_prefix("sha256:").unwrap_or_default();
        if hexadecimal.len() != 64 || !hexadecimal.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(malformed(format!("layer digest {diff:?} is not valid")));
        }
    }
    Ok(())
}

fn execution(config: Execution) -> ImageConfig {
    ImageConfig {
        user: config.user.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        stop_signal: config.stop_signal.filter(|s| !s.is_empty()),
        volumes: config.volumes.unwrap_or_default().into_keys().collect(),
    }
}

/// Looks at the first bytes and decompresses gzip and zstd.
pub fn decompress(mut reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut magic)?;
    let kind = (
        magic.starts_with(&[0x1f, 0x8b]),
        magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
    );
    let whole = BufReader::with_capacity(64 << 10, io::Cursor::new(magic).chain(reader));
    Ok(match kind {
        (true, _) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        (_, true) => Box::new(Zstd::new(Box::new(whole))?),
        _ => Box::new(whole),
    })
}

/// Zstandard, frame after frame.
struct Zstd {
    decoder: Option<
        ruzstd::decoding::StreamingDecoder<
            Box<dyn io::BufRead + Send>,
            ruzstd::decoding::FrameDecoder,
        >,
    >,
}

impl Zstd {
    fn new(reader: Box<dyn io::BufRead + Send>) -> io::Result<Self> {
        let decoder = ruzstd::decoding::StreamingDecoder::new(reader).map_err(io::Error::other)?;
        Ok(Self {
            decoder: Some(decoder),
        })
    }
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(decoder) = self.decoder.take() else {
                break;
            };
            let mut rest = decoder.into_inner();
            if !rest.fill_buf()?.is_empty() {
                *self = Self::new(rest)?;
            }
        }
        Ok(0)
    }
}

type Finished = std::sync::Arc<parking_lot::Mutex<Option<String>>>;

/// Digests what is read through it; the digest is there once everything has been read.
struct Digesting<R> {
    reader: R,
    context: ring::digest::Context,
    finished: Finished,
}

impl<R> Digesting<R> {
    fn new(reader: R) -> (Self, Finished) {
        let finished = Finished::default();
        let digesting = Self {
            reader,
            context: ring::digest::Context::new(&ring::digest::SHA256),
            finished: finished.clone(),
        };
        (digesting, finished)
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            let digest = self.context.clone().finish();
            *self.finished.lock() = Some(format!("sha256:{}", state::hex(digest.as_ref())));
        }
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}

impl From<UnpackError> for io::Error {
    fn from(error: UnpackError) -> Self {
        io::Error::other(error)
    }
}
