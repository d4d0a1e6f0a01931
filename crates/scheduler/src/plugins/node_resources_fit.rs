//! NodeResourcesFit: what the pod requests must be free; the node with most left is liked best
//! (`LeastAllocated` over CPU and memory, weight 1 each).

use std::borrow::Cow;

use crate::{
    cache::{Cache, NodeInfo, PodInfo, Resources},
    framework::{
        Begin, FilterPlugin, MAX_SCORE, NodeFilter, NodeScore, Plugin, Rejection, ScorePlugin,
    },
    queue::events::ClusterEvents,
};

/// See the module.
pub struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_DELETE
            | ClusterEvents::POD_SCALE_DOWN
            | ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_ALLOCATABLE
    }
}

impl FilterPlugin for NodeResourcesFit {
    fn begin<'c>(&'c self, pod: &'c PodInfo, _: &'c Cache) -> Begin<'c> {
        Begin::Check(Box::new(Needs(&pod.requests)))
    }
}

struct Needs<'c>(&'c Resources);

impl NodeFilter for Needs<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        let mut preemption_helps = true;
        if node.pods.len() as i64 + 1 > node.allowed_pods {
            reasons.push("Too many pods".into());
        }
        let mut need = |name: &str, want: i64, has: i64, used: i64| {
            if want > 0 && want > has - used {
                reasons.push(format!("Insufficient {name}").into());
                preemption_helps &= want <= has;
            }
        };
        need(
            "cpu",
            self.0.milli_cpu,
            node.allocatable.milli_cpu,
            node.requested.milli_cpu,
        );
        need(
            "memory",
            self.0.memory,
            node.allocatable.memory,
            node.requested.memory,
        );
        need(
            "ephemeral-storage",
            self.0.ephemeral_storage,
            node.allocatable.ephemeral_storage,
            node.requested.ephemeral_storage,
        );
        for (name, want) in &self.0.scalar {
            let of = |r: &Resources| r.scalar.get(name).copied().unwrap_or_default();
            need(name, *want, of(&node.allocatable), of(&node.requested));
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(Rejection {
                reasons,
                preemption_helps,
            })
        }
    }
}

impl ScorePlugin for NodeResourcesFit {
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        _: &'c Cache,
        _: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>> {
        Some(Box::new(LeastAllocated(&pod.scored)))
    }
}

struct LeastAllocated<'c>(&'c Resources);

impl NodeScore for LeastAllocated<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let free = |has: i64, used: i64| {
            if has <= 0 || used > has {
                0
            } else {
                (has - used) * MAX_SCORE / has
            }
        };
        let cpu = (
            node.allocatable.milli_cpu,
            node.scored.milli_cpu + self.0.milli_cpu,
        );
        let memory = (node.allocatable.memory, node.scored.memory + self.0.memory);
        // A resource the node does not have at all does not count.
        let counted: Vec<i64> = [cpu, memory]
            .into_iter()
            .filter(|(has, _)| *has > 0)
            .map(|(has, used)| free(has, used))
            .collect();
        if counted.is_empty() {
            0
        } else {
            counted.iter().sum::<i64>() / counted.len() as i64
        }
    }
}
