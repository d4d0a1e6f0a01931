//! Tells kubelets how long they may keep Secrets and ConfigMaps before they look again: the longer, the
//! more nodes there are.

use client::controller::Requeue;
use client::{Change, Key, Scope};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;

use crate::error::Error;
use crate::kit::Kit;
use crate::write;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// From how many nodes on, up to how many, how many seconds. They overlap, so that a cluster at an
/// edge does not go back and forth.
const STEPS: [(usize, usize, u32); 5] = [
    (0, 100, 0),
    (90, 500, 15),
    (450, 1_000, 30),
    (900, 2_000, 60),
    (1_800, usize::MAX, 300),
];

/// The seconds for so many nodes, given those a node has now.
fn seconds(nodes: usize, now: Option<u32>) -> u32 {
    let fits = |(from, to, _): &&(usize, usize, u32)| (*from..=*to).contains(&nodes);
    let kept = STEPS
        .iter()
        .filter(fits)
        .find(|(_, _, seconds)| Some(*seconds) == now);
    let step = kept.or_else(|| STEPS.iter().find(fits));
    step.map_or(0, |(_, _, seconds)| *seconds)
}

fn held(node: &Node) -> Option<u32> {
    node.metadata
        .annotations
        .as_ref()?
        .get(ANNOTATION)?
        .parse()
        .ok()
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let nodes = kit.informers.get::<Node>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&nodes).await {
        return;
    }
    let all = nodes.store().clone();
    kit.follow(&nodes, &queue, move |change: Change<Node>| {
        let own = Key::of(&**change.object());
        if change.old().is_some() {
            let same = change
                .old()
                .is_some_and(|old| held(old) == held(change.object()));
            return if same { Vec::new() } else { vec![own] };
        }
        // The number changed: whoever is off now.
        let count = all.len();
        let off = all
            .list()
            .into_iter()
            .filter(|node| held(node) != Some(seconds(count, held(node))));
        off.map(|node| Key::of(&*node)).collect()
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, nodes) = (inner.clone(), nodes.clone());
        async move {
            let Some(node) = nodes.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let wanted = seconds(nodes.store().len(), held(&node));
            if held(&node) != Some(wanted) {
                let api: Api<Node> = Api::all(kit.client.clone());
                let patch = json!({"metadata": {"annotations": {ANNOTATION: wanted.to_string()}}});
                match write::strategic(&api, &*node, patch).await {
                    Err(error) if error.is_not_found() => {}
                    result => drop(result?),
                }
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        let cases = [
            (1, None, 0),
            (95, None, 0),
            (95, Some(15), 15),
            (101, Some(0), 15),
            (89, Some(15), 0),
            (1_900, Some(60), 60),
            (5_000, Some(60), 300),
            (1_900, Some(7), 60),
        ];
        for (nodes, now, expected) in cases {
            assert_eq!(seconds(nodes, now), expected, "{nodes} {now:?}");
        }
    }
}
