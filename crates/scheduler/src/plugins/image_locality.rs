//! ImageLocality: prefers nodes that have the pod's images, the more the bigger they are; an image
//! that few nodes have counts less, so that pods do not heap up on one node.
//!
//! How many nodes have an image is taken when a node is looked at. Another node's pulling of it is
//! noticed when this one changes, as upstream's snapshot of image states is. An image's size is the
//! same on all nodes: the first that has it tells.

use std::sync::Arc;

use crate::{
    cache::{Cache, NodeInfo, class::Class},
    framework::{BeginScore, LocalScore, MAX_SCORE, Normalize, Plugin, ScorePlugin},
    queue::events::ClusterEvents,
};

const MEBIBYTE: i64 = 1024 * 1024;
/// Below this sum nothing is gained.
const MIN_THRESHOLD: i64 = 23 * MEBIBYTE;
/// Per container, above this nothing more is gained.
const MAX_CONTAINER_THRESHOLD: i64 = 1000 * MEBIBYTE;

/// See the module.
pub struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NONE
    }
}

impl ScorePlugin for ImageLocality {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> BeginScore {
        if class.images.is_empty() {
            return BeginScore::Skip;
        }
        BeginScore::Local(Box::new(Wanted(class.clone())), Normalize::Already)
    }
}

struct Wanted(Arc<Class>);

impl LocalScore for Wanted {
    fn score(&self, cache: &Cache, node: &NodeInfo) -> i64 {
        if node.images.is_empty() {
            return 0;
        }
        let nodes = cache.len().max(1) as f64;
        let worth = |image: &str| {
            node.images.get(image)?;
            let state = cache.image(image);
            let spread = state.nodes as f64 / nodes;
            Some((state.size as f64 * spread) as i64)
        };
        let sum: i64 = self.0.images.iter().filter_map(|i| worth(i)).sum();
        let containers = i64::try_from(self.0.containers.max(1)).unwrap_or(i64::MAX);
        let most = MAX_CONTAINER_THRESHOLD.saturating_mul(containers);
        let clamped = sum.clamp(MIN_THRESHOLD, most);
        MAX_SCORE * (clamped - MIN_THRESHOLD) / (most - MIN_THRESHOLD)
    }
}
