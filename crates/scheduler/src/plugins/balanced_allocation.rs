//! NodeResourcesBalancedAllocation: prefers the node whose resources would be used evenly.

use std::sync::Arc;

use super::node_resources_fit::is_scalar;
use crate::{
    cache::{Cache, NodeInfo, Resources, class::Class},
    framework::{BeginScore, LocalScore, MAX_SCORE, Normalize, Plugin, ScorePlugin},
    queue::events::ClusterEvents,
};

/// See the module.
#[derive(Clone, Debug)]
pub struct BalancedAllocation {
    /// The resources it looks at.
    pub resources: Vec<Box<str>>,
}

impl Default for BalancedAllocation {
    fn default() -> BalancedAllocation {
        BalancedAllocation {
            resources: vec!["cpu".into(), "memory".into()],
        }
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NONE
    }
}

impl ScorePlugin for BalancedAllocation {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> BeginScore {
        // Upstream skips pods that request nothing: they cannot unbalance a node.
        if self.resources.iter().all(|r| class.requests.get(r) == 0) {
            return BeginScore::Skip;
        }
        let resources = self
            .resources
            .iter()
            .filter(|name| !is_scalar(name) || class.requests.get(name) != 0)
            .cloned()
            .collect();
        let balance = Balance {
            class: class.clone(),
            resources,
        };
        BeginScore::Local(Box::new(balance), Normalize::Already)
    }
}

struct Balance {
    class: Arc<Class>,
    resources: Vec<Box<str>>,
}

impl Balance {
    /// 100 less the standard deviation, in per cent, of the used fractions.
    fn evenness(&self, node: &NodeInfo, extra: Option<&Resources>) -> i64 {
        let (mut sum, mut count) = (0.0, 0.0);
        let fraction = |name: &str| {
            let has = node.allocatable.get(name);
            let used = node.requested.get(name) + extra.map_or(0, |e| e.get(name));
            (has != 0).then(|| (used as f64 / has as f64).min(1.0))
        };
        let fractions = || self.resources.iter().filter_map(|name| fraction(name));
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        for fraction in fractions() {
            sum += fraction;
            count += 1.0;
            least = least.min(fraction);
            most = most.max(fraction);
        }
        let deviation = if count < 2.0 {
            0.0
        } else if count < 3.0 {
            (most - least) / 2.0
        } else {
            let mean = sum / count;
            let squares: f64 = fractions().map(|f| (f - mean) * (f - mean)).sum();
            (squares / count).sqrt()
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}

impl LocalScore for Balance {
    fn score(&self, _: &Cache, node: &NodeInfo) -> i64 {
        let with = self.evenness(node, Some(&self.class.requests));
        let without = self.evenness(node, None);
        // By how much the pod improves the balance, about the middle of the upper half (upstream
        // since 1.35).
        MAX_SCORE / 2 + (MAX_SCORE / 2 + with - without) / 2
    }
}
