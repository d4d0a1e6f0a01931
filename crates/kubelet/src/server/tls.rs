//! TLS of the kubelet's server: a client certificate is believed when a known authority signed
//! it, and not demanded (a token may stand for it).

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::config::ServerTls;

/// The certificates do not make a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM that is none.
    #[error("kubelet {what}: {source}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Refused by the TLS library.
    #[error("kubelet serving certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// No authority to believe.
    #[error("kubelet client authorities: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Builds the acceptor.
pub fn acceptor(tls: &ServerTls) -> Result<TlsAcceptor, TlsError> {
    let certificates = |what: &'static str, pem: &[u8]| -> Result<Vec<_>, TlsError> {
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::Pem { what, source })
    };
    let chain = certificates("serving certificate", &tls.certificate_chain)?;
    let key = PrivateKeyDer::from_pem_slice(&tls.private_key).map_err(|source| TlsError::Pem {
        what: "serving key",
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates("client authorities", &tls.client_ca)? {
        roots.add(authority)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    // Upgrades (exec, attach, port-forward) are HTTP/1.1; one protocol serves all.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
