//! Which plugins run, in which order and with which weight, under which scheduler name.

use super::{FilterPlugin, Plugin, PodFilterPlugin, ScorePlugin, config::Profile as Settings};
use crate::{
    plugins::{
        balanced_allocation::BalancedAllocation,
        declared_features::NodeDeclaredFeatures,
        devices::plugin::{self as devices, DynamicResources, Released},
        image_locality::ImageLocality,
        inter_pod_affinity::InterPodAffinity,
        node_affinity::NodeAffinity,
        node_name::NodeName,
        node_ports::NodePorts,
        node_resources_fit::NodeResourcesFit,
        node_unschedulable::NodeUnschedulable,
        pod_topology_spread::PodTopologySpread,
        taint_toleration::TaintToleration,
        volumes::{
            binding::VolumeBinding, limits::NodeVolumeLimits, restrictions::VolumeRestrictions,
            zone::VolumeZone,
        },
    },
    queue::events::ClusterEvents,
};

/// A filter, by what its answer depends on.
pub enum Filter {
    /// The pod's class.
    Class(Box<dyn FilterPlugin>),
    /// The pod itself.
    Pod(Box<dyn PodFilterPlugin>),
}

impl Filter {
    /// The plugin.
    pub fn plugin(&self) -> &dyn Plugin {
        match self {
            Filter::Class(plugin) => &**plugin,
            Filter::Pod(plugin) => &**plugin,
        }
    }
}

/// One scheduler name's plugins.
pub struct Profile {
    /// `spec.schedulerName` of the pods it places.
    pub scheduler_name: Box<str>,
    /// In the order they are asked; the first rejection of a node ends its check.
    pub filters: Vec<Filter>,
    /// With their weights.
    pub scorers: Vec<(Box<dyn ScorePlugin>, i64)>,
    /// Whether DefaultPreemption is on.
    pub preempts: bool,
    /// How much the alternatives count that claims for devices got.
    pub device_weight: i64,
    spread_over: Vec<Box<str>>,
}

/// What upstream says after a plugin has rejected a pod for all nodes before it came to the pod's
/// claims: it looks for what it knows of them, and does not find it.
pub const NOT_FOUND: &str = "not found";

impl Profile {
    /// Upstream's default plugins and weights.
    pub fn default_profile() -> Profile {
        Profile::of(Settings::default())
    }

    /// The plugins that settings turn on.
    pub fn of(settings: Settings) -> Profile {
        let args = settings.args;
        let defaults = args.spread.defaults.iter();
        let spread_over = defaults.map(|c| c.topology_key.as_str().into()).collect();
        let class = |plugin: Box<dyn FilterPlugin>| Filter::Class(plugin);
        let affinity = || NodeAffinity {
            added: args.added_affinity.clone(),
        };
        let all_filters = [
            class(Box::new(NodeUnschedulable)),
            class(Box::new(NodeName)),
            class(Box::new(TaintToleration)),
            class(Box::new(affinity())),
            class(Box::new(NodePorts)),
            class(Box::new(args.fit.clone())),
            Filter::Pod(Box::new(VolumeRestrictions)),
            Filter::Pod(Box::new(NodeVolumeLimits)),
            Filter::Pod(Box::new(VolumeBinding)),
            Filter::Pod(Box::new(VolumeZone)),
            class(Box::new(args.spread.clone())),
            class(Box::new(args.inter_pod.clone())),
            Filter::Pod(Box::new(DynamicResources)),
            class(Box::new(NodeDeclaredFeatures)),
        ];
        let all_scorers: [Box<dyn ScorePlugin>; 7] = [
            Box::new(TaintToleration),
            Box::new(affinity()),
            Box::new(args.fit.clone()),
            Box::new(args.spread.clone()),
            Box::new(args.inter_pod.clone()),
            Box::new(args.balanced.clone()),
            Box::new(ImageLocality),
        ];
        let mut filters: Vec<(usize, Filter)> = all_filters
            .into_iter()
            .filter_map(|f| {
                Some((
                    settings
                        .filters
                        .iter()
                        .position(|n| n == f.plugin().name())?,
                    f,
                ))
            })
            .collect();
        filters.sort_by_key(|(order, _)| *order);
        let weights = &settings.scorers;
        let scorers = all_scorers
            .into_iter()
            .filter_map(|s| {
                let weight = weights.iter().find(|(n, _)| n == s.name())?.1;
                Some((s, weight))
            })
            .collect();
        Profile {
            scheduler_name: settings.scheduler_name.into(),
            filters: filters.into_iter().map(|(_, f)| f).collect(),
            scorers,
            preempts: settings.preempts,
            device_weight: weights
                .iter()
                .find(|(name, _)| name == devices::NAME)
                .map_or(0, |(_, weight)| *weight),
            spread_over,
        }
    }

    /// What is said of claims for devices when the plugin `by` has rejected a pod for all nodes; none
    /// where claims are nobody's business.
    pub fn said_of_devices(&self, by: &str) -> Option<&'static str> {
        let order = |name: &str| self.filters.iter().position(|f| f.plugin().name() == name);
        let devices = order(devices::NAME)?;
        Some(match order(by) {
            Some(by) if by < devices => NOT_FOUND,
            _ => Released::Nothing.message(),
        })
    }

    /// The node labels that its default constraints spread over.
    pub fn topology_keys(&self) -> impl Iterator<Item = &str> {
        self.spread_over.iter().map(|key| &**key)
    }

    /// What pods rejected by these plugins wait for. Without nodes, any node helps.
    pub fn hints<'p>(&self, plugins: impl IntoIterator<Item = &'p &'static str>) -> ClusterEvents {
        // Of what an extender waits for nothing is known.
        let hints = |name: &str| self.plugin(name).map_or(ClusterEvents::ALL, Plugin::hints);
        let plugins = plugins.into_iter();
        plugins.fold(ClusterEvents::NODE_ADD, |all, name| all | hints(name))
    }

    /// Whether the plugin asks the same of all pods of a class.
    pub fn asks_of_classes(&self, name: &str) -> bool {
        let mut all = self.filters.iter();
        all.any(|f| matches!(f, Filter::Class(p) if p.name() == name))
    }

    /// A filtering plugin by name.
    pub fn plugin(&self, name: &str) -> Option<&dyn Plugin> {
        let mut all = self.filters.iter().map(Filter::plugin);
        all.find(|p| p.name() == name)
    }
}

/// The plugins' arguments, `pluginConfig` of a profile.
#[derive(Clone, Default)]
pub struct Arguments {
    /// NodeResourcesFitArgs.
    pub fit: NodeResourcesFit,
    /// NodeResourcesBalancedAllocationArgs.
    pub balanced: BalancedAllocation,
    /// InterPodAffinityArgs.
    pub inter_pod: InterPodAffinity,
    /// PodTopologySpreadArgs.
    pub spread: PodTopologySpread,
    /// NodeAffinityArgs.
    pub added_affinity: std::sync::Arc<k8s_openapi::api::core::v1::NodeAffinity>,
}
