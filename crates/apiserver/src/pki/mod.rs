//! The cluster's keys and certificates: made on first start under `DATA_DIR/pki`, loaded and
//! renewed on later ones. Everything is ECDSA P-256, so that a first start costs milliseconds.
//!
//! | file | what |
//! | --- | --- |
//! | `ca.crt`, `ca.key` | the cluster CA: signs servers, clients, kubelets |
//! | `apiserver.crt`, `apiserver.key` | the API's serving certificate |
//! | `apiserver-kubelet-client.crt`, `.key` | the API server's identity towards kubelets |
//! | `front-proxy-ca.crt`, `.key` | signs who may speak for users towards aggregated API servers |
//! | `front-proxy-client.crt`, `.key` | the API server's proof that it may |
//! | `sa.key` | signs ServiceAccount tokens (ES256) |
//! | `encryption.key` | encrypts secrets at rest |

pub mod files;
mod issue;
mod kubeconfig;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use issue::Authority;
pub use kubeconfig::kubeconfig;

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} does not hold {what}: {reason}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// `a PEM certificate`, …
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("issue a certificate for {subject}: {reason}")]
    Issue {
        /// Common name.
        subject: String,
        /// Why.
        reason: String,
    },
}

/// The names and addresses the API is served under.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// DNS names beyond `localhost` and the names of the `kubernetes` Service.
    pub dns: Vec<String>,
    /// Addresses beyond loopback.
    pub addresses: Vec<IpAddr>,
    /// The address of the `kubernetes` Service.
    pub service_address: Option<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
}

/// A certificate chain with its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// Certificate (chain), PEM.
    pub certificate: String,
    /// PKCS #8 key, PEM.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(certificate and key)")
    }
}

impl Identity {
    /// The certificate chain in DER.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| PkiError::Malformed {
                path: PathBuf::from("certificate"),
                what: "a PEM certificate",
                reason: e.to_string(),
            })
    }

    /// The key in DER.
    pub fn key_der(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|e| PkiError::Malformed {
            path: PathBuf::from("key"),
            what: "a PEM key",
            reason: e.to_string(),
        })
    }
}

/// All keys and certificates of the control plane.
pub struct Pki {
    /// Where they live.
    pub dir: PathBuf,
    /// The cluster CA.
    pub authority: Arc<Authority>,
    /// The serving certificate of the API.
    pub serving: Identity,
    /// The API server's own identity towards kubelets.
    pub kubelet_client: Identity,
    /// The authority of those who speak for users; see [`crate::aggregation`].
    pub front_proxy_authority: Arc<Authority>,
    /// The API server's own proof that it does.
    pub front_proxy_client: Identity,
    /// PKCS #8 key (DER) that signs ServiceAccount tokens.
    pub service_account_key: Vec<u8>,
    /// Key that encrypts secrets at rest.
    pub encryption_key: [u8; 32],
}

/// Certificates that end sooner than this are issued again at start.
const RENEW_BEFORE_DAYS: i64 = 90;

impl Pki {
    /// Loads the keys and certificates of `dir`, and makes those that are missing, near their end,
    /// or no longer cover `names`.
    pub fn ensure(dir: &Path, names: &Names, now: Timestamp) -> Result<Pki, PkiError> {
        files::private_dir(dir)?;
        let authority = Arc::new(ensure_authority(dir, "ca", "corten-ca", now)?);
        let sans = serving_names(names);
        let serving = ensure_leaf(dir, ("apiserver", "ca"), now, &sans, || {
            authority.issue_server("kube-apiserver", &sans, now)
        })?;
        let front = ensure_authority(dir, "front-proxy-ca", "front-proxy-ca", now)?;
        let client = ("front-proxy-client", "front-proxy-ca");
        let front_proxy_client = ensure_leaf(dir, client, now, &[], || {
            front.issue_client(crate::authentication::front_proxy::ALLOWED, &[], now)
        })?;
        let client = ("apiserver-kubelet-client", "ca");
        let kubelet_client = ensure_leaf(dir, client, now, &[], || {
            authority.issue_client("kube-apiserver-kubelet-client", &["system:masters"], now)
        })?;
        let service_account_key = ensure_signing_key(&dir.join("sa.key"))?;
        let encryption_key = ensure_encryption_key(&dir.join("encryption.key"))?;
        Ok(Pki {
            dir: dir.to_owned(),
            authority,
            serving,
            kubelet_client,
            front_proxy_authority: Arc::new(front),
            front_proxy_client,
            service_account_key,
            encryption_key,
        })
    }

    /// The cluster CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// The authorities whose client certificates the API takes, PEM.
    pub fn client_authorities(&self) -> String {
        let front = self.front_proxy_authority.certificate_pem();
        format!("{}{front}", self.ca_pem())
    }

    /// A client certificate for `cn` in the groups `orgs`.
    pub fn issue_client(
        &self,
        cn: &str,
        orgs: &[&str],
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        self.authority.issue_client(cn, orgs, now)
    }

    /// A serving certificate for `cn`; `sans` are DNS names or addresses.
    pub fn issue_server(
        &self,
        cn: &str,
        sans: &[String],
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        self.authority.issue_server(cn, sans, now)
    }

    /// A kubeconfig with a new client certificate for `cn` in the groups `orgs`.
    pub fn kubeconfig(
        &self,
        server_url: &str,
        cn: &str,
        orgs: &[&str],
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let identity = self.issue_client(cn, orgs, now)?;
        Ok(kubeconfig(server_url, self.ca_pem(), cn, &identity))
    }

    /// Writes the kubeconfig of `cn` to `path` (0600) unless the one there still serves: same
    /// server, same CA, certificate not near its end.
    pub fn ensure_kubeconfig(
        &self,
        path: &Path,
        server_url: &str,
        cn: &str,
        orgs: &[&str],
        now: Timestamp,
    ) -> Result<(), PkiError> {
        if let Ok(existing) = std::fs::read_to_string(path)
            && kubeconfig::still_serves(&existing, server_url, self.ca_pem(), |pem| {
                issue::lasts(pem, now, RENEW_BEFORE_DAYS)
            })
        {
            return Ok(());
        }
        let text = self.kubeconfig(server_url, cn, orgs, now)?;
        files::write_private(path, text.as_bytes())
    }
}

fn serving_names(names: &Names) -> Vec<String> {
    let mut sans = vec![
        "localhost".to_owned(),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
    ];
    if !names.cluster_domain.is_empty() {
        sans.push(format!("kubernetes.default.svc.{}", names.cluster_domain));
    }
    sans.extend(names.dns.iter().cloned());
    sans.push("127.0.0.1".to_owned());
    sans.push("::1".to_owned());
    sans.extend(names.service_address.iter().map(IpAddr::to_string));
    sans.extend(names.addresses.iter().map(IpAddr::to_string));
    let mut seen = std::collections::HashSet::new();
    sans.retain(|name| seen.insert(name.clone()));
    sans
}

fn ensure_authority(
    dir: &Path,
    file: &str,
    name: &str,
    now: Timestamp,
) -> Result<Authority, PkiError> {
    let cert_path = dir.join(format!("{file}.crt"));
    let key_path = dir.join(format!("{file}.key"));
    match (
        files::read_optional(&cert_path)?,
        files::read_optional(&key_path)?,
    ) {
        (Some(certificate), Some(key)) => {
            Authority::load(&cert_path, &certificate, &key_path, &key)
        }
        (None, None) => {
            let authority = Authority::generate(name, now)?;
            files::write_private(&key_path, authority.key_pem().as_bytes())?;
            files::write_public(&cert_path, authority.certificate_pem().as_bytes())?;
            Ok(authority)
        }
        (have_cert, _) => Err(PkiError::Malformed {
            path: dir.to_owned(),
            what: "both the certificate and the key of an authority",
            reason: format!(
                "{file}.{} is missing; restore it, or remove both to make a new authority",
                if have_cert.is_some() { "key" } else { "crt" }
            ),
        }),
    }
}

/// `(name, authority)` are the files of the certificate and of who signs it.
fn ensure_leaf(
    dir: &Path,
    (name, authority): (&str, &str),
    now: Timestamp,
    sans: &[String],
    issue: impl FnOnce() -> Result<Identity, PkiError>,
) -> Result<Identity, PkiError> {
    let cert_path = dir.join(format!("{name}.crt"));
    let key_path = dir.join(format!("{name}.key"));
    if let (Some(certificate), Some(key)) = (
        files::read_optional(&cert_path)?,
        files::read_optional(&key_path)?,
    ) && issue::lasts(&certificate, now, RENEW_BEFORE_DAYS)
        && issue::covers(&certificate, sans)
        && files::read_optional(&dir.join(format!("{authority}.crt")))?
            .is_some_and(|ca| issue::signed_by(&certificate, &ca))
    {
        return Ok(Identity { certificate, key });
    }
    let identity = issue()?;
    files::write_private(&key_path, identity.key.as_bytes())?;
    files::write_public(&cert_path, identity.certificate.as_bytes())?;
    Ok(identity)
}

fn ensure_signing_key(path: &Path) -> Result<Vec<u8>, PkiError> {
    if let Some(text) = files::read_optional(path)? {
        let malformed = |reason: String| PkiError::Malformed {
            path: path.to_owned(),
            what: "a PKCS #8 ECDSA P-256 key",
            reason,
        };
        let key =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|e| malformed(e.to_string()))?;
        let PrivateKeyDer::Pkcs8(key) = key else {
            return Err(malformed("the PEM block is of another kind".to_owned()));
        };
        return Ok(key.secret_pkcs8_der().to_vec());
    }
    let key = issue::new_key("service account tokens")?;
    files::write_private(path, key.serialize_pem().as_bytes())?;
    Ok(key.serialize_der())
}

fn ensure_encryption_key(path: &Path) -> Result<[u8; 32], PkiError> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    if let Some(text) = files::read_optional(path)? {
        let bytes = engine
            .decode(text.trim())
            .ok()
            .and_then(|b| <[u8; 32]>::try_from(b).ok());
        return bytes.ok_or_else(|| PkiError::Malformed {
            path: path.to_owned(),
            what: "32 bytes in base64",
            reason: "restore it: without it the secrets in the store cannot be read".to_owned(),
        });
    }
    let mut key = [0u8; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key).map_err(|_| {
        PkiError::Issue {
            subject: "secrets at rest".to_owned(),
            reason: "no randomness".to_owned(),
        }
    })?;
    files::write_private(path, format!("{}\n", engine.encode(key)).as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests;
