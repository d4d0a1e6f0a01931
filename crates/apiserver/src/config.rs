//! What an API server is told at start.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use rustls::ClientConfig;

use crate::audit::AuditConfig;
use crate::authentication::StaticToken;
use crate::pki::Identity;

/// A source of random bytes; tests on virtual time pass a seeded one.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What an API server is told at start.
#[derive(Clone)]
pub struct Config {
    /// Address under which clients inside the cluster reach this server: the endpoint of the
    /// `kubernetes` Service.
    pub advertise_address: IpAddr,
    /// Port of that endpoint.
    pub advertise_port: u16,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// Ports of NodePort Services.
    pub node_ports: (u16, u16),
    /// `cluster.local`.
    pub cluster_domain: String,
    /// Issuer of ServiceAccount tokens.
    pub issuer: String,
    /// PKCS #8 P-256 key that signs ServiceAccount tokens.
    pub service_account_key: Vec<u8>,
    /// PEM of the cluster CA, for `extension-apiserver-authentication`.
    pub client_ca: String,
    /// How requests are passed on to aggregated servers, and taken from proxies in front.
    pub front_proxy: Option<FrontProxy>,
    /// Which versions are served beside the stable ones, and which are not: `KEY=VALUE`, as
    /// [`api::serving`] reads them.
    pub runtime_config: Vec<String>,
    /// Bearer tokens given at configuration.
    pub tokens: Vec<StaticToken>,
    /// TLS towards kubelets; none makes the subresources that need a kubelet answer 503.
    pub kubelet_tls: Option<Arc<ClientConfig>>,
    /// What is recorded of requests, and where.
    pub audit: AuditConfig,
    /// Requests at one time that read.
    pub max_reads: usize,
    /// Requests at one time that write.
    pub max_writes: usize,
    /// Randomness for uids and generated names.
    pub random: Random,
}

/// What proves that a server speaks for the users it names in headers.
#[derive(Clone)]
pub struct FrontProxy {
    /// PEM of the authority.
    pub ca: String,
    /// This server's own proof.
    pub identity: Identity,
}

impl Config {
    /// The defaults, with the keys and certificates of `pki`.
    pub fn new(pki: &crate::pki::Pki) -> Result<Config, crate::http::listen::TlsError> {
        let kubelet_tls = Some(crate::proxy::client_tls(&pki.kubelet_client, pki.ca_pem())?);
        Ok(Config {
            service_account_key: pki.service_account_key.clone(),
            client_ca: pki.ca_pem().to_owned(),
            kubelet_tls,
            front_proxy: Some(FrontProxy {
                ca: pki.front_proxy_authority.certificate_pem().to_owned(),
                identity: pki.front_proxy_client.clone(),
            }),
            ..Config::bare()
        })
    }

    fn bare() -> Config {
        Config {
            advertise_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise_port: 6443,
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16),
            node_ports: (30000, 32767),
            cluster_domain: "cluster.local".to_owned(),
            issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            service_account_key: Vec::new(),
            client_ca: String::new(),
            front_proxy: None,
            runtime_config: Vec::new(),
            tokens: Vec::new(),
            kubelet_tls: None,
            audit: AuditConfig::default(),
            max_reads: 400,
            max_writes: 200,
            random: system_random(),
        }
    }
}

/// The operating system's randomness.
pub fn system_random() -> Random {
    let random = ring::rand::SystemRandom::new();
    Arc::new(move |bytes| {
        // The kernel's generator does not fail once it is seeded, which it is before any process
        // of ours starts; zeros would collide and be refused as duplicates.
        let _ = ring::rand::SecureRandom::fill(&random, bytes);
    })
}
