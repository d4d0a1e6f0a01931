//! Makes and starts a container.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use client::events::EventType;
use cri::v1;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret, Service};
use kube::Api;
use tokio::sync::{mpsc, watch};

use super::{image, lifecycle};
use crate::{
    agent::Agent,
    pods::{
        cri_config::{self, ContainerInput},
        dns,
        env::{self, Sources},
        plan::Waiting,
        security,
        view::{Kind, PodView},
        worker::Message,
    },
    volumes::Volumes,
};

/// What to start, and in what.
pub struct Order {
    /// The pod.
    pub pod: PodView,
    /// The container's name.
    pub container: String,
    /// Restarts before this run.
    pub restart_count: u32,
    /// The sandbox.
    pub sandbox: String,
    /// How many sandboxes came before.
    pub sandbox_attempt: u32,
    /// The pod's addresses.
    pub pod_ips: Vec<String>,
    /// The image's reference.
    pub image: String,
    /// The pod's volumes.
    pub volumes: Arc<Volumes>,
    /// Container whose processes an ephemeral container joins.
    pub target: Option<String>,
}

/// A container runs, and its postStart hook is done.
#[derive(Debug)]
pub struct Started {
    /// Its id.
    pub id: String,
}

/// A container does not run.
#[derive(Debug)]
pub enum StartError {
    /// It could not be made; the reason and message are its status.
    NotMade(Waiting),
    /// It was made, and is dead or about to be; the runtime knows the rest.
    Dead {
        /// Its id.
        id: String,
        /// What its status says meanwhile.
        waiting: Waiting,
        /// It still runs and has to be stopped.
        stop: bool,
    },
}

/// Does it. What the runtime says on the way goes to the worker at once.
pub async fn run(
    agent: Arc<Agent>,
    order: Order,
    mailbox: mpsc::Sender<Message>,
    stopping: watch::Receiver<bool>,
) -> Result<Started, StartError> {
    let name = order.container.clone();
    let warn = |text: String| {
        agent.metrics.start_errors.inc();
        agent.pod_event(&order.pod, Some(&name), EventType::Warning, "Failed", text);
    };
    let not_made = |reason: &str, message: String| {
        StartError::NotMade(Waiting {
            reason: reason.to_owned(),
            message,
        })
    };
    let Some((container, kind)) = order.pod.container(&name).map(|(c, k)| (c.clone(), k)) else {
        return Err(not_made(
            "CreateContainerConfigError",
            format!("container {name:?} is not in the pod"),
        ));
    };
    let config = match configure(&agent, &order, &container).await {
        Ok(config) => config,
        Err(message) => {
            warn(format!("Error: {message}"));
            return Err(not_made("CreateContainerConfigError", message));
        }
    };
    let host_dns = dns::host(&agent.config.resolv_conf).await;
    let created = agent
        .runtime
        .create_container(v1::CreateContainerRequest {
            pod_sandbox_id: order.sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(cri_config::sandbox(
                &agent,
                &order.pod,
                order.sandbox_attempt,
                &host_dns,
            )),
        })
        .await;
    let id = match created {
        Ok(answer) => answer.container_id,
        Err(error) => {
            warn(format!("Error: {}", error.message));
            return Err(not_made("CreateContainerError", error.message));
        }
    };
    agent.pod_event(
        &order.pod,
        Some(&name),
        EventType::Normal,
        "Created",
        "Container created",
    );
    let started = agent
        .runtime
        .start_container(v1::StartContainerRequest {
            container_id: id.clone(),
        })
        .await;
    let tell = |mailbox: mpsc::Sender<Message>| {
        let (agent, id, sandbox) = (agent.clone(), id.clone(), order.sandbox.clone());
        async move {
            if let Ok(status) = agent.runtime.container(&id).await {
                // A worker that is gone needs no news.
                let _ = mailbox
                    .send(Message::Status(Box::new(status), sandbox))
                    .await;
            }
        }
    };
    if let Err(error) = started {
        warn(format!("Error: {}", error.message));
        tell(mailbox).await;
        return Err(StartError::Dead {
            id,
            waiting: Waiting {
                reason: "RunContainerError".to_owned(),
                message: error.message,
            },
            stop: false,
        });
    }
    agent.metrics.started_containers.inc();
    agent.pod_event(
        &order.pod,
        Some(&name),
        EventType::Normal,
        "Started",
        "Container started",
    );
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|l| l.post_start.as_ref())
        .filter(|_| kind != Kind::Ephemeral);
    tell(mailbox).await;
    if let Some(handler) = hook {
        let ip = order
            .pod_ips
            .first()
            .map(String::as_str)
            .unwrap_or_default();
        let result = tokio::select! {
            result = lifecycle::run(&agent, &container, &id, ip, handler) => result,
            // A pod that ends does not wait for its beginning.
            () = stopped(stopping) => Ok(()),
        };
        if let Err(error) = result {
            tracing::info!(pod = %order.pod.full_name(), container = %name, %error, "postStart hook failed");
            // The error may quote the workload's secrets: it stays out of the event.
            agent.pod_event(
                &order.pod,
                Some(&name),
                EventType::Warning,
                "FailedPostStartHook",
                "PostStartHook failed",
            );
            return Err(StartError::Dead {
                id,
                waiting: Waiting {
                    reason: "PostStartHookError".to_owned(),
                    message: error.to_string(),
                },
                stop: true,
            });
        }
    }
    Ok(Started { id })
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn configure(
    agent: &Arc<Agent>,
    order: &Order,
    container: &Container,
) -> Result<v1::ContainerConfig, String> {
    let pod = &order.pod;
    not_root(agent, pod, container).await?;
    let mut around = agent.surroundings(pod);
    if !order.pod_ips.is_empty() {
        around.pod_ips.clone_from(&order.pod_ips);
    }
    let sources = fetch(agent, pod, container).await?;
    agent.services.synced().await;
    let services: Vec<Arc<Service>> = agent.services.store().list();
    let links = pod.spec().enable_service_links.unwrap_or(true);
    let services = env::services(pod.namespace(), links, services.iter().map(AsRef::as_ref));
    let env = env::build(pod, container, &around, services, &sources).map_err(|e| e.to_string())?;
    let log = cri_config::termination_log(agent, pod, &container.name, order.restart_count);
    let hosts = cri_config::hosts_path(agent, pod);
    files(agent, order, container, &log, &hosts)
        .await
        .map_err(|error| format!("preparing files of container {:?}: {error}", container.name))?;
    cri_config::container(&ContainerInput {
        agent,
        pod,
        container,
        restart_count: order.restart_count,
        image: &order.image,
        env,
        volumes: &order.volumes,
        target: order.target.clone(),
        termination_log: &log,
        hosts: Some(&hosts),
    })
    .map_err(|e| e.to_string())
}

/// Refuses a container that would run as root though it must not.
async fn not_root(agent: &Agent, pod: &PodView, container: &Container) -> Result<(), String> {
    if !security::must_not_be_root(pod, container) {
        return Ok(());
    }
    let own = container
        .security_context
        .as_ref()
        .and_then(|s| s.run_as_user);
    let of_pod = pod
        .spec()
        .security_context
        .as_ref()
        .and_then(|s| s.run_as_user);
    let place = format!(
        "(pod: \"{}_{}({})\", container: {})",
        pod.name(),
        pod.namespace(),
        pod.uid(),
        container.name
    );
    match own.or(of_pod) {
        Some(0) => {
            return Err(format!(
                "container's runAsUser breaks non-root policy {place}"
            ));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let image = container.image.as_deref().unwrap_or_default();
    match image::status(agent, image).await {
        Ok(Some(found)) => match (found.uid, found.username.as_str()) {
            (Some(0), _) | (None, "") => Err(format!(
                "container has runAsNonRoot and image will run as root {place}"
            )),
            (Some(_), _) => Ok(()),
            (None, user) => Err(format!(
                "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {place}"
            )),
        },
        Ok(None) => Err(format!("image {image:?} is not on the node")),
        Err(error) => Err(error.to_string()),
    }
}

async fn fetch(agent: &Agent, pod: &PodView, container: &Container) -> Result<Sources, String> {
    let (maps, secrets) = env::references(container);
    let mut sources = Sources {
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    let client = &agent.context.client;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), pod.namespace());
    for name in maps {
        let object = api.get_opt(&name).await.map_err(|e| e.to_string())?;
        sources.config_maps.insert(name, object);
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), pod.namespace());
    for name in secrets {
        let object = api.get_opt(&name).await.map_err(|e| e.to_string())?;
        sources.secrets.insert(name, object);
    }
    Ok(sources)
}

/// The termination log, the log directory and the hosts file.
async fn files(
    agent: &Arc<Agent>,
    order: &Order,
    container: &Container,
    log: &Path,
    hosts: &Path,
) -> std::io::Result<()> {
    let host_file = if order.pod.host_network() {
        fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        String::new()
    };
    let text = dns::hosts_file(
        &order.pod,
        &order.pod_ips,
        &agent.config.cluster_domain,
        &host_file,
    );
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(log, b"")?;
    // Whoever the container runs as may leave last words.
    fs::set_permissions(log, fs::Permissions::from_mode(0o666))?;
    if fs::read_to_string(hosts).ok().as_deref() != Some(text.as_str()) {
        fs::write(hosts, text)?;
        fs::set_permissions(hosts, fs::Permissions::from_mode(0o644))?;
    }
    fs::create_dir_all(cri_config::log_dir(agent, &order.pod).join(&container.name))
}
