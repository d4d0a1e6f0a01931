//! Which plugins run, in which order and with which weight, under which scheduler name.

use super::{FilterPlugin, ScorePlugin};
use crate::plugins::{
    balanced_allocation::BalancedAllocation, image_locality::ImageLocality,
    inter_pod_affinity::InterPodAffinity, node_affinity::NodeAffinity, node_name::NodeName,
    node_ports::NodePorts, node_resources_fit::NodeResourcesFit,
    node_unschedulable::NodeUnschedulable, pod_topology_spread::PodTopologySpread,
    taint_toleration::TaintToleration,
};

/// One scheduler name's plugins.
pub struct Profile {
    /// `spec.schedulerName` of the pods it places.
    pub scheduler_name: Box<str>,
    /// In the order they are asked; the first rejection of a node ends its check.
    pub filters: Vec<Box<dyn FilterPlugin>>,
    /// With their weights.
    pub scorers: Vec<(Box<dyn ScorePlugin>, i64)>,
}

impl Profile {
    /// Upstream's default plugins and weights.
    pub fn default_profile() -> Profile {
        Profile {
            scheduler_name: "default-scheduler".into(),
            filters: vec![
                Box::new(NodeUnschedulable),
                Box::new(NodeName),
                Box::new(TaintToleration),
                Box::new(NodeAffinity),
                Box::new(NodePorts),
                Box::new(NodeResourcesFit),
                Box::new(PodTopologySpread),
                Box::new(InterPodAffinity),
            ],
            scorers: vec![
                (Box::new(TaintToleration), 3),
                (Box::new(NodeAffinity), 2),
                (Box::new(NodeResourcesFit), 1),
                (Box::new(PodTopologySpread), 2),
                (Box::new(InterPodAffinity), 2),
                (Box::new(BalancedAllocation), 1),
                (Box::new(ImageLocality), 1),
            ],
        }
    }
}
