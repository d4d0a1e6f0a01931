//! How many pods to create, or which to delete.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pods::{is_active, sort_for_deletion};

/// Never more creates or deletes than this in one go.
pub(super) const BURST: usize = 500;

/// What to do to come to the wanted number.
#[derive(Debug)]
pub(super) enum Plan {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// Plans from the claimed pods. `related` gives all pods whose sharing a node makes one of ours the
/// more dispensable; it is asked only when pods have to go.
pub(super) fn plan(
    replicas: i32,
    pods: &[Arc<Pod>],
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Plan {
    let mut active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
    let wanted = usize::try_from(replicas).unwrap_or_default();
    if active.len() < wanted {
        return Plan::Create((wanted - active.len()).min(BURST));
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return Plan::Nothing;
    }
    if wanted > 0 {
        let mut on_node: HashMap<String, usize> = HashMap::new();
        for pod in related().iter().filter(|pod| is_active(pod)) {
            if let Some(node) = node_of(pod) {
                *on_node.entry(node.to_owned()).or_default() += 1;
            }
        }
        let crowd = |pod: &Pod| {
            node_of(pod)
                .and_then(|node| on_node.get(node))
                .copied()
                .unwrap_or_default()
        };
        sort_for_deletion(&mut active, now, crowd);
    }
    active.truncate(surplus);
    Plan::Delete(active)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, pods};

    #[test]
    fn counts_only_active_pods() {
        let some = pods([
            "a Running ready",
            "b Pending",
            "c Failed",
            "d Succeeded",
            "e Running ready deleting",
        ]);
        let cases = [(0, -2), (1, -1), (2, 0), (3, 1), (9, 7), (5_000, 500)];
        for (replicas, expected) in cases {
            let change = match plan(replicas, &some, Vec::new, Timestamp::UNIX_EPOCH) {
                Plan::Nothing => 0,
                Plan::Create(count) => count as i32,
                Plan::Delete(victims) => -(victims.len() as i32),
            };
            assert_eq!(change, expected, "{replicas} replicas");
        }
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        // Each case: the survivor, then the victim.
        let cases = [
            (
                "a Pending node=n",
                "b Pending",
                "unassigned before assigned",
            ),
            (
                "a Running node=n",
                "b Pending node=n",
                "pending before running",
            ),
            (
                "a Running ready node=n",
                "b Running node=n",
                "not ready before ready",
            ),
            (
                "a Running ready node=n cost=5",
                "b Running ready node=n cost=-1",
                "cheaper before dearer",
            ),
            (
                "a Running ready node=n",
                "b Running ready node=m",
                "crowded node before lonely one",
            ),
            (
                "a Running ready=100 node=n",
                "b Running ready=900 node=n",
                "shorter ready before longer",
            ),
            (
                "a Running ready=100 node=n",
                "b Running ready=100 node=n restarts=3",
                "restarting before steady",
            ),
            (
                "a Running ready=100 node=n created=10",
                "b Running ready=100 node=n created=990",
                "younger before older",
            ),
        ];
        for (survivor, victim, why) in cases {
            let pair = vec![Arc::new(pod(survivor)), Arc::new(pod(victim))];
            let crowd = || pods(["x Running node=m", "y Running node=m", "z Running node=n"]);
            let now = Timestamp::from_second(1_000).unwrap();
            let Plan::Delete(victims) = plan(1, &pair, crowd, now) else {
                panic!("{why}")
            };
            assert_eq!(victims[0].metadata.name.as_deref(), Some("b"), "{why}");
        }
    }
}
