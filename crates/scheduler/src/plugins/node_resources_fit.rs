//! NodeResourcesFit: what the pod requests must be free. How nodes are liked depends on the strategy:
//! those with most left (`LeastAllocated`, the default), those with least left (`MostAllocated`), or
//! a function of utilization (`RequestedToCapacityRatio`).

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use crate::{
    cache::{Cache, NodeInfo, Resources, class::Class},
    framework::{
        Begin, BeginScore, FilterPlugin, LocalFilter, LocalScore, MAX_SCORE, Normalize, Plugin,
        Rejection, ScorePlugin,
    },
    queue::events::{ClusterEvents, Event},
};

/// How free resources make a node liked.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// The more is left, the better.
    LeastAllocated,
    /// The less is left, the better.
    MostAllocated,
    /// Points of utilization in per cent and score of 0 to 100, joined by lines.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct NodeResourcesFit {
    /// The strategy.
    pub strategy: Strategy,
    /// The resources it looks at, with their weights.
    pub resources: Vec<(Box<str>, i64)>,
    /// Extended resources that are not checked.
    pub ignored: BTreeSet<String>,
    /// The same, by what stands before the slash.
    pub ignored_groups: BTreeSet<String>,
}

impl Default for NodeResourcesFit {
    fn default() -> NodeResourcesFit {
        NodeResourcesFit {
            strategy: Strategy::LeastAllocated,
            resources: vec![("cpu".into(), 1), ("memory".into(), 1)],
            ignored: BTreeSet::new(),
            ignored_groups: BTreeSet::new(),
        }
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::POD_DELETE
            | ClusterEvents::POD_SCALE_DOWN
            | ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_ALLOCATABLE
            | ClusterEvents::DEVICES
    }
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        let whole = |node: &NodeInfo| {
            let mut empty = node.clone();
            (empty.requested, empty.pods) = (Resources::default(), Vec::new());
            self.needs(class).check_node(&empty, |_| false).is_ok()
        };
        if event.kind == ClusterEvents::DEVICES {
            // A class may back an extended resource now.
            return !class.requests.scalar.is_empty();
        }
        // A pod that goes frees at least its place.
        event.pod.is_some() || event.node.is_none_or(whole)
    }
}

impl NodeResourcesFit {
    fn ignores(&self, name: &str) -> bool {
        let Some((group, _)) = name.split_once('/') else {
            return false;
        };
        self.ignored.contains(name) || self.ignored_groups.contains(group)
    }

    fn needs(&self, class: &Class) -> Needs {
        let mut requests = class.requests.clone();
        requests
            .scalar
            .retain(|name, amount| *amount != 0 && !self.ignores(name));
        Needs(requests)
    }
}

impl FilterPlugin for NodeResourcesFit {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> Begin {
        Begin::Local(Box::new(self.needs(class)))
    }
}

struct Needs(Resources);

impl Needs {
    /// `backed` says which extended resources devices provide where the node does not.
    fn check_node(&self, node: &NodeInfo, backed: impl Fn(&str) -> bool) -> Result<(), Rejection> {
        let (want, has, used) = (&self.0, &node.allocatable, &node.requested);
        let lacks = |want: i64, has: i64, used: i64| want > 0 && want > has - used;
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        let good = pods < node.allowed_pods
            && !lacks(want.milli_cpu, has.milli_cpu, used.milli_cpu)
            && !lacks(want.memory, has.memory, used.memory)
            && !lacks(
                want.ephemeral_storage,
                has.ephemeral_storage,
                used.ephemeral_storage,
            )
            && want.scalar.is_empty();
        if good {
            return Ok(());
        }
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        let mut preemption_helps = true;
        if pods >= node.allowed_pods {
            reasons.push("Too many pods".into());
        }
        for (reason, want, has, used) in [
            (
                "Insufficient cpu",
                want.milli_cpu,
                has.milli_cpu,
                used.milli_cpu,
            ),
            ("Insufficient memory", want.memory, has.memory, used.memory),
            (
                "Insufficient ephemeral-storage",
                want.ephemeral_storage,
                has.ephemeral_storage,
                used.ephemeral_storage,
            ),
        ] {
            if lacks(want, has, used) {
                reasons.push(reason.into());
                preemption_helps &= want <= has;
            }
        }
        for (name, want) in &want.scalar {
            let (has, used) = (has.get(name), used.get(name));
            if lacks(*want, has, used) && !(has == 0 && backed(name)) {
                reasons.push(format!("Insufficient {name}").into());
                preemption_helps &= *want <= has;
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        Err(Rejection {
            reasons,
            preemption_helps,
        })
    }
}

impl LocalFilter for Needs {
    fn check(&self, cache: &Cache, node: &NodeInfo) -> Result<(), Rejection> {
        self.check_node(node, |name| cache.devices.backing(name).is_some())
    }
}

impl ScorePlugin for NodeResourcesFit {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> BeginScore {
        let scorer = Liked {
            class: class.clone(),
            strategy: self.strategy.clone(),
            resources: relevant(&self.resources, class),
        };
        BeginScore::Local(Box::new(scorer), Normalize::Already)
    }
}

/// The resources that count for a class: upstream leaves out extended ones it does not ask for.
fn relevant(resources: &[(Box<str>, i64)], class: &Class) -> Vec<(Box<str>, i64)> {
    resources
        .iter()
        .filter(|(name, _)| !is_scalar(name) || class.liked.get(name) != 0)
        .cloned()
        .collect()
}

/// Extended resources and the like.
pub fn is_scalar(name: &str) -> bool {
    !matches!(name, "cpu" | "memory" | "ephemeral-storage" | "pods")
}

struct Liked {
    class: Arc<Class>,
    strategy: Strategy,
    resources: Vec<(Box<str>, i64)>,
}

impl LocalScore for Liked {
    fn score(&self, _: &Cache, node: &NodeInfo) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for (name, weight) in &self.resources {
            let has = node.allocatable.get(name);
            if has == 0 {
                continue;
            }
            // CPU and memory count with the defaults of pods that ask for none.
            let used = match &**name {
                "cpu" | "memory" => node.scored.get(name),
                _ => node.requested.get(name),
            } + self.class.liked.get(name);
            let score = match &self.strategy {
                Strategy::LeastAllocated if used > has => 0,
                Strategy::LeastAllocated => (has - used) * MAX_SCORE / has,
                Strategy::MostAllocated => used.min(has) * MAX_SCORE / has,
                Strategy::RequestedToCapacityRatio(shape) => {
                    let utilization = if used > has { 100 } else { used * 100 / has };
                    let score = on_lines(shape, utilization);
                    if score == 0 {
                        continue;
                    }
                    score
                }
            };
            sum += score * weight;
            weights += weight;
        }
        match (weights, &self.strategy) {
            (0, _) => 0,
            (_, Strategy::RequestedToCapacityRatio(_)) => {
                (sum as f64 / weights as f64).round() as i64
            }
            _ => sum / weights,
        }
    }
}

/// The height at `x` of the lines that join the points.
fn on_lines(points: &[(i64, i64)], x: i64) -> i64 {
    let Some(after) = points.iter().position(|(at, _)| x <= *at) else {
        return points.last().map_or(0, |p| p.1);
    };
    let (x1, y1) = points[after];
    match after.checked_sub(1).map(|before| points[before]) {
        None => y1,
        Some((x0, y0)) => y0 + (y1 - y0) * (x - x0) / (x1 - x0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_between_points_lie_on_the_line() {
        let points = [(0, 0), (50, 100), (100, 40)];
        for (x, want) in [(0, 0), (25, 50), (50, 100), (75, 70), (100, 40), (120, 40)] {
            assert_eq!(on_lines(&points, x), want, "at {x}");
        }
    }
}
