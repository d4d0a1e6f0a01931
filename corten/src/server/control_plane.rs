//! The API server with its store, the controllers and the scheduler.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use api::clock::SystemClock;
use apiserver::{
    ApiServer, LocalTransport, audit::AuditConfig, http::listen::tls_config, seal::AesGcm,
};
use client::Context;
use store::{Options, Store};
use tokio::net::TcpListener;

use super::{
    Process,
    identities::{Identities, as_service_account, as_user},
};
use crate::{facts, networks::node_networks, settings::cluster::Part};

/// What the node needs of the control plane.
pub struct ControlPlane {
    /// The way to the API.
    pub transport: LocalTransport,
    /// Caches, clock and events of everything that runs beside the API. The informers watch once
    /// per kind for the whole process, as the controller manager, which may read everything.
    pub context: Context,
}

/// Starts it; answers when the API is served.
pub async fn start(
    process: &Arc<Process>,
    identities: &Identities,
    listener: TcpListener,
) -> Result<ControlPlane> {
    let settings = &process.settings;
    let addresses = &process.addresses;
    let seal =
        AesGcm::new(&identities.pki.encryption_key).context("the key for secrets at rest")?;
    let dir = settings.data.data_dir.join("store");
    let options = Options {
        seal: Some(Arc::new(seal)),
        ..Options::default()
    };
    let store = tokio::task::spawn_blocking(move || Store::open(dir, options)).await??;
    process.report.up(
        "store",
        format_args!(
            "{} at revision {}",
            settings.data.data_dir.join("store").display(),
            store.revision().0
        ),
    );

    let mut config = apiserver::Config::new(&identities.pki)?;
    config.advertise_address = addresses.node_ip;
    config.advertise_port = settings.https_listen_port;
    config.service_cidr = addresses.service_cidr;
    config.node_ports = addresses.node_ports;
    config.cluster_domain = settings.cluster_domain.clone();
    config.issuer = format!("https://kubernetes.default.svc.{}", settings.cluster_domain);
    config.runtime_config = settings.runtime_config.clone();
    config.audit = AuditConfig {
        policy_file: settings.audit_policy_file.clone(),
        log_path: settings.audit_log_path.clone(),
        max_size: settings.audit_log_maxsize,
        max_backups: settings.audit_log_maxbackup,
        max_age: settings.audit_log_maxage,
    };
    let server = ApiServer::new(config, store, Arc::new(SystemClock)).await?;
    let tls = tls_config(
        &identities.pki.serving,
        &identities.pki.client_authorities(),
    )?;
    let serving = server
        .clone()
        .serve(listener, tls, process.shutdown.clone());
    process.spawn("API server", async move {
        serving.await;
        Ok::<_, std::convert::Infallible>(())
    });
    process.report.up(
        "API server",
        format_args!(
            "https://{}:{}",
            addresses.node_ip, settings.https_listen_port
        ),
    );

    let transport = server.local();
    let manager = as_user(&transport, "system:kube-controller-manager", &[]);
    let context = Context::new(manager, "kube-controller-manager");
    let counted = context.metrics.clone();
    server.add_metrics(Box::new(move || counted.encode().unwrap_or_default()));
    let administrator = as_user(&transport, "system:apiserver", &["system:masters"]);
    facts::publish(administrator, settings).await?;
    if settings.runs(Part::ControllerManager) {
        let clients = transport.clone();
        let config = controllers::Config {
            context: context.clone(),
            clients: Arc::new(move |account| as_service_account(&clients, account)),
            node_networks: node_networks(&addresses.cluster_cidrs, settings.shares)?,
            root_ca_pem: identities.pki.ca_pem().to_owned(),
            signer: Some(controllers::Signer {
                certificate_pem: identities.pki.ca_pem().to_owned(),
                key_pem: identities.pki.authority.key_pem().to_owned(),
            }),
            load_balancer_reserved_ports: Some(own_ports(settings)),
            workers: 5,
            disabled: Vec::new(),
        };
        process.spawn(
            "controllers",
            controllers::run(config, process.shutdown.clone()),
        );
        process.report.up(
            "controllers",
            format_args!("{} of them", controllers::names().count()),
        );
    }
    if settings.runs(Part::Scheduler) {
        let mut context = context.clone();
        context.client = as_user(&transport, "system:kube-scheduler", &[]);
        context.recorder = client::events::Recorder::new(
            context.client.clone(),
            "default-scheduler",
            context.clock.clone(),
            &context.metrics,
        );
        let configuration =
            crate::parts::scheduler_configuration(settings.scheduler_config.as_deref())?;
        let run = scheduler::run_with(context, configuration, process.shutdown.clone());
        process.spawn("scheduler", async move {
            run.await;
            Ok::<_, std::convert::Infallible>(())
        });
        process.report.up("scheduler", "default-scheduler");
    }
    Ok(ControlPlane { transport, context })
}

/// What this node listens on for the cluster itself: no Service may lead away from there.
fn own_ports(settings: &crate::settings::cluster::ServerSettings) -> Vec<u16> {
    vec![settings.https_listen_port, settings.kubelet_port]
}
