//! ImageLocality: prefers nodes that have the pod's images, the more the bigger they are; an image
//! that few nodes have counts less, so that pods do not heap up on one node.

use crate::{
    cache::{Cache, NodeInfo, PodInfo},
    framework::{MAX_SCORE, NodeScore, Plugin, ScorePlugin},
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
    fn begin<'c>(
        &'c self,
        pod: &'c PodInfo,
        cache: &'c Cache,
        _: &[&'c NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'c>> {
        let spec = pod.spec();
        let images: Vec<String> = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .filter_map(|c| c.image.as_deref())
            .map(normalized)
            .collect();
        Some(Box::new(Wanted {
            images,
            cache,
            nodes: cache.len() as i64,
        }))
    }
}

/// With the tag `latest` where neither tag nor digest is given.
fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') {
        image.to_string()
    } else {
        format!("{image}:latest")
    }
}

struct Wanted<'c> {
    images: Vec<String>,
    cache: &'c Cache,
    nodes: i64,
}

impl NodeScore for Wanted<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let sum: i64 = self
            .images
            .iter()
            .filter_map(|image| {
                let size = *node.images.get(image.as_str())?;
                let spread = self.cache.nodes_with_image(image) as f64 / self.nodes.max(1) as f64;
                Some((size as f64 * spread) as i64)
            })
            .sum();
        let most = MAX_CONTAINER_THRESHOLD * self.images.len().max(1) as i64;
        let clamped = sum.clamp(MIN_THRESHOLD, most);
        MAX_SCORE * (clamped - MIN_THRESHOLD) / (most - MIN_THRESHOLD)
    }
}
