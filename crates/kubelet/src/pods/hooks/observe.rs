//! Asks the runtime what it has of a pod.

use std::{collections::HashMap, sync::Arc};

use cri::v1;

use crate::{
    agent::Agent,
    pods::observed::{Observed, Run, Sandbox, keys},
    runtime_client::RuntimeError,
};

/// Everything of the pod with that uid.
pub async fn pod(agent: Arc<Agent>, uid: String) -> Result<Observed, RuntimeError> {
    let selector: HashMap<String, String> = [(keys::POD_UID.to_owned(), uid)].into();
    let sandboxes = agent
        .runtime
        .list_pod_sandbox(v1::ListPodSandboxRequest {
            filter: Some(v1::PodSandboxFilter {
                label_selector: selector.clone(),
                ..Default::default()
            }),
        })
        .await?
        .items;
    let containers = agent
        .runtime
        .list_containers(v1::ListContainersRequest {
            filter: Some(v1::ContainerFilter {
                label_selector: selector,
                ..Default::default()
            }),
        })
        .await?
        .containers;
    let mut observed = Observed::default();
    for sandbox in sandboxes {
        match agent.runtime.sandbox(&sandbox.id).await {
            Ok(status) => observed.upsert_sandbox(&status),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    for container in containers {
        match agent.runtime.container(&container.id).await {
            Ok(status) => observed.upsert_run(status, &container.pod_sandbox_id),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(observed)
}

/// The uids of the pods that the runtime has anything of, with a name to show.
pub async fn known_pods(agent: &Agent) -> Result<HashMap<String, (String, String)>, RuntimeError> {
    let mut out = HashMap::new();
    let mut add = |labels: &HashMap<String, String>| {
        let get = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let uid = get(keys::POD_UID);
        if !uid.is_empty() {
            out.insert(uid, (get(keys::POD_NAMESPACE), get(keys::POD_NAME)));
        }
    };
    let sandboxes = agent
        .runtime
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await?;
    for sandbox in &sandboxes.items {
        add(&sandbox.labels);
    }
    let containers = agent
        .runtime
        .list_containers(v1::ListContainersRequest::default())
        .await?;
    for container in &containers.containers {
        add(&container.labels);
    }
    Ok(out)
}

/// What an event brought, where it brought anything.
pub fn from_event(event: v1::ContainerEventResponse) -> (Option<Sandbox>, Vec<Run>) {
    let sandbox = event.pod_sandbox_status.as_ref().map(Sandbox::new);
    let id = sandbox.as_ref().map(|s| s.id.clone()).unwrap_or_default();
    let runs = event
        .containers_statuses
        .into_iter()
        .filter_map(|status| Run::new(status, &id))
        .collect();
    (sandbox, runs)
}
