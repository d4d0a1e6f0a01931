//! Extenders: programs that are asked over HTTP beside the plugins, which nodes will do, how they like
//! them, and to bind (`kube-scheduler/extender/v1`).
//!
//! Asked in the scheduling loop, one pod at a time as upstream does: an extender that is slow slows
//! scheduling of the pods it is interested in down to its own pace, and each call ends at
//! `httpTimeout`. Extenders are not asked about victims of preemption.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use http::Request;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    cache::PodInfo,
    framework::{
        MAX_SCORE,
        config::{ConfigError, Extender},
    },
};

/// The best score an extender gives.
const MAX_EXTENDER_SCORE: i64 = 10;
/// How long a call may take unless it is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The plugin name that pods are parked under.
pub const NAME: &str = "Extender";

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum ExtenderError {
    /// It could not be reached, or answered something else.
    #[error("extender {url}: {source}")]
    Call {
        /// Where it is.
        url: String,
        /// What went wrong.
        source: Box<kube::Error>,
    },
    /// It took too long.
    #[error("extender {0}: no answer in time")]
    Timeout(String),
    /// It said so itself.
    #[error("extender {url}: {why}")]
    Said {
        /// Where it is.
        url: String,
        /// Its words.
        why: String,
    },
}

struct One {
    settings: Extender,
    client: kube::Client,
    timeout: Duration,
}

/// All of them; clones share the connections.
#[derive(Clone, Default)]
pub struct Extenders(Arc<Vec<One>>);

/// What they say of a pod's nodes.
#[derive(Debug, Default, PartialEq)]
pub struct Opinion {
    /// The nodes that will do, with all scores added.
    pub nodes: Vec<(Arc<str>, i64)>,
    /// Why others will not, by node.
    pub refused: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct FilterResult {
    nodes: Option<NodeNamesOnly>,
    node_names: Option<Vec<String>>,
    failed_nodes: BTreeMap<String, String>,
    failed_and_unresolvable_nodes: BTreeMap<String, String>,
    error: String,
}

#[derive(Deserialize)]
struct NodeNamesOnly {
    #[serde(default)]
    items: Vec<kube::core::PartialObjectMeta<Node>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostPriority {
    host: String,
    score: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct BindingResult {
    error: String,
}

impl Extenders {
    /// Connects when they are first asked.
    pub async fn new(settings: &[Extender]) -> Result<Extenders, ConfigError> {
        let mut all = Vec::new();
        for (index, extender) in settings.iter().enumerate() {
            let invalid = |field: &str, why: String| ConfigError::Invalid {
                field: format!("extenders[{index}].{field}"),
                why,
            };
            let timeout = match extender.http_timeout.as_str() {
                "" => TIMEOUT,
                text => duration(text).ok_or_else(|| {
                    invalid(
                        "httpTimeout",
                        format!("\"{text}\" is not a duration such as 5s"),
                    )
                })?,
            };
            let client = connect(extender).await;
            all.push(One {
                settings: extender.clone(),
                client: client.map_err(|e| invalid("urlPrefix", e.to_string()))?,
                timeout,
            });
        }
        Ok(Extenders(Arc::new(all)))
    }

    /// Whether any of them is to be asked about the pod's nodes.
    pub fn concern(&self, pod: &PodInfo) -> bool {
        let asks = |one: &One| {
            let verbs = &one.settings;
            !(verbs.filter_verb.is_empty() && verbs.prioritize_verb.is_empty())
        };
        self.0.iter().any(|one| asks(one) && one.interested(pod))
    }

    /// Asks all that are interested, one after the other, each about the nodes the last has left.
    pub async fn ask(
        &self,
        pod: &PodInfo,
        nodes: Vec<(Arc<str>, i64)>,
        object: impl Fn(&str) -> Option<Arc<Node>>,
    ) -> Result<Opinion, ExtenderError> {
        let mut opinion = Opinion {
            nodes,
            ..Opinion::default()
        };
        let interested = || self.0.iter().filter(|one| one.interested(pod));
        for one in interested().filter(|one| !one.settings.filter_verb.is_empty()) {
            if opinion.nodes.is_empty() {
                return Ok(opinion);
            }
            match one.filter(pod, &opinion.nodes, &object).await {
                Ok((good, refused)) => {
                    opinion.nodes.retain(|(name, _)| good.contains(&**name));
                    opinion.refused.extend(refused);
                }
                Err(error) if one.settings.ignorable => tracing::warn!(%error, "ignored"),
                Err(error) => return Err(error),
            }
        }
        for one in interested().filter(|one| !one.settings.prioritize_verb.is_empty()) {
            let args = one.args(pod, &opinion.nodes, &object);
            let verb = &one.settings.prioritize_verb;
            match one.call::<Vec<HostPriority>>(verb, &args).await {
                Ok(scores) => {
                    let scores: HashMap<String, i64> =
                        scores.into_iter().map(|s| (s.host, s.score)).collect();
                    for (name, total) in &mut opinion.nodes {
                        let score = scores.get(&**name).copied().unwrap_or_default();
                        *total += score * one.settings.weight * (MAX_SCORE / MAX_EXTENDER_SCORE);
                    }
                }
                // As upstream: who does not answer has no preference.
                Err(error) => tracing::warn!(%error, "its scores do not count"),
            }
        }
        Ok(opinion)
    }

    /// Lets an extender bind the pod; false when none does that.
    pub async fn bind(&self, pod: &PodInfo, node: &str) -> Result<bool, ExtenderError> {
        let mut binders = self
            .0
            .iter()
            .filter(|one| !one.settings.bind_verb.is_empty());
        let Some(one) = binders.find(|one| one.interested(pod)) else {
            return Ok(false);
        };
        let args = json!({
            "PodName": pod.name(), "PodNamespace": pod.namespace(), "PodUID": &*pod.uid, "Node": node,
        });
        let outcome = one
            .call::<BindingResult>(&one.settings.bind_verb, &args)
            .await;
        match outcome {
            Ok(result) if result.error.is_empty() => Ok(true),
            Ok(result) => Err(one.said(result.error)),
            Err(error) if one.settings.ignorable => {
                tracing::warn!(%error, "bound without it");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl One {
    /// It manages nothing in particular, or something the pod asks for.
    fn interested(&self, pod: &PodInfo) -> bool {
        let managed = &self.settings.managed_resources;
        let named = |container: &k8s_openapi::api::core::v1::Container| {
            let resources = container.resources.as_ref();
            let requests = resources.and_then(|r| r.requests.as_ref());
            let limits = resources.and_then(|r| r.limits.as_ref());
            managed.iter().any(|m| {
                requests.is_some_and(|r| r.contains_key(&m.name))
                    || limits.is_some_and(|l| l.contains_key(&m.name))
            })
        };
        let spec = pod.spec();
        managed.is_empty()
            || spec
                .init_containers
                .iter()
                .flatten()
                .chain(&spec.containers)
                .any(named)
    }

    fn args(
        &self,
        pod: &PodInfo,
        nodes: &[(Arc<str>, i64)],
        object: &impl Fn(&str) -> Option<Arc<Node>>,
    ) -> serde_json::Value {
        if self.settings.node_cache_capable {
            let names: Vec<&str> = nodes.iter().map(|(name, _)| &**name).collect();
            return json!({"Pod": &*pod.pod, "Nodes": null, "NodeNames": names});
        }
        let objects: Vec<Arc<Node>> = nodes.iter().filter_map(|(name, _)| object(name)).collect();
        json!({"Pod": &*pod.pod, "Nodes": {"metadata": {}, "items": objects}, "NodeNames": null})
    }

    async fn filter(
        &self,
        pod: &PodInfo,
        nodes: &[(Arc<str>, i64)],
        object: &impl Fn(&str) -> Option<Arc<Node>>,
    ) -> Result<(HashSet<String>, BTreeMap<String, String>), ExtenderError> {
        let args = self.args(pod, nodes, object);
        let result: FilterResult = self.call(&self.settings.filter_verb, &args).await?;
        if !result.error.is_empty() {
            return Err(self.said(result.error));
        }
        let good = match (result.node_names, result.nodes) {
            (Some(names), _) if self.settings.node_cache_capable => names.into_iter().collect(),
            (_, Some(list)) => {
                let names = list.items.into_iter().filter_map(|n| n.metadata.name);
                names.collect()
            }
            (names, None) => names.into_iter().flatten().collect(),
        };
        let mut refused = result.failed_nodes;
        refused.extend(result.failed_and_unresolvable_nodes);
        Ok((good, refused))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        verb: &str,
        args: &impl Serialize,
    ) -> Result<T, ExtenderError> {
        let url = || self.settings.url_prefix.clone();
        let failed = |source| ExtenderError::Call {
            url: url(),
            source: Box::new(source),
        };
        let body = serde_json::to_vec(args).map_err(|e| failed(kube::Error::SerdeError(e)))?;
        let request = Request::post(format!("/{}", verb.trim_start_matches('/')))
            .header("content-type", "application/json")
            .body(body)
            .map_err(|e| failed(kube::Error::HttpError(e)))?;
        match tokio::time::timeout(self.timeout, self.client.request::<T>(request)).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(ExtenderError::Timeout(url())),
        }
    }

    fn said(&self, why: String) -> ExtenderError {
        ExtenderError::Said {
            url: self.settings.url_prefix.clone(),
            why,
        }
    }
}

async fn connect(extender: &Extender) -> Result<kube::Client, Box<dyn std::error::Error>> {
    let tls = extender.tls_config.clone().unwrap_or_default();
    // The same path as a kubeconfig's: one place reads certificates.
    let file = json!({
        "clusters": [{"name": "extender", "cluster": {
            "server": extender.url_prefix.trim_end_matches('/'),
            "certificate-authority": tls["caFile"], "certificate-authority-data": tls["caData"],
            "insecure-skip-tls-verify": tls["insecure"], "tls-server-name": tls["serverName"],
        }}],
        "users": [{"name": "scheduler", "user": {
            "client-certificate": tls["certFile"], "client-certificate-data": tls["certData"],
            "client-key": tls["keyFile"], "client-key-data": tls["keyData"],
        }}],
        "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "scheduler"}}],
        "current-context": "extender",
    });
    let file = serde_json::from_value(file)?;
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// A duration as Go writes it: `1m30s`, `100ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let (unit, more) = unit.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        rest = more;
    }
    (!text.is_empty() && sum > 0.0)
        .then(|| Duration::try_from_secs_f64(sum).ok())
        .flatten()
}

#[cfg(test)]
mod tests;
