//! The two ways to the API: the request path of an API server in this process, or HTTPS to the
//! server a kubeconfig names. Both end in the same [`kube::Client`], so nothing above knows which.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use tower::{BoxError, Service};

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The file is missing, unreadable or not a kubeconfig.
    #[error("cannot use kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// The kubeconfig was read, but no TLS client could be made of it.
    #[error("cannot make a client from kubeconfig {path}: {source}")]
    Client {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<kube::Error>,
    },
}

/// A client over a request path in this process (the API server's `LocalTransport`, with the
/// identity put into it): no socket, no TLS, nothing else left out.
pub fn in_process<S, B>(transport: S) -> kube::Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(transport, "default")
}

/// The same client, with a look at each request before it is sent: `look` may change it, or refuse it.
pub(crate) fn with_look<F>(client: kube::Client, look: F) -> kube::Client
where
    F: Fn(&mut http::Request<Body>) -> Result<(), BoxError> + Send + 'static,
{
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |mut request: http::Request<Body>| {
        let (client, looked) = (client.clone(), look(&mut request));
        async move {
            looked?;
            client.send(request).await.map_err(BoxError::from)
        }
    });
    kube::Client::new(service, namespace)
}

/// A client for the server and user of the kubeconfig's current context.
pub fn from_kubeconfig(path: &Path) -> BoxFuture<'_, Result<kube::Client, TransportError>> {
    Box::pin(async move {
        let wrong = |source| TransportError::Kubeconfig {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let file = Kubeconfig::read_from(path).map_err(wrong)?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(wrong)?;
        kube::Client::try_from(config).map_err(|source| TransportError::Client {
            path: path.to_owned(),
            source: Box::new(source),
        })
    })
}
