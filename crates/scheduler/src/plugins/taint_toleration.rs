//! TaintToleration: hard taints keep a pod away unless tolerated; soft ones make a node less liked.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{
        Begin, FilterPlugin, NodeFilter, NodeScore, Plugin, Rejection, ScorePlugin,
        normalize_to_max,
    },
    queue::events::ClusterEvents,
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
        // KEP-5471: whole numbers compare; anything else does not match.
        operator @ ("Lt" | "Gt") => match (ours.parse::<i64>(), theirs.parse::<i64>()) {
            (Ok(ours), Ok(theirs)) => {
                if operator == "Lt" {
                    theirs < ours
                } else {
                    theirs > ours
                }
            }
            _ => false,
        },
        _ => false,
    }
}

impl FilterPlugin for TaintToleration {
    fn begin<'c>(&'c self, pod: &'c PodInfo, _: &'c Cache) -> Begin<'c> {
        Begin::Check(Box::new(Hard(
            pod.spec().tolerations.as_deref().unwrap_or_default(),
        )))
    }
}

struct Hard<'c>(&'c [Toleration]);

impl NodeFilter for Hard<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let untolerated = node
            .taints()
            .iter()
            .filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"))
            .find(|t| !tolerates(self.0, t));
        match untolerated {
            None => Ok(()),
            Some(taint) => Err(Rejection::unresolvable(format!(
                "node(s) had untolerated taint {{{}: {}}}",
                taint.key,
                taint.value.as_deref().unwrap_or_default()
            ))),
        }
    }
}

impl ScorePlugin for TaintToleration {
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        _: &'c Cache,
        feasible: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>> {
        let soft = |t: &Taint| t.effect == "PreferNoSchedule";
        if !feasible.iter().any(|n| n.taints().iter().any(soft)) {
            return None;
        }
        let tolerations = pod.spec().tolerations.iter().flatten();
        let relevant = tolerations
            .filter(|t| {
                matches!(
                    t.effect.as_deref().unwrap_or_default(),
                    "" | "PreferNoSchedule"
                )
            })
            .cloned()
            .collect();
        Some(Box::new(Soft(relevant)))
    }
}

struct Soft(Vec<Toleration>);

impl NodeScore for Soft {
    fn score(&self, node: &NodeInfo) -> i64 {
        let intolerable = node
            .taints()
            .iter()
            .filter(|t| t.effect == "PreferNoSchedule" && !tolerates(&self.0, t));
        i64::try_from(intolerable.count()).unwrap_or(i64::MAX)
    }
    fn normalize(&self, scores: &mut [i64]) {
        normalize_to_max(scores, true);
    }
}
