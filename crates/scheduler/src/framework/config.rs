//! `KubeSchedulerConfiguration` v1: the scheduler's configuration file, and the profiles it makes.
//!
//! What only tunes upstream's sampling and concurrency (`parallelism`, `percentageOfNodesToScore`) is
//! accepted and has no effect: every node is always looked at, by one loop.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{NodeAffinity as Affinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::Value;

use super::profile::Arguments;
use crate::plugins::{
    inter_pod_affinity::InterPodAffinity, node_resources_fit::Strategy,
    pod_topology_spread::PodTopologySpread,
};
use crate::{bind::Patience, extenders};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not YAML of the expected shape.
    #[error("{0}")]
    Syntax(String),
    /// A value is wrong.
    #[error("{field}: {why}")]
    Invalid {
        /// Where.
        field: String,
        /// Why.
        why: String,
    },
}

fn invalid(field: impl Into<String>, why: impl Into<String>) -> ConfigError {
    ConfigError::Invalid {
        field: field.into(),
        why: why.into(),
    }
}

/// What a file says.
#[derive(Clone)]
pub struct Configuration {
    /// One scheduler name each.
    pub profiles: Vec<Profile>,
    /// Programs that are asked beside the plugins.
    pub extenders: Vec<Extender>,
    /// First and longest wait between two tries of one pod.
    pub backoff: (Duration, Duration),
    /// How long what pods need may take to be theirs.
    pub patience: Patience,
}

impl Default for Configuration {
    fn default() -> Configuration {
        Configuration {
            profiles: vec![Profile::default()],
            extenders: Vec::new(),
            backoff: (Duration::from_secs(1), Duration::from_secs(10)),
            patience: Patience {
                volumes: Duration::from_secs(600),
                devices: Duration::from_secs(600),
            },
        }
    }
}

/// One profile, defaults and its own settings together.
#[derive(Clone)]
pub struct Profile {
    /// `spec.schedulerName` of the pods it places.
    pub scheduler_name: String,
    /// Names of filtering plugins in order.
    pub filters: Vec<String>,
    /// Names of scoring plugins with their weights.
    pub scorers: Vec<(String, i64)>,
    /// Whether DefaultPreemption is on.
    pub preempts: bool,
    /// The plugins' arguments.
    pub args: Arguments,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            scheduler_name: "default-scheduler".into(),
            filters: point(FILTERS),
            scorers: PLUGINS
                .iter()
                .filter(|(name, _)| SCORERS.contains(name))
                .map(|(name, weight)| ((*name).to_owned(), *weight))
                .collect(),
            preempts: true,
            args: Arguments::default(),
        }
    }
}

/// Upstream's default plugins in order, with their weights.
const PLUGINS: &[(&str, i64)] = &[
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
];
/// Those that filter.
const FILTERS: &[&str] = &[
    "NodeUnschedulable",
    "NodeName",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeBinding",
    "VolumeZone",
    "PodTopologySpread",
    "InterPodAffinity",
    "DynamicResources",
    "NodeDeclaredFeatures",
];
/// Those that score.
const SCORERS: &[&str] = &[
    "TaintToleration",
    "NodeAffinity",
    "NodeResourcesFit",
    "PodTopologySpread",
    "InterPodAffinity",
    "DynamicResources",
    "NodeResourcesBalancedAllocation",
    "ImageLocality",
];

fn point(names: &[&str]) -> Vec<String> {
    let all = PLUGINS.iter().map(|(name, _)| *name);
    all.filter(|n| names.contains(n))
        .map(str::to_owned)
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    profiles: Vec<FileProfile>,
    #[serde(default)]
    extenders: Vec<Extender>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    /// Accepted; see the module.
    #[serde(rename = "parallelism")]
    _parallelism: Option<i32>,
    #[serde(rename = "percentageOfNodesToScore")]
    _percentage: Option<i32>,
    /// Set by flags here.
    #[serde(rename = "leaderElection")]
    _election: Option<Value>,
    #[serde(rename = "clientConnection")]
    _connection: Option<Value>,
    #[serde(rename = "enableProfiling")]
    _profiling: Option<bool>,
    #[serde(rename = "enableContentionProfiling")]
    _contention: Option<bool>,
    #[serde(rename = "delayCacheUntilActive")]
    _delay: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileProfile {
    scheduler_name: Option<String>,
    #[serde(default)]
    plugins: Plugins,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
    #[serde(rename = "percentageOfNodesToScore")]
    _percentage: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Plugins {
    multi_point: PluginSet,
    pre_enqueue: PluginSet,
    queue_sort: PluginSet,
    pre_filter: PluginSet,
    filter: PluginSet,
    post_filter: PluginSet,
    pre_score: PluginSet,
    score: PluginSet,
    reserve: PluginSet,
    permit: PluginSet,
    pre_bind: PluginSet,
    bind: PluginSet,
    post_bind: PluginSet,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PluginSet {
    enabled: Vec<PluginRef>,
    disabled: Vec<PluginRef>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginRef {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfig {
    name: String,
    args: Value,
}

/// A program asked over HTTP.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Extender {
    /// Where it is.
    pub url_prefix: String,
    /// Path under the prefix for filtering; none when it does not.
    pub filter_verb: String,
    /// For choosing victims.
    pub preempt_verb: String,
    /// For scoring.
    pub prioritize_verb: String,
    /// What its scores are multiplied by.
    pub weight: i64,
    /// For binding.
    pub bind_verb: String,
    /// Speak TLS.
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    /// How.
    pub tls_config: Option<Value>,
    /// How long it may take, as Go writes durations.
    pub http_timeout: String,
    /// It knows the nodes, so that names are enough.
    pub node_cache_capable: bool,
    /// Only pods that ask for one of these concern it.
    pub managed_resources: Vec<ManagedResource>,
    /// Pods are placed without it when it fails.
    pub ignorable: bool,
}

/// A resource an extender manages.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagedResource {
    /// Its name.
    pub name: String,
    /// NodeResourcesFit does not check it.
    #[serde(default)]
    pub ignored_by_scheduler: bool,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Configuration, ConfigError> {
    let file: File =
        serde_saphyr::from_str(text).map_err(|e| ConfigError::Syntax(e.to_string()))?;
    if (file.api_version.as_str(), file.kind.as_str())
        != (
            "kubescheduler.config.k8s.io/v1",
            "KubeSchedulerConfiguration",
        )
    {
        return Err(ConfigError::Syntax(format!(
            "no kind \"{}\" is registered for version \"{}\"; expected KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1",
            file.kind, file.api_version
        )));
    }
    let seconds = |field: &str, value: Option<i64>, otherwise: u64| match value {
        None => Ok(otherwise),
        Some(s) => u64::try_from(s)
            .ok()
            .filter(|s| *s > 0)
            .ok_or_else(|| invalid(field, "must be greater than 0")),
    };
    let initial = seconds(
        "podInitialBackoffSeconds",
        file.pod_initial_backoff_seconds,
        1,
    )?;
    let longest = seconds("podMaxBackoffSeconds", file.pod_max_backoff_seconds, 10)?;
    if longest < initial {
        return Err(invalid(
            "podMaxBackoffSeconds",
            "must be greater than or equal to PodInitialBackoffSeconds",
        ));
    }
    let mut configuration = Configuration {
        backoff: (Duration::from_secs(initial), Duration::from_secs(longest)),
        ..Configuration::default()
    };
    for (index, extender) in file.extenders.iter().enumerate() {
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            return Err(invalid(
                format!("extenders[{index}].weight"),
                "must have a positive weight applied to it",
            ));
        }
    }
    let mut names = BTreeSet::new();
    let mut profiles = Vec::new();
    for (index, profile) in file.profiles.into_iter().enumerate() {
        let at = format!("profiles[{index}]");
        let profile = read_profile(profile, &at, &mut configuration.patience)?;
        if !names.insert(profile.scheduler_name.clone()) {
            let name = &profile.scheduler_name;
            return Err(invalid(
                format!("{at}.schedulerName"),
                format!("Duplicate value: \"{name}\""),
            ));
        }
        profiles.push(profile);
    }
    if !profiles.is_empty() {
        configuration.profiles = profiles;
    }
    for profile in &mut configuration.profiles {
        let managed = file.extenders.iter().flat_map(|e| &e.managed_resources);
        let ignored = managed.filter(|r| r.ignored_by_scheduler);
        profile
            .args
            .fit
            .ignored
            .extend(ignored.map(|r| r.name.clone()));
    }
    configuration.extenders = file.extenders;
    Ok(configuration)
}

fn read_profile(
    profile: FileProfile,
    at: &str,
    patience: &mut Patience,
) -> Result<Profile, ConfigError> {
    let plugins = &profile.plugins;
    let all = [
        ("multiPoint", &plugins.multi_point),
        ("preEnqueue", &plugins.pre_enqueue),
        ("queueSort", &plugins.queue_sort),
        ("preFilter", &plugins.pre_filter),
        ("filter", &plugins.filter),
        ("postFilter", &plugins.post_filter),
        ("preScore", &plugins.pre_score),
        ("score", &plugins.score),
        ("reserve", &plugins.reserve),
        ("permit", &plugins.permit),
        ("preBind", &plugins.pre_bind),
        ("bind", &plugins.bind),
        ("postBind", &plugins.post_bind),
    ];
    for (point, set) in all {
        for plugin in &set.enabled {
            if !PLUGINS.iter().any(|(name, _)| *name == plugin.name) {
                return Err(invalid(
                    format!("{at}.plugins.{point}.enabled"),
                    format!("{} does not exist", plugin.name),
                ));
            }
        }
    }
    let multi = &plugins.multi_point;
    let mut own = Profile {
        scheduler_name: profile
            .scheduler_name
            .unwrap_or_else(|| "default-scheduler".into()),
        args: Arguments::default(),
        filters: enabled(FILTERS, multi, &plugins.filter)
            .into_iter()
            .map(|(name, _)| name)
            .collect(),
        scorers: enabled(SCORERS, multi, &plugins.score),
        preempts: !enabled(&["DefaultPreemption"], multi, &plugins.post_filter).is_empty(),
    };
    for (index, config) in profile.plugin_config.iter().enumerate() {
        let at = format!("{at}.pluginConfig[{index}].args");
        read_args(&config.name, &config.args, &at, &mut own.args, patience)?;
    }
    Ok(own)
}

/// The plugins at one extension point: the defaults as `multiPoint` leaves them, then what is said of
/// the point itself, which comes first.
fn enabled(names: &[&str], multi: &PluginSet, own: &PluginSet) -> Vec<(String, i64)> {
    let disabled = |set: &PluginSet, name: &str| {
        let mut all = set.disabled.iter();
        all.any(|p| p.name == "*" || p.name == name)
    };
    let default_weight = |name: &str| {
        let weight = PLUGINS.iter().find(|(n, _)| *n == name).map(|(_, w)| *w);
        weight.unwrap_or_default().max(1)
    };
    let weigh = |p: &PluginRef| (p.name.clone(), p.weight.unwrap_or(0));
    let listed = |set: &PluginSet| -> Vec<(String, i64)> {
        let known = set.enabled.iter().filter(|p| names.contains(&&*p.name));
        known.map(weigh).collect()
    };
    let mut all: Vec<(String, i64)> = point(names)
        .into_iter()
        .filter(|name| !disabled(multi, name))
        .map(|name| {
            let weight = default_weight(&name);
            (name, weight)
        })
        .collect();
    for (name, weight) in listed(multi) {
        let weight = if weight > 0 {
            weight
        } else {
            default_weight(&name)
        };
        match all.iter_mut().find(|(n, _)| *n == name) {
            Some(there) => there.1 = weight,
            None => all.push((name, weight)),
        }
    }
    all.retain(|(name, _)| !disabled(own, name));
    let mut first: Vec<(String, i64)> = Vec::new();
    for (name, weight) in listed(own) {
        all.retain(|(n, _)| *n != name);
        first.push((name, weight.max(1)));
    }
    first.extend(all);
    first
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpec {
    name: String,
    #[serde(default)]
    weight: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapePoint {
    utilization: i64,
    #[serde(default)]
    score: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    shape: Vec<ShapePoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScoringStrategy {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    resources: Vec<ResourceSpec>,
    requested_to_capacity_ratio: Option<Ratio>,
}

/// The arguments of all plugins that take some. Which plugin they are given to decides which fields
/// may be there.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Args {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
    resources: Option<Vec<ResourceSpec>>,
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: bool,
    added_affinity: Option<Affinity>,
    default_constraints: Option<Vec<TopologySpreadConstraint>>,
    defaulting_type: Option<String>,
    bind_timeout_seconds: Option<i64>,
    #[serde(rename = "shape")]
    _shape: Option<Value>,
    #[serde(rename = "minCandidateNodesPercentage")]
    _percentage: Option<i64>,
    #[serde(rename = "minCandidateNodesAbsolute")]
    _absolute: Option<i64>,
    #[serde(rename = "filterTimeout")]
    _filter_timeout: Option<Value>,
    binding_timeout: Option<String>,
}

fn read_args(
    plugin: &str,
    value: &Value,
    at: &str,
    out: &mut Arguments,
    patience: &mut Patience,
) -> Result<(), ConfigError> {
    let args: Args =
        serde_json::from_value(value.clone()).map_err(|e| invalid(at, e.to_string()))?;
    match plugin {
        "NodeResourcesFit" => {
            out.fit.ignored.extend(args.ignored_resources);
            out.fit.ignored_groups.extend(args.ignored_resource_groups);
            if let Some(strategy) = args.scoring_strategy {
                let at = format!("{at}.scoringStrategy");
                out.fit.strategy = read_strategy(&strategy, &at)?;
                if !strategy.resources.is_empty() {
                    out.fit.resources = resources(strategy.resources, &at)?;
                }
            }
        }
        "NodeResourcesBalancedAllocation" => {
            if let Some(list) = args.resources.filter(|r| !r.is_empty()) {
                let names = resources(list, at)?.into_iter().map(|(name, _)| name);
                out.balanced.resources = names.collect();
            }
        }
        "InterPodAffinity" => {
            let weight = args.hard_pod_affinity_weight.unwrap_or(1);
            if !(0..=100).contains(&weight) {
                let field = format!("{at}.hardPodAffinityWeight");
                return Err(invalid(field, "not in valid range [0-100]"));
            }
            out.inter_pod = InterPodAffinity {
                hard_weight: weight,
                ignore_placed: args.ignore_preferred_terms_of_existing_pods,
            };
        }
        "NodeAffinity" => out.added_affinity = Arc::new(args.added_affinity.unwrap_or_default()),
        "PodTopologySpread" => {
            let constraints = args.default_constraints.unwrap_or_default();
            match args.defaulting_type.as_deref().unwrap_or("System") {
                "System" if constraints.is_empty() => out.spread = PodTopologySpread::default(),
                "System" => {
                    let field = format!("{at}.defaultingType");
                    let why = "when .defaultConstraints are not empty, must be \"List\"";
                    return Err(invalid(field, why));
                }
                "List" => {
                    if constraints.iter().any(|c| c.label_selector.is_some()) {
                        let field = format!("{at}.defaultConstraints");
                        let why =
                            "constraint must not define a selector, as they deduced for each pod";
                        return Err(invalid(field, why));
                    }
                    out.spread = PodTopologySpread {
                        defaults: constraints,
                        system: false,
                    };
                }
                other => {
                    return Err(invalid(
                        format!("{at}.defaultingType"),
                        format!(
                            "Unsupported value: \"{other}\": supported values: \"List\", \"System\""
                        ),
                    ));
                }
            }
        }
        "VolumeBinding" => {
            if let Some(seconds) = args.bind_timeout_seconds {
                let seconds = u64::try_from(seconds).map_err(|_| {
                    let field = format!("{at}.bindTimeoutSeconds");
                    invalid(
                        field,
                        "invalid BindTimeoutSeconds, should not be a negative value",
                    )
                })?;
                patience.volumes = Duration::from_secs(seconds);
            }
        }
        "DynamicResources" => {
            if let Some(text) = args.binding_timeout {
                patience.devices = extenders::duration(&text)
                    .ok_or_else(|| invalid(format!("{at}.bindingTimeout"), "must be a duration"))?;
            }
        }
        "DefaultPreemption" => {}
        other => {
            return Err(invalid(
                at,
                format!("plugin \"{other}\" takes no arguments"),
            ));
        }
    }
    Ok(())
}

fn resources(list: Vec<ResourceSpec>, at: &str) -> Result<Vec<(Box<str>, i64)>, ConfigError> {
    list.into_iter()
        .map(|r| match r.weight {
            0 => Ok((r.name.into(), 1)),
            1..=100 => Ok((r.name.into(), r.weight)),
            other => Err(invalid(
                format!("{at}.resources"),
                format!(
                    "resource weight of {} not in valid range [1-100], got {other}",
                    r.name
                ),
            )),
        })
        .collect()
}

fn read_strategy(strategy: &ScoringStrategy, at: &str) -> Result<Strategy, ConfigError> {
    match strategy.kind.as_deref().unwrap_or("LeastAllocated") {
        "LeastAllocated" => Ok(Strategy::LeastAllocated),
        "MostAllocated" => Ok(Strategy::MostAllocated),
        "RequestedToCapacityRatio" => {
            let at = format!("{at}.requestedToCapacityRatio.shape");
            let ratio = strategy.requested_to_capacity_ratio.as_ref();
            let shape = ratio.map(|r| r.shape.as_slice()).unwrap_or_default();
            if shape.is_empty() {
                return Err(invalid(at, "at least one point must be specified"));
            }
            for pair in shape.windows(2) {
                if pair[0].utilization >= pair[1].utilization {
                    return Err(invalid(
                        at,
                        "utilization values must be sorted in increasing order",
                    ));
                }
            }
            if shape
                .iter()
                .any(|p| !(0..=100).contains(&p.utilization) || !(0..=10).contains(&p.score))
            {
                return Err(invalid(
                    at,
                    "utilization must be within 0 and 100, score within 0 and 10",
                ));
            }
            // Scores are written in tenths.
            let points = shape.iter().map(|p| (p.utilization, p.score * 10));
            Ok(Strategy::RequestedToCapacityRatio(points.collect()))
        }
        other => Err(invalid(
            format!("{at}.type"),
            format!(
                "Unsupported value: \"{other}\": supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\""
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
