//! Keeps the mirror pods in line with the static pods: makes what is missing, and removes what
//! shows nothing or something else. It looks at what is there, whatever happened.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{manager::Pods, manifests};

/// Wait after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// One change to make.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Make(Box<Pod>),
    Remove(Arc<Pod>),
}

/// What is to be done about the mirror pods among `seen`. One that is removed is made anew when it
/// has gone.
fn plan(statics: &[Arc<Pod>], seen: &[Arc<Pod>], node: &Node) -> Vec<Step> {
    let mut steps = Vec::new();
    for mirror in seen.iter().filter(|pod| manifests::is_mirror(pod)) {
        let name = manifests::name_of(mirror);
        let shown = statics.iter().find(|pod| manifests::name_of(pod) == name);
        if !shown.is_some_and(|pod| manifests::shows(mirror, pod)) {
            steps.push(Step::Remove(mirror.clone()));
        }
    }
    for pod in statics {
        let name = manifests::name_of(pod);
        if !seen.iter().any(|other| manifests::name_of(other) == name) {
            steps.push(Step::Make(Box::new(manifests::mirror(pod, node))));
        }
    }
    steps
}

/// Runs until it is dropped.
pub async fn tend(pods: Arc<Pods>) {
    let agent = pods.agent.clone();
    agent.pods.synced().await;
    let mut changes = agent.pods.subscribe();
    let mut statics = pods.statics.subscribe();
    let mut nodes = agent.node.subscribe();
    loop {
        let node = nodes.borrow_and_update().clone();
        let wanted = statics.borrow_and_update().clone();
        let steps = match &node {
            Some(node) => plan(&wanted, &agent.pods.store().list(), node),
            // Nobody can own them before the node is registered.
            None => Vec::new(),
        };
        let mut failed = false;
        for step in steps {
            if let Err(error) = execute(&agent.context.client, &step).await {
                tracing::info!(%error, "mirror pod is not written");
                failed = true;
            }
        }
        let retry = tokio::time::sleep(RETRY);
        tokio::select! {
            () = retry, if failed => {}
            _ = changes.next() => while changes.try_next().is_some() {},
            Ok(()) = statics.changed() => {}
            // Its heartbeats are no news, its coming is.
            Ok(_) = nodes.wait_for(|now| now.is_some() != node.is_some()) => {}
        }
    }
}

async fn execute(client: &kube::Client, step: &Step) -> Result<(), kube::Error> {
    let api = |pod: &Pod| -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(client.clone(), namespace)
    };
    let result = match step {
        Step::Make(pod) => {
            let made = api(pod).create(&PostParams::default(), pod).await;
            made.map(drop)
        }
        Step::Remove(pod) => {
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: pod.metadata.uid.clone(),
                    resource_version: None,
                }),
                ..Default::default()
            };
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            api(pod).delete(name, &params).await.map(drop)
        }
    };
    match result {
        // It is there already, or has gone already: the informer will tell.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn statically(image: &str) -> Arc<Pod> {
        let text = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "a", "image": image}]},
        })
        .to_string();
        let path = Path::new("/m/web");
        let pod = manifests::parse(path, text.as_bytes(), "n", Timestamp::UNIX_EPOCH);
        Arc::new(pod.expect("a pod"))
    }

    #[test]
    fn mirrors_come_and_go_with_what_they_show() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n", "uid": "u"}})).expect("a node");
        let (one, two) = (statically("i:1"), statically("i:2"));
        let mirror = Arc::new(manifests::mirror(&one, &node));
        let make = |pod: &Arc<Pod>| Step::Make(Box::new(manifests::mirror(pod, &node)));
        assert_eq!(plan(&[], &[], &node), []);
        assert_eq!(plan(std::slice::from_ref(&one), &[], &node), [make(&one)]);
        assert_eq!(
            plan(
                std::slice::from_ref(&one),
                std::slice::from_ref(&mirror),
                &node
            ),
            []
        );
        let gone = [Step::Remove(mirror.clone())];
        assert_eq!(plan(&[], std::slice::from_ref(&mirror), &node), gone);
        // A changed one is made anew when the old one has gone.
        assert_eq!(plan(&[two], std::slice::from_ref(&mirror), &node), gone);
        let mut deleted = (*mirror).clone();
        deleted.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
        );
        let deleted = Arc::new(deleted);
        assert_eq!(
            plan(
                std::slice::from_ref(&one),
                std::slice::from_ref(&deleted),
                &node
            ),
            [Step::Remove(deleted)]
        );
        // A pod of the API's own by that name is left alone.
        let mut own = (*mirror).clone();
        own.metadata.annotations = None;
        assert_eq!(plan(&[one], &[Arc::new(own)], &node), []);
    }
}
