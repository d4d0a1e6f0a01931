//! Who is who: the cluster's keys, and a client for each part under its own name.

use std::{net::IpAddr, sync::Arc};

use anyhow::{Context as _, Result};
use api::clock::{Clock, SystemClock};
use apiserver::{
    UserInfo,
    http::local::LocalTransport,
    pki::{Names, Pki},
};

use super::Process;

/// The keys of the cluster.
pub struct Identities {
    /// All keys and certificates.
    pub pki: Arc<Pki>,
}

impl Identities {
    /// Loads the keys, makes what is missing, and writes the administrator's kubeconfig.
    pub async fn ensure(process: &Arc<Process>) -> Result<Identities> {
        let data = process.settings.data.data_dir.clone();
        let port = process.settings.https_listen_port;
        let mut names = Names {
            service_address: Some(process.addresses.kubernetes.into()),
            cluster_domain: process.settings.cluster_domain.clone(),
            addresses: vec![process.addresses.node_ip],
            dns: vec![process.addresses.node_name.clone()],
        };
        for name in &process.settings.tls_san {
            match name.parse::<IpAddr>() {
                Ok(address) => names.addresses.push(address),
                Err(_) => names.dns.push(name.clone()),
            }
        }
        let pki = tokio::task::spawn_blocking(move || -> Result<Pki> {
            let now = SystemClock.now();
            let pki = Pki::ensure(&data.join("pki"), &names, now)?;
            let url = format!("https://127.0.0.1:{port}");
            pki.ensure_kubeconfig(
                &data.join("admin.kubeconfig"),
                &url,
                "kubernetes-admin",
                &["system:masters"],
                now,
            )?;
            Ok(pki)
        })
        .await?
        .context("keys and certificates")?;
        Ok(Identities { pki: Arc::new(pki) })
    }
}

/// A client of the API in this process, under a name.
pub fn as_user(transport: &LocalTransport, name: &str, groups: &[&str]) -> kube::Client {
    client::in_process(transport.as_user(UserInfo::new(name, groups)))
}

/// A client of the API in this process, as a controller's ServiceAccount.
pub fn as_service_account(transport: &LocalTransport, account: &str) -> kube::Client {
    client::in_process(transport.as_user(UserInfo::service_account("kube-system", account)))
}
