//! The scheduling framework: the extension points plugins stand at, and the cycle that runs them.
//!
//! A plugin that filters or scores is asked once per cycle to *begin* with the pod; what it works
//! out then lives in the object it answers, which is asked node by node. There is no shared cycle
//! state: what one plugin knows, no other can reach.

pub mod cycle;
pub mod diagnosis;
pub mod profile;

use std::borrow::Cow;

use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    queue::events::ClusterEvents,
};

/// The best score a node may be given.
pub const MAX_SCORE: i64 = 100;

/// Why a pod does not fit a node, or any node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// In upstream's words; several where several resources are short.
    pub reasons: Vec<Cow<'static, str>>,
    /// Whether evicting pods could change the answer.
    pub preemption_helps: bool,
}

impl Rejection {
    /// Evicting pods could help.
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection {
            reasons: vec![reason.into()],
            preemption_helps: true,
        }
    }

    /// Evicting pods changes nothing.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection {
            reasons: vec![reason.into()],
            preemption_helps: false,
        }
    }
}

/// What every plugin says of itself.
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;
    /// What must happen in the cluster before a pod this plugin rejected is worth another try.
    fn hints(&self) -> ClusterEvents;
}

/// How a filter begins with a pod.
pub enum Begin<'c> {
    /// The pod does not concern it.
    Skip,
    /// No node will do.
    Reject(Rejection),
    /// Only these nodes can do; each is checked as well.
    Only(Vec<Box<str>>, Box<dyn NodeFilter + 'c>),
    /// Each node is checked.
    Check(Box<dyn NodeFilter + 'c>),
}

/// Stands at PreFilter and Filter.
pub trait FilterPlugin: Plugin {
    /// Begins a cycle.
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> Begin<'c>;
}

/// What a filter worked out for one pod.
pub trait NodeFilter {
    /// Does the pod fit this node?
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection>;
}

/// Stands at PreScore, Score and NormalizeScore.
pub trait ScorePlugin: Plugin {
    /// Begins a cycle; none when the pod does not concern it.
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        cache: &'c Cache,
        feasible: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>>;
}

/// What a scorer worked out for one pod.
pub trait NodeScore {
    /// The node's raw score.
    fn score(&self, node: &NodeInfo) -> i64;
    /// Brings the raw scores into `0..=MAX_SCORE`.
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// Stretches scores so that the highest is [`MAX_SCORE`], turned round when less is better.
pub fn normalize_to_max(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        *score = match (highest, reverse) {
            (0, false) => 0,
            (0, true) => MAX_SCORE,
            (_, false) => *score * MAX_SCORE / highest,
            (_, true) => MAX_SCORE - *score * MAX_SCORE / highest,
        };
    }
}
