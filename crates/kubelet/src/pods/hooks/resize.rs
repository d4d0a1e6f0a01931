//! Changes the limits of a running container, and those of its pod around it.

use std::sync::Arc;

use cri::v1;
use k8s_openapi::api::core::v1::Container;

use crate::{
    agent::Agent,
    pods::{resources, view::PodView},
    runtime_client::RuntimeError,
};

/// Does it. The pod's limits are written before and after: a container that grows needs the room
/// first, and one that shrinks leaves it last.
pub async fn run(
    agent: Arc<Agent>,
    pod: PodView,
    container: &Container,
    id: &str,
) -> Result<(), RuntimeError> {
    let around = |agent: Arc<Agent>, pod: PodView| async move {
        let done = tokio::task::spawn_blocking(move || agent.cgroups.create(&pod)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "pod limits"),
            Err(error) => tracing::warn!(%error, "pod limits"),
        }
    };
    around(agent.clone(), pod.clone()).await;
    agent
        .runtime
        .update_container_resources(v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources::container(
                pod.spec(),
                container,
                agent.machine.memory,
            )),
            ..Default::default()
        })
        .await?;
    around(agent, pod).await;
    Ok(())
}
