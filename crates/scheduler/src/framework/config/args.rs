//! The arguments of a profile's plugins, `pluginConfig`.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{NodeAffinity as Affinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::Value;

use super::{ConfigError, checks, invalid};
use crate::{
    bind::Patience,
    extenders,
    framework::profile::Arguments,
    plugins::{
        inter_pod_affinity::InterPodAffinity, node_resources_fit::Strategy,
        pod_topology_spread::PodTopologySpread,
    },
};

/// The plugins that take arguments, with the fields there are.
const TAKERS: &[(&str, &[&str])] = &[
    (
        "NodeResourcesFit",
        &[
            "ignoredResources",
            "ignoredResourceGroups",
            "scoringStrategy",
        ],
    ),
    ("NodeResourcesBalancedAllocation", &["resources"]),
    (
        "InterPodAffinity",
        &[
            "hardPodAffinityWeight",
            "ignorePreferredTermsOfExistingPods",
        ],
    ),
    ("NodeAffinity", &["addedAffinity"]),
    (
        "PodTopologySpread",
        &["defaultConstraints", "defaultingType"],
    ),
    ("VolumeBinding", &["bindTimeoutSeconds", "shape"]),
    ("DynamicResources", &["filterTimeout", "bindingTimeout"]),
    (
        "DefaultPreemption",
        &["minCandidateNodesPercentage", "minCandidateNodesAbsolute"],
    ),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpec {
    #[serde(default)]
    name: String,
    #[serde(default)]
    weight: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapePoint {
    #[serde(default)]
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
    shape: Option<Value>,
    #[serde(rename = "minCandidateNodesPercentage")]
    percentage: Option<i64>,
    #[serde(rename = "minCandidateNodesAbsolute")]
    absolute: Option<i64>,
    filter_timeout: Option<String>,
    binding_timeout: Option<String>,
}

/// Reads the arguments of one plugin.
pub(super) fn read(
    plugin: &str,
    value: &Value,
    at: &str,
    out: &mut Arguments,
    patience: &mut Patience,
) -> Result<(), ConfigError> {
    let Some((_, fields)) = TAKERS.iter().find(|(name, _)| *name == plugin) else {
        // Upstream keeps what it does not know for plugins that are not its own.
        return Ok(());
    };
    checks::fields(plugin, fields, value, at)?;
    let value = Some(value).filter(|v| !v.is_null()).cloned();
    let value = value.unwrap_or_else(|| Value::Object(Default::default()));
    let args: Args = serde_json::from_value(value).map_err(|e| invalid(at, e.to_string()))?;
    match plugin {
        "NodeResourcesFit" => {
            checks::ignored(&args.ignored_resources, &args.ignored_resource_groups, at)?;
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
                for (index, one) in list.iter().enumerate() {
                    if !(0..=1).contains(&one.weight) {
                        let field = format!("{at}.resources[{index}].weight");
                        return Err(invalid(field, "must be 1"));
                    }
                    if list[..index].iter().any(|other| other.name == one.name) {
                        let field = format!("{at}.resources[{index}].name");
                        return Err(invalid(field, format!("Duplicate value: \"{}\"", one.name)));
                    }
                }
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
        "NodeAffinity" => {
            let added = args.added_affinity.unwrap_or_default();
            checks::affinity(&added, &format!("{at}.addedAffinity"))?;
            out.added_affinity = Arc::new(added);
        }
        "PodTopologySpread" => {
            let constraints = args.default_constraints.unwrap_or_default();
            checks::constraints(&constraints, &format!("{at}.defaultConstraints"))?;
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
            if args.shape.is_some() {
                let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
                return Err(invalid(format!("{at}.shape"), why));
            }
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
            if args.filter_timeout.is_some_and(|t| t.starts_with('-')) {
                let why = "must be zero or positive";
                return Err(invalid(format!("{at}.filterTimeout"), why));
            }
            if let Some(text) = args.binding_timeout {
                patience.devices = extenders::duration(&text)
                    .filter(|timeout| *timeout >= Duration::from_secs(1))
                    .ok_or_else(|| {
                        invalid(format!("{at}.bindingTimeout"), "must be at least 1 second")
                    })?;
            }
        }
        "DefaultPreemption" => {
            let percentage = args.percentage.unwrap_or(10);
            let absolute = args.absolute.unwrap_or(100);
            if !(0..=100).contains(&percentage) {
                let field = format!("{at}.minCandidateNodesPercentage");
                return Err(invalid(field, "not in valid range [0, 100]"));
            }
            if absolute < 0 {
                let field = format!("{at}.minCandidateNodesAbsolute");
                return Err(invalid(field, "not in valid range [0, inf)"));
            }
            if (percentage, absolute) == (0, 0) {
                let field = format!("{at}.minCandidateNodesPercentage");
                let why = "cannot be zero at the same time as minCandidateNodesAbsolute";
                return Err(invalid(field, why));
            }
        }
        _ => {}
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
    let kind = strategy.kind.as_deref().unwrap_or_default();
    if strategy.requested_to_capacity_ratio.is_some() && kind != "RequestedToCapacityRatio" {
        return Err(invalid(
            format!("{at}.requestedToCapacityRatio"),
            "must be nil when type is not RequestedToCapacityRatio",
        ));
    }
    match kind {
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
