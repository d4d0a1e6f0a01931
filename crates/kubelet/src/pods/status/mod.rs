//! A pod's status, generated from what the runtime has and how far the worker has come. Pure; the
//! worker sends the difference.

mod conditions;
mod containers;
pub mod patch;
mod phase;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{HostIP, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    observed::Observed,
    plan::{Progress, Waiting},
    qos::Qos,
    view::PodView,
};

/// A phase with its reason, decided outside the containers (rejected, evicted, past its deadline).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// CamelCase reason.
    pub reason: String,
    /// Sentence.
    pub message: String,
}

/// Everything a status is generated from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// The status before.
    pub previous: &'a PodStatus,
    /// What the runtime has.
    pub observed: &'a Observed,
    /// How far the worker has come.
    pub progress: &'a Progress,
    /// Why containers wait.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// The pod failed for a reason of its own.
    pub verdict: Option<&'a Verdict>,
    /// Nothing of it will run again.
    pub terminal: bool,
    /// The node's addresses.
    pub host_ips: &'a [IpAddr],
    /// Scheme of container ids.
    pub runtime: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// Generates the status.
pub fn generate(input: Input<'_>) -> PodStatus {
    let pod = input.pod;
    let mut status = PodStatus {
        observed_generation: pod.generation(),
        qos_class: Some(
            input
                .previous
                .qos_class
                .clone()
                .unwrap_or_else(|| Qos::of(pod.spec()).as_str().to_owned()),
        ),
        start_time: Some(
            input
                .previous
                .start_time
                .clone()
                .unwrap_or(Time(whole_seconds(input.now))),
        ),
        nominated_node_name: input.previous.nominated_node_name.clone(),
        resource_claim_statuses: input.previous.resource_claim_statuses.clone(),
        ..Default::default()
    };
    let rejected = input.verdict.is_some() && input.observed.runs.is_empty();
    if !rejected {
        status.init_container_statuses = none_if_empty(containers::init(&input));
        status.container_statuses = none_if_empty(containers::main(&input));
        status.ephemeral_container_statuses = none_if_empty(containers::ephemeral(&input));
    }
    let phase = match input.verdict {
        Some(verdict) => {
            status.reason = Some(verdict.reason.clone()).filter(|s| !s.is_empty());
            status.message = Some(verdict.message.clone()).filter(|s| !s.is_empty());
            "Failed"
        }
        None => {
            let phase = phase::of(pod, &status, input.observed, input.terminal);
            match pod.status().phase.as_deref() {
                // A pod never leaves a terminal phase.
                Some("Failed") => "Failed",
                Some("Succeeded") => "Succeeded",
                _ => phase,
            }
        }
    };
    if input.verdict.is_none() && input.previous.phase.as_deref() == Some(phase) {
        status.reason = input.previous.reason.clone();
        status.message = input.previous.message.clone();
    }
    status.phase = Some(phase.to_owned());
    addresses(&input, &mut status);
    status.conditions = Some(conditions::generate(&input, &status));
    status
}

fn addresses(input: &Input<'_>, status: &mut PodStatus) {
    if let Some(primary) = input.host_ips.first() {
        status.host_ip = Some(primary.to_string());
        status.host_ips = Some(
            input
                .host_ips
                .iter()
                .map(|ip| HostIP { ip: ip.to_string() })
                .collect(),
        );
    }
    let ips: Vec<String> = if input.pod.host_network() {
        input.host_ips.iter().map(IpAddr::to_string).collect()
    } else {
        input
            .observed
            .sandbox()
            .map(|s| s.ips.clone())
            .unwrap_or_default()
    };
    if ips.is_empty() {
        // A terminal pod keeps saying where it was.
        status.pod_ip = input.previous.pod_ip.clone();
        status.pod_ips = input.previous.pod_ips.clone();
        return;
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn none_if_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// The API keeps whole seconds; a status with more would differ from itself after a round trip.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
