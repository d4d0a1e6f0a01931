//! What must hold of a configuration beyond its shape, in upstream's words.

use std::{collections::BTreeSet, time::Duration};

use api::names;
use k8s_openapi::api::core::v1::{
    NodeAffinity as Affinity, NodeSelectorTerm, TopologySpreadConstraint,
};
use serde_json::Value;

use super::{ConfigError, Extender, FILTERS, File, PLUGINS, Plugins, SCORERS, enabled, invalid};
use crate::extenders::duration;

type Checked = Result<(), ConfigError>;

fn range(field: &str, percentage: Option<i32>) -> Checked {
    match percentage {
        Some(p) if !(0..=100).contains(&p) => Err(invalid(
            field,
            format!("Invalid value: {p}: not in valid range [0-100]"),
        )),
        _ => Ok(()),
    }
}

/// The parts that are not about one profile alone.
pub(super) fn file(file: &File) -> Checked {
    if let Some(number) = file.parallelism.filter(|p| *p <= 0) {
        let why = format!("Invalid value: {number}: should be an integer value greater than zero");
        return Err(invalid("parallelism", why));
    }
    range("percentageOfNodesToScore", file.percentage)?;
    let burst = file.connection.as_ref().and_then(|c| c["burst"].as_i64());
    if burst.is_some_and(|b| b < 0) {
        return Err(invalid("clientConnection.burst", "must be non-negative"));
    }
    file.election.as_ref().map_or(Ok(()), election)?;
    for (index, profile) in file.profiles.iter().enumerate() {
        let at = format!("profiles[{index}]");
        range(
            &format!("{at}.percentageOfNodesToScore"),
            profile.percentage,
        )?;
        let name = profile.scheduler_name.as_deref();
        // One alone has the default name.
        if name == Some("") || (name.is_none() && file.profiles.len() > 1) {
            return Err(invalid(format!("{at}.schedulerName"), "Required value"));
        }
        if profile.plugins.queue_sort != file.profiles[0].plugins.queue_sort {
            let why = "must be the same for all profiles";
            return Err(invalid(format!("{at}.plugins.queueSort"), why));
        }
        let mut known = BTreeSet::new();
        for (index, config) in profile.plugin_config.iter().enumerate() {
            if !known.insert(&config.name) {
                let why = format!("Duplicate value: \"{}\"", config.name);
                return Err(invalid(format!("{at}.pluginConfig[{index}]"), why));
            }
        }
    }
    extenders(&file.extenders)
}

fn election(election: &Value) -> Checked {
    if election["leaderElect"].as_bool() == Some(false) {
        return Ok(());
    }
    let time = |field: &str, otherwise: u64| match election[field].as_str() {
        None => Ok(Duration::from_secs(otherwise)),
        // Upstream takes what is not there and nothing at all for the same.
        Some("0s" | "0" | "") => Ok(Duration::from_secs(otherwise)),
        Some(text) => duration(text).ok_or_else(|| {
            let field = format!("leaderElection.{field}");
            invalid(field, format!("invalid duration \"{text}\""))
        }),
    };
    let (lease, renew) = (time("leaseDuration", 15)?, time("renewDeadline", 10)?);
    time("retryPeriod", 2)?;
    if lease <= renew {
        let why = "must be greater than `RenewDeadline`";
        return Err(invalid("leaderElection.leaseDuration", why));
    }
    match election["resourceLock"].as_str() {
        None | Some("" | "leases") => Ok(()),
        Some(_) => Err(invalid(
            "leaderElection.resourceLock",
            "resourceLock value must be \"leases\"",
        )),
    }
}

fn extenders(all: &[Extender]) -> Checked {
    let mut resources = BTreeSet::new();
    for (index, extender) in all.iter().enumerate() {
        let at = format!("extenders[{index}]");
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let why = "must have a positive weight applied to it";
            return Err(invalid(format!("{at}.weight"), why));
        }
        let timeout = extender.http_timeout.as_str();
        if !matches!(timeout, "" | "0" | "0s") && duration(timeout).is_none() {
            let why = format!("invalid duration \"{timeout}\"");
            return Err(invalid(format!("{at}.httpTimeout"), why));
        }
        for (index, resource) in extender.managed_resources.iter().enumerate() {
            let field = format!("{at}.managedResources[{index}].name");
            let name = resource.name.as_str();
            if let Some(wrong) = names::qualified_name(name).pop() {
                return Err(invalid(field, wrong));
            }
            if !name.contains('/') || name.contains("kubernetes.io/") {
                return Err(invalid(field, "is an invalid extended resource name"));
            }
            if !resources.insert(name) {
                let why = "duplicate extender managed resource name";
                return Err(invalid(field, why));
            }
        }
    }
    let binders = all.iter().filter(|e| !e.bind_verb.is_empty()).count();
    if binders > 1 {
        let why = format!("found {binders} extenders implementing bind");
        return Err(invalid("extenders", why));
    }
    Ok(())
}

/// The plugins of one profile.
pub(super) fn plugins(plugins: &Plugins, at: &str) -> Checked {
    for (point, set) in plugins.points() {
        let field = || format!("{at}.plugins.{point}.enabled");
        for (index, plugin) in set.enabled.iter().enumerate() {
            let name = plugin.name.as_str();
            if !PLUGINS.iter().any(|(known, _)| *known == name) {
                return Err(invalid(field(), format!("{name} does not exist")));
            }
            if set.enabled[..index].iter().any(|p| p.name == name) {
                return Err(invalid(field(), format!("{name} is already registered")));
            }
            let fits = match point {
                "filter" => FILTERS.contains(&name),
                "score" => SCORERS.contains(&name),
                "bind" => name == "DefaultBinder",
                "queueSort" => name == "PrioritySort",
                _ => true,
            };
            if !fits {
                let why = format!("{name} does not extend this point");
                return Err(invalid(field(), why));
            }
            if plugin.weight.is_some_and(|weight| weight < 0) {
                return Err(invalid(field(), "total score of plugins could overflow"));
            }
        }
    }
    if enabled(&["DefaultBinder"], &plugins.multi_point, &plugins.bind).is_empty() {
        let why = "at least one bind plugin is needed";
        return Err(invalid(format!("{at}.plugins.bind"), why));
    }
    Ok(())
}

/// The fields of a plugin's arguments.
pub(super) fn fields(plugin: &str, known: &[&str], args: &Value, at: &str) -> Checked {
    let kind = args["kind"].as_str();
    if kind.is_some_and(|kind| kind.strip_suffix("Args") != Some(plugin)) {
        let why = format!("args for plugin {plugin} were not of type {plugin}Args");
        return Err(invalid(at, why));
    }
    let mut names = args.as_object().into_iter().flat_map(|o| o.keys());
    let unknown = names.find(|name| {
        !known.contains(&name.as_str()) && !matches!(name.as_str(), "apiVersion" | "kind")
    });
    match unknown {
        Some(name) => Err(invalid(at, format!("unknown field \"{name}\""))),
        None => constraint_fields(&args["defaultConstraints"], at),
    }
}

fn constraint_fields(constraints: &Value, at: &str) -> Checked {
    const KNOWN: &[&str] = &[
        "maxSkew",
        "topologyKey",
        "whenUnsatisfiable",
        "labelSelector",
        "minDomains",
        "nodeAffinityPolicy",
        "nodeTaintsPolicy",
        "matchLabelKeys",
    ];
    for (index, constraint) in constraints.as_array().into_iter().flatten().enumerate() {
        let mut names = constraint.as_object().into_iter().flat_map(|o| o.keys());
        if let Some(name) = names.find(|name| !KNOWN.contains(&name.as_str())) {
            let why = format!("unknown field \"defaultConstraints[{index}].{name}\"");
            return Err(invalid(at, why));
        }
    }
    Ok(())
}

/// Resources that NodeResourcesFit is to ignore.
pub(super) fn ignored(resources: &[String], groups: &[String], at: &str) -> Checked {
    for (index, resource) in resources.iter().enumerate() {
        if let Some(wrong) = names::qualified_name(resource).pop() {
            return Err(invalid(format!("{at}.ignoredResources[{index}]"), wrong));
        }
    }
    for (index, group) in groups.iter().enumerate() {
        let field = format!("{at}.ignoredResourceGroups[{index}]");
        if group.contains('/') {
            return Err(invalid(field, "resource group name can't contain '/'"));
        }
        if let Some(wrong) = names::qualified_name(group).pop() {
            return Err(invalid(field, wrong));
        }
    }
    Ok(())
}

/// Default constraints of PodTopologySpread.
pub(super) fn constraints(all: &[TopologySpreadConstraint], at: &str) -> Checked {
    for (index, constraint) in all.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let (key, when) = (&constraint.topology_key, &constraint.when_unsatisfiable);
        if constraint.max_skew <= 0 {
            return Err(invalid(
                format!("{at}.maxSkew"),
                "not in valid range (0, inf)",
            ));
        }
        if key.is_empty() {
            let why = "Required value: can not be empty";
            return Err(invalid(format!("{at}.topologyKey"), why));
        }
        if let Some(wrong) = names::qualified_name(key).pop() {
            return Err(invalid(format!("{at}.topologyKey"), wrong));
        }
        if when.is_empty() {
            let why = "Required value: can not be empty";
            return Err(invalid(format!("{at}.whenUnsatisfiable"), why));
        }
        if !matches!(when.as_str(), "DoNotSchedule" | "ScheduleAnyway") {
            let why = format!(
                "Unsupported value: \"{when}\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\""
            );
            return Err(invalid(format!("{at}.whenUnsatisfiable"), why));
        }
        let same = |other: &TopologySpreadConstraint| {
            (&other.topology_key, &other.when_unsatisfiable) == (key, when)
        };
        if all[..index].iter().any(same) {
            return Err(invalid(
                at,
                format!("Duplicate value: \"{{{key}, {when}}}\""),
            ));
        }
    }
    Ok(())
}

/// An affinity that is added to every pod's.
pub(super) fn affinity(added: &Affinity, at: &str) -> Checked {
    let required = added
        .required_during_scheduling_ignored_during_execution
        .iter();
    for (index, one) in required.flat_map(|r| &r.node_selector_terms).enumerate() {
        let field = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
        term(one, &format!("{at}.{field}[{index}]"))?;
    }
    let preferred = added
        .preferred_during_scheduling_ignored_during_execution
        .iter();
    for (index, one) in preferred.flatten().enumerate() {
        let field = "preferredDuringSchedulingIgnoredDuringExecution";
        term(&one.preference, &format!("{at}.{field}[{index}]"))?;
    }
    Ok(())
}

fn term(term: &NodeSelectorTerm, at: &str) -> Checked {
    for (index, one) in term.match_expressions.iter().flatten().enumerate() {
        let at = format!("{at}.matchExpressions[{index}]");
        let values = one.values.as_deref().unwrap_or_default();
        let wrong = match one.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            "Gt" | "Lt" if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            "Gt" | "Lt" if values[0].parse::<i64>().is_err() => {
                Some("for 'Gt', 'Lt' operators, the value must be an integer")
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => None,
            other => {
                let why = format!(
                    "Unsupported value: \"{other}\": supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\""
                );
                return Err(invalid(format!("{at}.operator"), why));
            }
        };
        if let Some(wrong) = wrong {
            return Err(invalid(format!("{at}.values"), wrong));
        }
        if let Some(wrong) = names::qualified_name(&one.key).pop() {
            return Err(invalid(format!("{at}.key"), wrong));
        }
        let wrong = values
            .iter()
            .find_map(|value| names::label_value(value).pop());
        if let Some(wrong) = wrong {
            return Err(invalid(format!("{at}.values"), wrong));
        }
    }
    Ok(())
}
