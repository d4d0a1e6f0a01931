//! NodeResourcesBalancedAllocation: prefers the node whose CPU and memory would be used evenly.

use crate::{
    cache::{Cache, NodeInfo, PodInfo, Resources},
    framework::{MAX_SCORE, NodeScore, Plugin, ScorePlugin},
    queue::events::ClusterEvents,
};

/// See the module.
pub struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NONE
    }
}

impl ScorePlugin for BalancedAllocation {
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        _: &'c Cache,
        _: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>> {
        // Upstream skips pods that request nothing: they cannot unbalance a node.
        if pod.requests.is_zero() {
            return None;
        }
        Some(Box::new(Balance(&pod.requests)))
    }
}

struct Balance<'c>(&'c Resources);

/// How far apart the used fractions are: half their difference, the standard deviation of two.
fn spread(node: &NodeInfo, extra: Option<&Resources>) -> f64 {
    let fraction = |has: i64, used: i64| (used as f64 / has as f64).min(1.0);
    let none = Resources::default();
    let extra = extra.unwrap_or(&none);
    let mut fractions = Vec::with_capacity(2);
    if node.allocatable.milli_cpu > 0 {
        fractions.push(fraction(
            node.allocatable.milli_cpu,
            node.requested.milli_cpu + extra.milli_cpu,
        ));
    }
    if node.allocatable.memory > 0 {
        fractions.push(fraction(
            node.allocatable.memory,
            node.requested.memory + extra.memory,
        ));
    }
    match fractions.as_slice() {
        [a, b] => (a - b).abs() / 2.0,
        _ => 0.0,
    }
}

impl NodeScore for Balance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let with = 1.0 - spread(node, Some(self.0));
        let without = 1.0 - spread(node, None);
        // Half the range for where the pod leaves the node, half for whether it improves it (upstream since 1.35).
        let half = MAX_SCORE as f64 / 2.0;
        (half * with + half * (1.0 + with - without) / 2.0) as i64
    }
}
