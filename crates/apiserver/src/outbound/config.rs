//! Where a call goes and whom it trusts, from a `WebhookClientConfig` (of an admission webhook or of a
//! CustomResourceDefinition's conversion).

use api::object::Object;
use base64::Engine;
use http::Uri;
use serde_json::Value;

use super::tls::Trust;

/// Why a client configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It names no place.
    #[error("webhook configuration must have either service or URL")]
    NoPlace,
    /// Its URL cannot be read.
    #[error("Unparsable URL: {0}")]
    Url(String),
    /// Its trusted certificates cannot be read.
    #[error("unable to load root certificates: {0}")]
    Bundle(String),
}

/// A service of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceTarget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port, of the Service (443 unless said).
    pub port: u16,
    /// The path of calls to it; `/` unless said.
    pub path: String,
}

impl ServiceTarget {
    /// From `{namespace, name, port, path}`, the form all kinds have that refer to a service.
    pub fn read(service: &Value) -> ServiceTarget {
        let port = service.int("port").and_then(|p| u16::try_from(p).ok());
        ServiceTarget {
            namespace: service.text("namespace").to_owned(),
            name: service.text("name").to_owned(),
            port: port.filter(|p| *p > 0).unwrap_or(443),
            path: rooted(service.text("path")),
        }
    }

    /// The name its certificate must be for.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A service of the cluster.
    Service(ServiceTarget),
    /// Anywhere, over HTTPS.
    Url {
        /// Name or address.
        host: String,
        /// 443 unless said.
        port: u16,
        /// The authority as it was written.
        authority: String,
        /// The path.
        path: String,
    },
}

impl Place {
    /// From an `https` URL.
    pub fn url(text: &str) -> Result<Place, ConfigError> {
        let uri: Uri = text
            .parse()
            .map_err(|e: http::uri::InvalidUri| ConfigError::Url(e.to_string()))?;
        let Some(authority) = uri.authority() else {
            return Err(ConfigError::Url(format!("{text:?} has no host")));
        };
        if uri.scheme_str() != Some("https") {
            return Err(ConfigError::Url(format!("{text:?} is no https URL")));
        }
        let host = authority.host();
        Ok(Place::Url {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(443),
            authority: match authority.as_str().rsplit_once('@') {
                Some((_, behind)) => behind.to_owned(),
                None => authority.as_str().to_owned(),
            },
            path: rooted(uri.path()),
        })
    }

    /// Host and port, as they stand in URLs and errors.
    pub fn authority(&self) -> String {
        match self {
            Place::Service(target) => format!("{}:{}", target.server_name(), target.port),
            Place::Url { authority, .. } => authority.clone(),
        }
    }

    /// The path of calls.
    pub fn path(&self) -> &str {
        match self {
            Place::Service(target) => &target.path,
            Place::Url { path, .. } => path,
        }
    }

    /// The name its certificate must be for.
    pub fn server_name(&self) -> String {
        match self {
            Place::Service(target) => target.server_name(),
            Place::Url { host, .. } => host.clone(),
        }
    }
}

/// Where a call goes and whom it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Where.
    pub place: Place,
    /// Whom.
    pub trust: Trust,
}

impl ClientConfig {
    /// From a `WebhookClientConfig`.
    pub fn read(config: &Value) -> Result<ClientConfig, ConfigError> {
        let place = if config.has("service") {
            Place::Service(ServiceTarget::read(config.at("service")))
        } else if config.text("url").is_empty() {
            return Err(ConfigError::NoPlace);
        } else {
            Place::url(config.text("url"))?
        };
        Ok(ClientConfig {
            place,
            trust: trust(config.text("caBundle"))?,
        })
    }
}

/// The trust a `caBundle` (PEM in base64) gives; the system's where it is empty.
fn trust(bundle: &str) -> Result<Trust, ConfigError> {
    if bundle.is_empty() {
        return Ok(Trust::System);
    }
    let pem = base64::engine::general_purpose::STANDARD
        .decode(bundle)
        .map_err(|e| ConfigError::Bundle(e.to_string()))?;
    Ok(Trust::Bundle(pem.into()))
}
