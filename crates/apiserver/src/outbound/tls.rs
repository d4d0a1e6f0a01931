//! TLS towards others: whom the server trusts there. No trust but that of a bundle, or of the machine's
//! own certificate file where no bundle is given.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::error::OutboundError;
use crate::pki::Identity;

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those that the machine trusts.
    System,
    /// Those signed by one of these (PEM).
    Bundle(Arc<[u8]>),
    /// Any (`insecureSkipTLSVerify` of an APIService).
    Unchecked,
}

/// Where systems keep the certificates they trust.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A TLS set-up. Connections are kept per set-up: make one and hold on to it.
#[derive(Clone)]
pub struct Tls {
    id: u64,
    config: Arc<rustls::ClientConfig>,
}

impl Tls {
    /// Trusting `trust`, and showing `identity` where asked for it.
    pub fn new(trust: &Trust, identity: Option<&Identity>) -> Result<Tls, OutboundError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let refused = |e: &dyn std::fmt::Display| OutboundError::Tls(e.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Unchecked => Arc::new(Unchecked(provider.clone())),
            Trust::System => {
                let pem = SYSTEM.iter().find_map(|path| std::fs::read(path).ok());
                Arc::new(Rooted::new(&pem.unwrap_or_default(), provider.clone())?)
            }
            Trust::Bundle(pem) => {
                let rooted = Rooted::new(pem, provider.clone())?;
                if rooted.roots.is_empty() {
                    return Err(OutboundError::Tls(
                        "unable to load root certificates: unable to parse bytes as PEM block"
                            .to_owned(),
                    ));
                }
                Arc::new(rooted)
            }
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| refused(&e))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(
                    identity.chain().map_err(|e| refused(&e))?,
                    identity.key_der().map_err(|e| refused(&e))?,
                )
                .map_err(|e| refused(&e))?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            config: Arc::new(config),
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        self.config.clone()
    }
}

/// Set-ups by what they trust; at the bound all are forgotten, and made again when needed.
#[derive(Default)]
pub(super) struct TlsCache(Mutex<HashMap<Trust, Tls>>);

const MAX_KEPT: usize = 200;

impl TlsCache {
    pub(super) fn get(&self, trust: &Trust) -> Result<Tls, OutboundError> {
        if let Some(tls) = self.0.lock().get(trust) {
            return Ok(tls.clone());
        }
        let tls = Tls::new(trust, None)?;
        let mut kept = self.0.lock();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(trust.clone(), tls.clone());
        Ok(tls)
    }
}

/// Believes certificates that lead to its roots, and those that are roots themselves: a webhook's
/// `caBundle` is often just the self-signed certificate it serves with.
#[derive(Debug)]
struct Rooted {
    roots: Vec<CertificateDer<'static>>,
    chains: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Rooted {
    fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Rooted, OutboundError> {
        // Blocks that are no certificates are passed over, as upstream does.
        let roots: Vec<_> = CertificateDer::pem_slice_iter(pem).flatten().collect();
        let mut store = RootCertStore::empty();
        let (usable, _) = store.add_parsable_certificates(roots.iter().cloned());
        let chains = if usable == 0 {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
                    .build()
                    .map_err(|e| OutboundError::Tls(e.to_string()))?;
            Some(built)
        };
        Ok(Rooted {
            roots,
            chains,
            provider,
        })
    }

    fn is_valid_root(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if !self.roots.iter().any(|root| root == end_entity) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let malformed = |_| rustls::Error::from(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(end_entity)
            .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        let at = i64::try_from(now.as_secs())
            .map_err(malformed)
            .and_then(|at| {
                x509_parser::time::ASN1Time::from_timestamp(at)
                    .map_err(|_| CertificateError::BadEncoding.into())
            })?;
        if parsed.validity().not_after < at {
            return Err(CertificateError::Expired.into());
        }
        if parsed.validity().not_before > at {
            return Err(CertificateError::NotValidYet.into());
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
    }
}

impl ServerCertVerifier for Rooted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chains) = &self.chains else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Ok(verified) => Ok(verified),
            Err(error) => match self.is_valid_root(end_entity, server_name, now) {
                Ok(()) => Ok(ServerCertVerified::assertion()),
                Err(_) => Err(error),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Believes any certificate, but still wants its owner at the other end.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
