//! The node's Lease: a small write every ten seconds that says it is alive.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{Api, api::PostParams};
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;

const NAMESPACE: &str = "kube-node-lease";
/// How long the lease holds.
const DURATION: i32 = 40;
/// How often it is renewed.
const PERIOD: Duration = Duration::from_secs(10);
/// Waits after a renewal that failed.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(7);

/// Renews the lease until shutdown.
pub async fn run(agent: Arc<Agent>, shutdown: CancellationToken) {
    let mut held: Option<Lease> = None;
    let mut retry = RETRY;
    loop {
        let wait = match renew(&agent, held.take()).await {
            Ok(lease) => {
                held = Some(lease);
                retry = RETRY;
                PERIOD
            }
            Err(error) => {
                tracing::debug!(%error, "the node's lease is not renewed");
                let wait = retry;
                retry = (retry * 2).min(RETRY_MOST);
                wait
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Renews; without a lease in hand, finds or makes it first.
async fn renew(agent: &Agent, held: Option<Lease>) -> Result<Lease, kube::Error> {
    let api: Api<Lease> = Api::namespaced(agent.context.client.clone(), NAMESPACE);
    let name = agent.config.node_name.as_str();
    let held = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    let owner = agent.node.borrow().as_ref().and_then(|node| {
        Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.metadata.name.clone()?,
            uid: node.metadata.uid.clone()?,
            ..Default::default()
        })
    });
    let mut lease = held.clone().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..Default::default()
        },
        spec: None,
    });
    if let Some(owner) = owner {
        lease.metadata.owner_references = Some(vec![owner]);
    }
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(name.to_owned());
    spec.lease_duration_seconds = Some(DURATION);
    spec.renew_time = Some(MicroTime(agent.now()));
    if held.is_some() {
        api.replace(name, &PostParams::default(), &lease).await
    } else {
        api.create(&PostParams::default(), &lease).await
    }
}
