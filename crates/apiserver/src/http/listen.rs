//! Sockets: TLS (client certificates optional, verified against the cluster CA), HTTP/1.1 and
//! HTTP/2 on one port, bounded connections, graceful end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::boxed;
use crate::authentication::front_proxy::Standing;
use crate::authentication::{Peer, x509};
use crate::pki::{Identity, PkiError};
use crate::server::ApiServer;

/// Connections at one time; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 10_000;
/// A TLS handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection whose request headers take longer is closed.
const HEADERS: Duration = Duration::from_secs(30);
/// At shutdown, requests under way get this long.
const DRAIN: Duration = Duration::from_secs(5);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The TLS library refuses the set-up.
    #[error("set up TLS: {0}")]
    Rustls(String),
}

/// The server's side of TLS: `serving` as its own certificate; client certificates are optional
/// and must be signed by one of `client_ca` (PEM). The first of these, the cluster's own authority,
/// is shown too: a node that joins knows it by its fingerprint alone.
pub fn tls_config(serving: &Identity, client_ca: &str) -> Result<Arc<ServerConfig>, TlsError> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let refused = |e: &dyn std::fmt::Display| TlsError::Rustls(e.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let mut shown = serving.chain()?;
    for certificate in CertificateDer::pem_slice_iter(client_ca.as_bytes()) {
        let certificate = certificate.map_err(|e| refused(&e))?;
        if roots.is_empty() {
            shown.push(certificate.clone());
        }
        roots.add(certificate).map_err(|e| refused(&e))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| refused(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(shown, serving.key_der()?)
        .map_err(|e| refused(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl ApiServer {
    /// Serves connections from `listener` until `shutdown`, then lets requests under way finish
    /// (watches are ended) for a few seconds.
    pub fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let acceptor = TlsAcceptor::from(tls);
            let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let connections = TaskTracker::new();
            loop {
                let Ok(slot) = slots.clone().acquire_owned().await else {
                    break;
                };
                let accepted = tokio::select! {
                    () = shutdown.cancelled() => break,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, remote)) => {
                        let server = self.clone();
                        let acceptor = acceptor.clone();
                        let shutdown = shutdown.clone();
                        connections.spawn(async move {
                            server.connection(stream, remote, acceptor, shutdown).await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        // Out of file descriptors, or the peer left already: neither ends the server,
                        // and the first must not spin.
                        tracing::warn!(%error, "accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            self.end_watches();
            connections.close();
            if tokio::time::timeout(DRAIN, connections.wait())
                .await
                .is_err()
            {
                tracing::warn!(
                    left = connections.len(),
                    "connections were still busy at the end"
                );
            }
            self.audit.flush().await;
        })
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        acceptor: TlsAcceptor,
        shutdown: CancellationToken,
    ) {
        // Failure here leaves small writes delayed, no more.
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "TLS handshake");
                return;
            }
            Err(_) => return,
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let standing = self
            .front_proxy
            .as_ref()
            .map_or(Standing::Foreign, |front| front.standing(chain));
        let user = chain
            .first()
            .filter(|_| standing == Standing::Foreign)
            .and_then(|certificate| x509::user(certificate));
        let peer = Peer::Remote {
            address: remote,
            certificate: user.map(Arc::new),
            speaks_for_others: standing == Standing::Proxy,
        };
        let server = self.clone();
        let service =
            hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let server = server.clone();
                let peer = peer.clone();
                async move {
                    Ok::<_, std::convert::Infallible>(server.handle(request.map(boxed), peer).await)
                }
            });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(256 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(1000)
            .max_header_list_size(64 * 1024)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(2 * 1024 * 1024)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(15));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%remote, %error, "connection ended");
        }
    }
}
