//! The node on this machine: runtime, pod network, kubelet, service proxy, DNS.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, task::Poll};

use anyhow::{Context as _, Result};
use api::clock::{Clock, SystemClock};
use client::{Change, Informers, Scope, metrics::Metrics};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use network::{bridge, cni, dns, peers, proxy};
use runtime::{Runtime, network::PodNetwork};

use super::{
    Process,
    control_plane::ControlPlane,
    identities::{Identities, as_service_account, as_user},
};
use crate::settings::cluster::Part;

/// The built-in image.
pub const TOOLS_IMAGE: &str = "corten.local/tools:latest";

/// What is ready before the API is.
pub struct Prepared {
    socket: PathBuf,
    bridge: Option<Arc<bridge::Bridge>>,
}

/// Opens the pod network and the runtime; none when there is no node here.
pub async fn prepare(process: &Arc<Process>) -> Result<Option<Prepared>> {
    let settings = &process.settings;
    if !settings.runs(Part::Kubelet) {
        return Ok(None);
    }
    if let Some(socket) = &settings.container_runtime_endpoint {
        let path = socket.to_string_lossy();
        let socket = PathBuf::from(path.strip_prefix("unix://").unwrap_or(&path));
        process
            .report
            .up("runtime", format_args!("{}", socket.display()));
        return Ok(Some(Prepared {
            socket,
            bridge: None,
        }));
    }
    let data = settings.data.data_dir.clone();
    let instance = process.addresses.instance.clone();
    let (network, bridge): (Arc<dyn PodNetwork>, _) = match &settings.cni_conf_dir {
        Some(conf_dir) => {
            let mut config = cni::Config::new(data.join("run/cni"));
            config.conf_dir.clone_from(conf_dir);
            if let Some(dir) = &settings.cni_bin_dir {
                config.bin_dirs = vec![dir.clone()];
            }
            (cni::Cni::open(config)?, None)
        }
        None => {
            let config = bridge::Config {
                instance: instance.clone(),
                state_dir: data.join("run/network"),
                pod_cidrs: Vec::new(),
                cluster_cidrs: process.addresses.cluster_cidrs.clone(),
                service_cidrs: vec![IpNet::V4(process.addresses.service_cidr)],
                mtu: None,
            };
            let bridge =
                tokio::task::spawn_blocking(move || bridge::Bridge::open(config)).await??;
            (bridge.clone(), Some(bridge))
        }
    };
    let exe = std::env::current_exe().context("find the own program")?;
    let socket = data.join("run/cri.sock");
    let config = runtime::Config {
        root: data.join("runtime"),
        state_dir: data.join("run/runtime"),
        cgroup_parent: super::cgroup_root(&instance),
        shim: exe.clone(),
    };
    let runtime = Runtime::open(config, network).await?;
    let images = runtime.images().clone();
    tokio::task::spawn_blocking(move || {
        images.ensure_builtin(TOOLS_IMAGE, &exe, crate::tools::PROGRAMS)
    })
    .await??;
    let mut serving = runtime.serve(&socket, process.shutdown.clone());
    // The socket is bound in the first step, so that the kubelet finds it.
    if let Poll::Ready(ended) =
        std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await
    {
        ended?;
    }
    process.spawn("runtime", serving);
    process
        .report
        .up("runtime", format_args!("{}", socket.display()));
    Ok(Some(Prepared { socket, bridge }))
}

/// How the node's parts reach the API, and the node's own certificate.
pub struct Access {
    /// The API as this node.
    pub kubelet: kube::Client,
    /// Caches for the proxy and the name service.
    pub informers: Informers,
    /// The API as the name service; none where none runs.
    pub dns: Option<kube::Client>,
    /// What to count with.
    pub metrics: Metrics,
    /// What the kubelet serves with.
    pub tls: kubelet::ServerTls,
}

impl Access {
    /// Of a node beside its control plane.
    pub fn of_server(
        process: &Process,
        identities: &Identities,
        control_plane: &ControlPlane,
    ) -> Result<Access> {
        let addresses = &process.addresses;
        let user = format!("system:node:{}", addresses.node_name);
        let sans = [
            addresses.node_name.clone(),
            addresses.node_ip.to_string(),
            "127.0.0.1".into(),
        ];
        let serving = identities
            .pki
            .issue_server(&user, &sans, SystemClock.now())?;
        Ok(Access {
            kubelet: as_user(&control_plane.transport, &user, &["system:nodes"]),
            informers: control_plane.context.informers.clone(),
            dns: Some(as_service_account(&control_plane.transport, "kube-dns")),
            metrics: control_plane.context.metrics.clone(),
            tls: kubelet::ServerTls {
                certificate_chain: serving.certificate.into_bytes(),
                private_key: serving.key.into_bytes(),
                client_ca: identities.pki.ca_pem().as_bytes().to_vec(),
            },
        })
    }
}

/// Starts the node's parts; answers when the node is Ready.
pub async fn start(process: &Arc<Process>, access: Access, prepared: Prepared) -> Result<()> {
    let settings = &process.settings;
    let addresses = &process.addresses;
    let data = &settings.data.data_dir;
    let mut config = kubelet::Config::new(
        &addresses.node_name,
        data.join("kubelet"),
        &prepared.socket,
        access.kubelet.clone(),
    );
    config.pod_logs_dir = data.join("logs");
    config.tls = Some(access.tls);
    config.listen = SocketAddr::new(settings.bind_address, settings.kubelet_port);
    config.node_ip = Some(addresses.node_ip);
    config.cluster_dns = vec![addresses.dns.into()];
    config.cluster_domain = settings.cluster_domain.clone();
    config.resolv_conf = settings.resolv_conf.clone();
    config.max_pods = settings.max_pods;
    config.static_pod_path = settings.pod_manifest_path.clone();
    config.cgroup_root = super::cgroup_root(&addresses.instance);
    for label in &settings.node_labels {
        let (key, value) = label
            .split_once('=')
            .with_context(|| format!("--node-labels {label}: should be KEY=VALUE"))?;
        config.node_labels.insert(key.to_owned(), value.to_owned());
    }
    let agent = kubelet::Kubelet::new(config)?;
    process.spawn("kubelet", agent.run(process.shutdown.clone()));
    process.report.up(
        "kubelet",
        format_args!("https://{}:{}", addresses.node_ip, settings.kubelet_port),
    );
    if settings.runs(Part::Proxy) {
        let config = proxy::Config {
            instance: addresses.instance.clone(),
            node_name: addresses.node_name.clone(),
            cluster_cidrs: addresses.cluster_cidrs.clone(),
            ..proxy::Config::default()
        };
        let informers = access.informers.clone();
        let metrics = config.metrics.clone();
        access
            .metrics
            .register(|registry| metrics.register(registry));
        let shutdown = process.shutdown.clone();
        process.spawn("proxy", async move {
            proxy::run_with(config, &informers, shutdown).await
        });
        process.report.up(
            "proxy",
            format_args!("Services in {}", addresses.service_cidr),
        );
    }
    if prepared.bridge.is_some() {
        let (name, informers) = (addresses.node_name.clone(), access.informers.clone());
        let shutdown = process.shutdown.clone();
        process.spawn("routes", async move {
            peers::run(name, &informers, shutdown).await
        });
    }
    ready(process, &access.informers).await?;
    if let Some(client) = access.dns
        && settings.runs(Part::Dns)
    {
        let network = prepared.bridge.as_deref();
        name_service(
            process,
            (client, &access.informers, &access.metrics),
            network,
        );
    }
    Ok(())
}

/// Waits until the node reports itself Ready since this process started: what an earlier one
/// reported is no news.
async fn ready(process: &Arc<Process>, informers: &Informers) -> Result<()> {
    let nodes = informers.get::<Node>(Scope::All);
    let mut changes = nodes.subscribe();
    loop {
        tokio::select! {
            change = changes.next() => if let Change::Applied { new, .. } = change
                && new.metadata.name.as_deref() == Some(&process.addresses.node_name)
                && is_ready(&new, process.started)
            {
                return Ok(());
            },
            () = process.shutdown.cancelled() => return Ok(()),
        }
    }
}

fn is_ready(node: &Node, since: Timestamp) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| {
        let seen = c.last_heartbeat_time.as_ref().map(|t| t.0);
        c.type_ == "Ready" && c.status == "True" && seen.is_some_and(|seen| seen >= since)
    })
}

fn name_service(
    process: &Arc<Process>,
    (client, informers, metrics): (kube::Client, &Informers, &Metrics),
    bridge: Option<&bridge::Bridge>,
) {
    // Pods know the node by the bridge's address; without our bridge, by the node's own.
    let listen = bridge
        .and_then(bridge::Bridge::gateway)
        .map_or(process.addresses.node_ip, Into::into);
    let config = dns::Config {
        listen: vec![SocketAddr::new(listen, 53)],
        cluster_domain: process.settings.cluster_domain.clone(),
        upstreams: dns::Upstreams::ResolvConf(process.settings.resolv_conf.clone()),
        service_ip: Some(process.addresses.dns.into()),
        node_name: process.addresses.node_name.clone(),
        ..dns::Config::default()
    };
    let measured = config.metrics.clone();
    metrics.register(|registry| measured.register(registry));
    let informers = informers.clone();
    let shutdown = process.shutdown.clone();
    process.spawn("dns", async move {
        dns::run_with(config, &informers, client, shutdown).await
    });
    process
        .report
        .up("dns", format_args!("{} at {listen}", process.addresses.dns));
}
