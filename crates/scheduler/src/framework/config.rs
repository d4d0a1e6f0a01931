//! `KubeSchedulerConfiguration` v1: the scheduler's configuration file, and the profiles it makes.
//!
//! What only tunes upstream's sampling and concurrency (`parallelism`, `percentageOfNodesToScore`) is
//! accepted and has no effect: every node is always looked at, by one loop.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::profile::Arguments;
use crate::bind::Patience;

mod args;
mod checks;

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
    /// Checked, and without effect; see the module.
    parallelism: Option<i32>,
    #[serde(rename = "percentageOfNodesToScore")]
    percentage: Option<i32>,
    /// Set by flags here; checked.
    #[serde(rename = "leaderElection")]
    election: Option<Value>,
    #[serde(rename = "clientConnection")]
    connection: Option<Value>,
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
    percentage: Option<i32>,
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

#[derive(Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct PluginSet {
    enabled: Vec<PluginRef>,
    disabled: Vec<PluginRef>,
}

#[derive(Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct PluginRef {
    name: String,
    weight: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(default)]
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

impl Plugins {
    /// Each extension point by name.
    fn points(&self) -> [(&'static str, &PluginSet); 13] {
        [
            ("multiPoint", &self.multi_point),
            ("preEnqueue", &self.pre_enqueue),
            ("queueSort", &self.queue_sort),
            ("preFilter", &self.pre_filter),
            ("filter", &self.filter),
            ("postFilter", &self.post_filter),
            ("preScore", &self.pre_score),
            ("score", &self.score),
            ("reserve", &self.reserve),
            ("permit", &self.permit),
            ("preBind", &self.pre_bind),
            ("bind", &self.bind),
            ("postBind", &self.post_bind),
        ]
    }
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
    checks::file(&file)?;
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
    checks::plugins(plugins, at)?;
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
        args::read(&config.name, &config.args, &at, &mut own.args, patience)?;
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
    let weigh = |p: &PluginRef| (p.name.clone(), i64::from(p.weight.unwrap_or(0).max(1)));
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
        match all.iter_mut().find(|(n, _)| *n == name) {
            Some(there) => there.1 = weight,
            None => all.push((name, weight)),
        }
    }
    all.retain(|(name, _)| !disabled(own, name));
    let mut first: Vec<(String, i64)> = Vec::new();
    for (name, weight) in listed(own) {
        all.retain(|(n, _)| *n != name);
        first.push((name, weight));
    }
    first.extend(all);
    first
}

#[cfg(test)]
mod tests;
