//! Pulling from registries.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use oci_client::{
    Client, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};
use serde::Deserialize;
use tokio::io::AsyncWrite;

use super::{
    At, Image, ImageError, ImageStore, OnProgress, ProgressStep, Reference, ReferenceError,
    ingest::{Incoming, Ingest},
    sha256,
};

/// How often a request that failed on the way is tried.
const TRIES: u32 = 3;
/// Layers downloaded at once.
const AT_ONCE: usize = 3;
/// No bytes for this long is a failure.
const SILENCE: Duration = Duration::from_secs(60);

const ACCEPTED: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A content descriptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub digest: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Descriptor {
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether it may be for Linux on this architecture.
    pub(super) fn fits(&self, architecture: &str) -> bool {
        self.platform
            .as_ref()
            .is_none_or(|p| p.os == "linux" && p.architecture == architecture)
    }
}

/// The registry of images that are made on the node itself: pulling one finds it in the store, and
/// never asks the network.
const BUILTIN_REGISTRY: &str = "corten.local";

/// An image manifest.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// An image index.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ManifestIndex {
    pub manifests: Vec<Descriptor>,
}

/// This machine's architecture as images name it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// How to show oneself to a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    #[default]
    Anonymous,
    /// User and password.
    Basic(String, String),
    /// A token.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic(..) => "Basic",
            Self::Token(_) => "Token",
        })
    }
}

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Not an image reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry does not have it, or does not show it to these credentials.
    #[error("failed to pull image {image:?}: {image}: not found")]
    NotFound {
        /// The reference.
        image: String,
    },
    /// The registry refuses the credentials.
    #[error(
        "failed to pull image {image:?}: pull access denied, repository does not exist or may \
         require authorization: {reason}"
    )]
    Denied {
        /// The reference.
        image: String,
        /// What the registry says.
        reason: String,
    },
    /// The registry cannot be reached, or fails.
    #[error("failed to pull image {image:?}: {reason}")]
    Registry {
        /// The reference.
        image: String,
        /// What went wrong.
        reason: String,
    },
    /// There is no image for this machine.
    #[error("failed to pull image {image:?}: no match for platform linux/{architecture}")]
    Platform {
        /// The reference.
        image: String,
        /// This machine's architecture.
        architecture: &'static str,
    },
    /// The store could not take it in.
    #[error("failed to pull image {image:?}: {source}")]
    Store {
        /// The reference.
        image: String,
        /// Why.
        source: ImageError,
    },
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

struct Puller {
    image: String,
    client: Client,
    reference: oci_client::Reference,
    auth: RegistryAuth,
}

impl Puller {
    fn new(reference: &Reference, credentials: &Credentials) -> Result<Self, PullError> {
        // Somebody else in this process may have chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let image = reference.to_string();
        let protocol = if reference.is_loopback() {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        };
        let config = ClientConfig {
            protocol,
            read_timeout: Some(SILENCE),
            connect_timeout: Some(Duration::from_secs(15)),
            user_agent: concat!("corten/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        // The library panics where the node has no trust anchors at all.
        let client =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Client::try_from(config)))
                .map_err(|_| "no TLS trust anchors: install ca-certificates".to_owned())
                .and_then(|made| made.map_err(|e| with_causes(&e)))
                .map_err(|reason| PullError::Registry {
                    image: image.clone(),
                    reason,
                })?;
        let (registry, repository) = (reference.registry.clone(), reference.repository.clone());
        let place = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => {
                oci_client::Reference::with_digest(registry, repository, digest.clone())
            }
            (None, tag) => oci_client::Reference::with_tag(
                registry,
                repository,
                tag.clone().unwrap_or_else(|| "latest".into()),
            ),
        };
        Ok(Self {
            image,
            client,
            reference: place,
            auth: match credentials {
                Credentials::Anonymous => RegistryAuth::Anonymous,
                Credentials::Basic(user, password) => {
                    RegistryAuth::Basic(user.clone(), password.clone())
                }
                Credentials::Token(token) => RegistryAuth::Bearer(token.clone()),
            },
        })
    }

    fn error(&self, error: &OciDistributionError) -> PullError {
        let image = self.image.clone();
        let reason = with_causes(error);
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => PullError::Denied { image, reason },
            OciDistributionError::ImageManifestNotFoundError(_) => PullError::NotFound { image },
            OciDistributionError::ServerError { code: 404, .. } => PullError::NotFound { image },
            OciDistributionError::ServerError {
                code: 401 | 403, ..
            } => PullError::Denied { image, reason },
            OciDistributionError::RegistryError { envelope, .. } => {
                let text = format!("{envelope}").to_ascii_uppercase();
                let says = |word: &str| text.contains(word);
                if says("UNAUTHORIZED") || says("DENIED") {
                    PullError::Denied { image, reason }
                } else if says("UNKNOWN") || says("NOT FOUND") {
                    PullError::NotFound { image }
                } else {
                    PullError::Registry { image, reason }
                }
            }
            _ => PullError::Registry { image, reason },
        }
    }

    fn passing(error: &OciDistributionError) -> bool {
        match error {
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => true,
            OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429,
            _ => false,
        }
    }

    /// Tries again, after growing pauses, what may pass.
    async fn retrying<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, PullError>
    where
        F: Future<Output = Result<T, OciDistributionError>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match request().await {
                Ok(value) => return Ok(value),
                Err(error) if tries < TRIES && Self::passing(&error) => {
                    tracing::debug!(image = self.image, %error, tries, "registry request failed");
                    tokio::time::sleep(Duration::from_millis(200 << tries)).await;
                }
                Err(error) => return Err(self.error(&error)),
            }
        }
    }

    async fn manifest(
        &self,
        reference: &oci_client::Reference,
    ) -> Result<(Vec<u8>, String), PullError> {
        let (body, digest) = self
            .retrying(|| {
                self.client
                    .pull_manifest_raw(reference, &self.auth, ACCEPTED)
            })
            .await?;
        Ok((body.to_vec(), digest))
    }
}

/// A blob being written: to a file, or to memory for documents.
struct Sink {
    file: tokio::fs::File,
    done: u64,
    tell: Box<dyn Fn(u64) + Send + Sync>,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let result = std::pin::Pin::new(&mut self.file).poll_write(cx, data);
        if let std::task::Poll::Ready(Ok(count)) = &result {
            self.done += *count as u64;
            (self.tell)(self.done);
        }
        result
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.file).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.file).poll_shutdown(cx)
    }
}

impl ImageStore {
    /// Pulls an image: its finished record.
    pub async fn pull(
        self: &Arc<Self>,
        image: &str,
        credentials: &Credentials,
        progress: Option<OnProgress>,
    ) -> Result<Image, PullError> {
        let reference: Reference = image.parse()?;
        if reference.registry == BUILTIN_REGISTRY {
            let found = self.find(&reference.to_string());
            return match found.map_err(|source| PullError::Store {
                image: image.to_owned(),
                source,
            })? {
                Some(image) => Ok(image),
                None => Err(PullError::NotFound {
                    image: image.to_owned(),
                }),
            };
        }
        let puller = Puller::new(&reference, credentials)?;
        let in_store = |source: ImageError| PullError::Store {
            image: puller.image.clone(),
            source,
        };
        puller
            .retrying(|| {
                puller
                    .client
                    .auth(&puller.reference, &puller.auth, RegistryOperation::Pull)
            })
            .await?;
        let (outer, outer_digest) = puller.manifest(&puller.reference).await?;
        let malformed = |digest: &str, e: serde_json::Error| {
            in_store(ImageError::Malformed {
                what: format!("manifest {digest}"),
                reason: e.to_string(),
            })
        };
        let value: serde_json::Value =
            serde_json::from_slice(&outer).map_err(|e| malformed(&outer_digest, e))?;
        let (text, digest) = if value.get("manifests").is_some() {
            let index: ManifestIndex =
                serde_json::from_value(value).map_err(|e| malformed(&outer_digest, e))?;
            let found = index
                .manifests
                .iter()
                .find(|d| d.platform.is_some() && d.fits(architecture()))
                .or_else(|| index.manifests.iter().find(|d| d.fits(architecture())))
                .ok_or_else(|| PullError::Platform {
                    image: puller.image.clone(),
                    architecture: architecture(),
                })?;
            let inner = puller.reference.clone_with_digest(found.digest.clone());
            puller.manifest(&inner).await?
        } else {
            (outer.clone(), outer_digest.clone())
        };
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|e| malformed(&digest, e))?;
        self.download(
            &puller,
            &reference,
            manifest,
            progress,
            [(outer_digest, outer), (digest, text)],
        )
        .await
    }

    async fn download(
        self: &Arc<Self>,
        puller: &Puller,
        reference: &Reference,
        manifest: Manifest,
        progress: Option<OnProgress>,
        documents: [(String, Vec<u8>); 2],
    ) -> Result<Image, PullError> {
        let in_store = |source: ImageError| PullError::Store {
            image: puller.image.clone(),
            source,
        };
        let holder = Ingest::begin(self, progress.clone()).map_err(in_store)?;
        let directory = holder.directory().to_owned();
        let config_path = directory.join("config");
        fetch(puller, &manifest.config, &config_path, &holder).await?;
        let config = fs::read(&config_path).at(&config_path).map_err(in_store)?;
        let wanted = self.missing(&config, &manifest).map_err(in_store)?;
        use futures::stream::{StreamExt, TryStreamExt};
        futures::stream::iter(wanted.into_iter().map(|number| {
            let layer = &manifest.layers[number];
            let path = directory.join(format!("layer-{number}"));
            let holder = &holder;
            async move { fetch(puller, layer, &path, holder).await }
        }))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
        let store = Arc::clone(self);
        let reference = reference.clone();
        let layers = manifest.layers;
        let work = move || -> Result<Image, ImageError> {
            for (digest, text) in &documents {
                store.write_blob(digest, text)?;
            }
            let mut ingest = Ingest::begin(&store, progress)?;
            let mut image = ingest.image(&config, |number| {
                let name = layers
                    .get(number)
                    .map(|l| l.digest.clone())
                    .unwrap_or_default();
                let path = directory.join(format!("layer-{number}"));
                Ok(Incoming {
                    name,
                    reader: Box::new(fs::File::open(&path).at(&path)?),
                })
            })?;
            if reference.digest.is_none() {
                image.tags.extend(reference.repo_tag());
            }
            let [(outer, _), _] = &documents;
            image
                .digests
                .insert(format!("{}@{outer}", reference.name()));
            ingest.commit(image)
        };
        let image = tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| PullError::Registry {
                image: puller.image.clone(),
                reason: e.to_string(),
            })?
            .map_err(in_store)?;
        drop(holder);
        Ok(image)
    }

    /// Numbers of the layers the store does not have.
    fn missing(&self, config: &[u8], manifest: &Manifest) -> Result<Vec<usize>, ImageError> {
        let id = sha256(config);
        if id != manifest.config.digest {
            return Err(ImageError::Digest {
                what: "image configuration".into(),
                expected: manifest.config.digest.clone(),
                actual: id,
            });
        }
        let chains = super::ingest::layer_names(config)?;
        if chains.len() != manifest.layers.len() {
            return Err(ImageError::Malformed {
                what: format!("manifest of image {id}"),
                reason: format!(
                    "{} layers for {} in the configuration",
                    manifest.layers.len(),
                    chains.len()
                ),
            });
        }
        let index = self.index()?;
        let missing = chains
            .iter()
            .enumerate()
            .filter(|(_, name)| !index.layers.contains_key(*name));
        Ok(missing.map(|(number, _)| number).collect())
    }
}

/// Downloads one blob into a file; the library checks its digest.
async fn fetch(
    puller: &Puller,
    descriptor: &Descriptor,
    path: &std::path::Path,
    ingest: &Ingest<'_>,
) -> Result<(), PullError> {
    let digest = descriptor.digest.clone();
    let total = (descriptor.size > 0).then_some(descriptor.size);
    puller
        .retrying(|| {
            let tell = ingest.teller();
            let digest = digest.clone();
            async move {
                let sink = Sink {
                    file: tokio::fs::File::create(path).await?,
                    done: 0,
                    tell: Box::new({
                        let digest = digest.clone();
                        move |done| tell(&digest, ProgressStep::Downloading, done, total)
                    }),
                };
                puller
                    .client
                    .pull_blob(&puller.reference, digest.as_str(), sink)
                    .await
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_show() {
        let secret = Credentials::Basic("user".into(), "hunter2".into());
        assert_eq!(format!("{secret:?}"), "Basic");
    }

    #[test]
    fn descriptors_fit_their_platform() {
        let of = |text: &str| serde_json::from_str::<Descriptor>(text).unwrap();
        assert!(of(r#"{"digest":"d"}"#).fits("amd64"));
        assert!(
            of(r#"{"digest":"d","platform":{"os":"linux","architecture":"amd64"}}"#).fits("amd64")
        );
        assert!(
            !of(r#"{"digest":"d","platform":{"os":"linux","architecture":"arm64"}}"#).fits("amd64")
        );
        assert!(
            !of(r#"{"digest":"d","platform":{"os":"unknown","architecture":"unknown"}}"#)
                .fits("amd64")
        );
    }
}
