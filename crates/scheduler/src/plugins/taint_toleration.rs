//! TaintToleration: hard taints keep a pod away unless tolerated; soft ones make a node less liked.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::{
    cache::{Cache, NodeInfo, class::Class},
    framework::{
        Begin, BeginScore, FilterPlugin, LocalFilter, LocalScore, Normalize, Plugin, Rejection,
        ScorePlugin,
    },
    queue::events::{ClusterEvents, Event},
};

/// See the module.
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_TAINT
    }
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        event
            .node
            .is_none_or(|node| untolerated(node, &class.tolerations).is_none())
    }
}

/// Whether any of the tolerations covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| covers(t, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |s: &Option<String>| s.as_deref().filter(|s| !s.is_empty()).map(str::to_owned);
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if given(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    let theirs = taint.value.as_deref().unwrap_or_default();
    let ours = toleration.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "" | "Equal" => given(&toleration.key).is_some() && ours == theirs,
        "Exists" => true,
        // `Lt` and `Gt` are alpha (KEP-5471).
        _ => false,
    }
}

impl FilterPlugin for TaintToleration {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> Begin {
        Begin::Local(Box::new(Hard(class.clone())))
    }
}

/// The first taint that keeps a pod away and is not tolerated.
pub fn untolerated<'n>(node: &'n NodeInfo, tolerations: &[Toleration]) -> Option<&'n Taint> {
    node.taints()
        .iter()
        .filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"))
        .find(|t| !tolerates(tolerations, t))
}

struct Hard(Arc<Class>);

impl LocalFilter for Hard {
    fn check(&self, _: &Cache, node: &NodeInfo) -> Result<(), Rejection> {
        match untolerated(node, &self.0.tolerations) {
            None => Ok(()),
            Some(_) => Err(Rejection::unresolvable("node(s) had untolerated taint(s)")),
        }
    }
}

impl ScorePlugin for TaintToleration {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> BeginScore {
        let relevant = class.tolerations.iter().filter(|t| {
            matches!(
                t.effect.as_deref().unwrap_or_default(),
                "" | "PreferNoSchedule"
            )
        });
        let soft = Soft(relevant.cloned().collect());
        BeginScore::Local(Box::new(soft), Normalize::Reverse)
    }
}

struct Soft(Vec<Toleration>);

impl LocalScore for Soft {
    fn score(&self, _: &Cache, node: &NodeInfo) -> i64 {
        let intolerable = node
            .taints()
            .iter()
            .filter(|t| t.effect == "PreferNoSchedule" && !tolerates(&self.0, t));
        i64::try_from(intolerable.count()).unwrap_or(i64::MAX)
    }
}
