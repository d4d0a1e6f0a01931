//! `corten agent`: a node of a cluster whose control plane runs elsewhere; and the node's parts alone.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use client::{Context, Informers};
use kubelet::ServerTls;
use network::proxy;
use tokio_util::sync::CancellationToken;

use crate::{
    facts, join, lock,
    server::{Addresses, Process, Signals, needs_root, node, node::Access},
    settings::{
        agent::{AgentSettings, KubeletSettings, NodeSettings, ProxySettings},
        cluster::{Part, ServerSettings},
        server_defaults,
    },
};

/// Runs until SIGTERM or SIGINT, or until a part fails.
pub async fn run(settings: AgentSettings) -> Result<()> {
    needs_root()?;
    let signals = Signals::new()?;
    let mut server = as_server(&settings.node)?;
    let _lock = lock::take(&settings.node.data.data_dir)?;
    let name = Addresses::new(&server)?.node_name;
    let dir = settings.node.data.data_dir.join("agent");
    let (kubeconfig, ca) = join::ensure(&settings, &name, &dir).await?;
    let client = client::from_kubeconfig(&kubeconfig).await?;
    facts::adopt(client.clone(), &mut server).await?;
    let process = Arc::new(Process::new(server)?);
    let started = start(&process, client, &ca);
    process.clone().until_told(signals, started).await
}

/// Runs the kubelet alone, with the runtime and the pods' network it needs.
pub async fn kubelet(settings: KubeletSettings) -> Result<()> {
    needs_root()?;
    let signals = Signals::new()?;
    let mut server = as_server(&settings.node)?;
    server.disable = vec![Part::Proxy, Part::Dns];
    let _lock = lock::take(&settings.node.data.data_dir)?;
    let client = connect(&settings.kubeconfig).await?;
    facts::adopt(client.clone(), &mut server).await?;
    let ca = authority_in(&settings.kubeconfig)?;
    let process = Arc::new(Process::new(server)?);
    let started = start(&process, client, &ca);
    process.clone().until_told(signals, started).await
}

/// Runs the service proxy alone.
pub async fn proxy(settings: ProxySettings) -> Result<()> {
    needs_root()?;
    let mut signals = Signals::new()?;
    let client = connect(&settings.kubeconfig).await?;
    let mut server = server_defaults()?;
    server.data = settings.data;
    server.node_name = settings.node_name;
    server.cluster_cidr = settings.cluster_cidr;
    let addresses = Addresses::new(&server)?;
    let config = proxy::Config {
        instance: addresses.instance.clone(),
        node_name: addresses.node_name.clone(),
        cluster_cidrs: addresses.cluster_cidrs.clone(),
        ..proxy::Config::default()
    };
    let shutdown = CancellationToken::new();
    println!("proxy: Services on node {}", addresses.node_name);
    let mut work = Box::pin(proxy::run(config, client, shutdown.clone()));
    tokio::select! {
        ended = &mut work => return Ok(ended?),
        () = signals.received() => shutdown.cancel(),
    }
    Ok(work.await?)
}

/// A node is set up as a server's would be; the cluster's own settings are asked for later.
fn as_server(node: &NodeSettings) -> Result<ServerSettings> {
    let mut server = server_defaults()?;
    server.data = node.data.clone();
    server.node_name.clone_from(&node.node_name);
    server.node_ip = node.node_ip;
    server.node_labels.clone_from(&node.node_labels);
    server.bind_address = node.bind_address;
    server.kubelet_port = node.kubelet_port;
    server.max_pods = node.max_pods;
    server.resolv_conf.clone_from(&node.resolv_conf);
    server
        .container_runtime_endpoint
        .clone_from(&node.container_runtime_endpoint);
    server.cni_conf_dir.clone_from(&node.cni_conf_dir);
    server.cni_bin_dir.clone_from(&node.cni_bin_dir);
    // Pods ask the servers' name service, by its Service.
    server.disable = vec![Part::Dns];
    Ok(server)
}

async fn connect(kubeconfig: &Path) -> Result<kube::Client> {
    client::from_kubeconfig(kubeconfig)
        .await
        .with_context(|| format!("--kubeconfig {}", kubeconfig.display()))
}

/// The certificate authority a kubeconfig names.
fn authority_in(path: &Path) -> Result<String> {
    let file = kube::config::Kubeconfig::read_from(path)?;
    crate::tokens::authority(&file).with_context(|| {
        format!(
            "{} names no certificate authority in its first cluster",
            path.display()
        )
    })
}

async fn start(process: &Arc<Process>, client: kube::Client, ca: &str) -> Result<()> {
    process.note_lacks();
    let Some(prepared) = node::prepare(process).await? else {
        return Ok(());
    };
    let addresses = &process.addresses;
    let names = [addresses.node_name.clone(), addresses.node_ip.to_string()];
    let serving = join::request(&client, &addresses.node_name, join::SERVING, &names)
        .await
        .context("the kubelet's serving certificate")?;
    let context = Context::new(client.clone(), "kubelet");
    let access = Access {
        kubelet: client.clone(),
        informers: Informers::new(client),
        dns: None,
        metrics: context.metrics,
        tls: ServerTls {
            certificate_chain: serving.certificate.into_bytes(),
            private_key: serving.key.into_bytes(),
            client_ca: ca.as_bytes().to_vec(),
        },
    };
    node::start(process, access, prepared).await?;
    process.report.joined(&addresses.node_name);
    Ok(())
}
