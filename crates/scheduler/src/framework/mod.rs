//! The scheduling framework: the extension points plugins stand at, and the cycle that runs them.
//!
//! A plugin that filters or scores is asked once per class of equal pods to *begin*; what it works
//! out then lives in the object it answers, which is kept in the class's [`ranking`] and repaired by
//! changes. An answer about a node either depends on that node and its pods alone ([`LocalFilter`],
//! [`LocalScore`]: asked again when the node changes), or also on pods elsewhere ([`ClusterFilter`],
//! [`ClusterScore`]: told of every pod that comes and goes, asked in every cycle). What depends on
//! more than the pod's class ([`PodFilterPlugin`]: claims, devices) begins anew in each cycle.
//! There is no shared cycle state: what one plugin knows, no other can reach.

pub mod best;
pub mod config;
pub mod diagnosis;
pub mod profile;
pub mod ranking;

use std::{borrow::Cow, sync::Arc};

use crate::{
    cache::{Cache, Counted, NodeInfo, PodInfo, class::Class},
    plugins::devices::plugin::Released,
    queue::events::{ClusterEvents, Event},
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
    /// Whether an event among [`Plugin::hints`] can help pods of this class that the plugin rejected
    /// (upstream's QueueingHintFn).
    fn helps(&self, _event: &Event<'_>, _class: &Class) -> bool {
        true
    }
}

/// How a filter begins with a class.
pub enum Begin {
    /// The pods do not concern it.
    Skip,
    /// No node will do.
    Reject(Rejection),
    /// Only these nodes can do; each is checked as well.
    Only(Vec<Box<str>>, Box<dyn LocalFilter>),
    /// Each node is checked.
    Local(Box<dyn LocalFilter>),
    /// Each node is checked in each cycle.
    Cluster(Box<dyn ClusterFilter>),
}

/// Stands at PreFilter and Filter.
pub trait FilterPlugin: Plugin {
    /// Begins.
    fn begin(&self, class: &Arc<Class>, cache: &Cache) -> Begin;
}

/// A filter whose answer depends on the node and its pods alone.
pub trait LocalFilter: Send {
    /// Do the pods fit this node?
    fn check(&self, cache: &Cache, node: &NodeInfo) -> Result<(), Rejection>;
}

/// Pods that are to be thought of as on, or off, one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overlay<'o> {
    /// Thought of as there.
    pub added: &'o [Arc<PodInfo>],
    /// Thought of as gone.
    pub removed: &'o [Arc<PodInfo>],
}

impl Overlay<'_> {
    /// Each pod with the sign it counts by.
    pub fn changes(&self) -> impl Iterator<Item = (&PodInfo, i64)> {
        let added = self.added.iter().map(|p| (&**p, 1));
        added.chain(self.removed.iter().map(|p| (&**p, -1)))
    }
}

/// A filter whose answer depends on pods elsewhere too.
pub trait ClusterFilter: Send {
    /// A pod came to a node (`by` is 1) or went (-1).
    fn apply(&mut self, cache: &Cache, node: &NodeInfo, pod: &Counted, by: i64);
    /// Nothing it counts could reject any node: it is not asked, whatever pods are nominated (upstream
    /// skips it).
    fn idle(&self) -> bool {
        false
    }
    /// What it counts depends on nodes' taints.
    fn minds_taints(&self) -> bool {
        false
    }
    /// Do the pods fit this node?
    fn check(&self, cache: &Cache, node: &NodeInfo, overlay: Overlay<'_>) -> Result<(), Rejection>;
}

/// Stands at PreScore, Score and NormalizeScore.
pub trait ScorePlugin: Plugin {
    /// Begins.
    fn begin(&self, class: &Arc<Class>, cache: &Cache) -> BeginScore;
}

/// How a scorer begins with a class.
pub enum BeginScore {
    /// The pods do not concern it.
    Skip,
    /// Each node's score depends on the node and its pods alone.
    Local(Box<dyn LocalScore>, Normalize),
    /// Scores depend on pods elsewhere, or on which other nodes fit.
    Cluster(Box<dyn ClusterScore>),
}

/// How raw scores are brought into `0..=MAX_SCORE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// They are there already.
    Already,
    /// Stretched so that the highest is [`MAX_SCORE`].
    ToMax,
    /// The same, then turned round: less is better.
    Reverse,
}

impl Normalize {
    /// One score, given the highest of all.
    pub fn apply(self, score: i64, highest: i64) -> i64 {
        match (self, highest) {
            (Normalize::Already, _) => score,
            (Normalize::ToMax, 0) => 0,
            (Normalize::Reverse, 0) => MAX_SCORE,
            (Normalize::ToMax, _) => score * MAX_SCORE / highest,
            (Normalize::Reverse, _) => MAX_SCORE - score * MAX_SCORE / highest,
        }
    }
}

/// A scorer of nodes by themselves.
pub trait LocalScore: Send {
    /// The node's raw score.
    fn score(&self, cache: &Cache, node: &NodeInfo) -> i64;
}

/// A scorer that looks at the whole cluster.
pub trait ClusterScore: Send {
    /// A pod came to a node (`by` is 1) or went (-1).
    fn apply(&mut self, cache: &Cache, node: &NodeInfo, pod: &Counted, by: i64);
    /// It would give every node the same.
    fn idle(&self) -> bool {
        false
    }
    /// What it counts depends on nodes' taints.
    fn minds_taints(&self) -> bool {
        false
    }
    /// The normalized score of each feasible node, in order, into `out` (which is empty).
    fn scores(&mut self, cache: &Cache, feasible: &[u32], out: &mut Vec<i64>);
}

/// Stands at PreFilter and Filter for what differs between pods of a class.
pub trait PodFilterPlugin: Plugin {
    /// Begins a cycle.
    fn begin<'c>(&'c self, pod: &'c PodInfo, cache: &'c Cache) -> PodBegin<'c>;
}

/// How a filter begins with a pod.
pub enum PodBegin<'c> {
    /// The pod does not concern it.
    Skip,
    /// No node will do.
    Reject(Rejection),
    /// Each node is checked.
    Check(Box<dyn PodFilter + 'c>),
}

/// What a filter worked out for one pod.
pub trait PodFilter {
    /// Does the pod fit this node?
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection>;
    /// What went wrong with the checks so far that is not the nodes' fault: the pod is not placed, and
    /// tried again later.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// What must be written before the pod may be bound to this node (Reserve and PreBind).
    fn reserve(&self, _node: &NodeInfo) -> Vec<crate::bind::Prepare> {
        Vec::new()
    }
    /// How well a node that fits is liked (Score); stretched so that the highest is [`MAX_SCORE`].
    fn score(&self, _node: &NodeInfo) -> i64 {
        0
    }
    /// What could be given up for a pod that fits nowhere (PostFilter); `nodes` are those it was
    /// asked about.
    fn release(&self, _nodes: &mut dyn Iterator<Item = &NodeInfo>) -> Option<Released> {
        None
    }
}
