//! How many replicas a metric asks for: pure.
//!
//! Pods that are starting, and pods nothing is known of, are reckoned so that the answer errs
//! towards doing less: as using nothing when there would be more replicas, as using their full share
//! when there would be fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pods::{condition, is_ready, phase};

/// A starting pod's CPU says nothing for so long.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_secs(300);
/// A pod that became unready within so long after its start was never ready.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);
/// Deviations that do not matter.
const TOLERANCE: f64 = 0.1;

/// How far the ratio may be off without anything being done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerances {
    pub up: f64,
    pub down: f64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self {
            up: TOLERANCE,
            down: TOLERANCE,
        }
    }
}

impl Tolerances {
    fn hold(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// One pod's measurement, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub value: i64,
    pub at: Option<Timestamp>,
    pub window: SignedDuration,
}

pub(super) type Samples = BTreeMap<String, Sample>;

/// What one metric comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// Average per pod or the value itself, in thousandths.
    pub value: i64,
    /// Percent of what is requested.
    pub utilization: Option<i32>,
}

fn ceil(value: f64) -> i32 {
    // `as` saturates, which is the bound wanted here.
    value.ceil() as i32
}

#[derive(Default)]
struct Groups {
    ready: usize,
    starting: BTreeSet<String>,
    unknown: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

fn group(pods: &[Arc<Pod>], samples: &Samples, cpu: bool, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for pod in pods {
        let name = pod.metadata.name.clone().unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() || phase(pod) == "Failed" {
            groups.ignored.insert(name);
        } else if phase(pod) == "Pending" {
            groups.starting.insert(name);
        } else {
            match samples.get(&name) {
                None => {
                    groups.unknown.insert(name);
                }
                Some(sample) if cpu && is_starting(pod, sample, now) => {
                    groups.starting.insert(name);
                }
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

fn is_starting(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let start = pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(start)) = (condition(pod, "Ready"), start) else {
        return true;
    };
    let unready = ready.status == "False";
    let turned = ready.last_transition_time.as_ref().map(|time| time.0);
    if now.duration_since(start.0) < CPU_INITIALIZATION {
        let whole_window = turned
            .zip(sample.at)
            .is_none_or(|(turned, at)| at.duration_since(turned) >= sample.window);
        unready || !whole_window
    } else {
        unready && turned.is_some_and(|turned| turned.duration_since(start.0) < INITIAL_READINESS)
    }
}

/// What a proposal is measured by.
enum Goal<'a> {
    /// So much per pod.
    Average(i64),
    /// So many percent of the requests.
    Utilization(i32, &'a BTreeMap<String, i64>),
}

struct Usage {
    ratio: f64,
    value: i64,
    utilization: Option<i32>,
}

impl Goal<'_> {
    fn usage(&self, samples: &Samples) -> Result<Usage, String> {
        match self {
            Self::Average(target) => {
                let values = samples.values().map(|sample| sample.value);
                let total = values.fold(0i64, i64::saturating_add);
                let count = i64::try_from(samples.len()).unwrap_or(i64::MAX).max(1);
                let value = total / count;
                Ok(Usage {
                    ratio: value as f64 / *target as f64,
                    value,
                    utilization: None,
                })
            }
            Self::Utilization(target, requests) => {
                let known = || {
                    let pairs = samples.iter();
                    pairs.filter_map(|(name, sample)| Some((sample.value, *requests.get(name)?)))
                };
                let total = known()
                    .map(|(value, _)| value)
                    .fold(0i64, i64::saturating_add);
                let requested: i64 = known().map(|(_, request)| request).sum();
                if requested == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let percent = i128::from(total) * 100 / i128::from(requested);
                let percent = i32::try_from(percent).unwrap_or(i32::MAX);
                let count = i64::try_from(known().count()).unwrap_or(i64::MAX).max(1);
                Ok(Usage {
                    ratio: f64::from(percent) / f64::from(*target),
                    value: total / count,
                    utilization: Some(percent),
                })
            }
        }
    }

    /// What a pod that nothing is known of uses if it uses its full share.
    fn full_share(&self, pod: &str) -> i64 {
        match self {
            Self::Average(target) => *target,
            Self::Utilization(target, requests) => {
                let request = requests.get(pod).copied().unwrap_or_default();
                request.saturating_mul(i64::from(*target).max(100)) / 100
            }
        }
    }
}

/// Replicas for a metric that is an amount per pod.
pub(super) fn by_average(
    pods: &[Arc<Pod>],
    samples: Samples,
    target: i64,
    current: i32,
    cpu: bool,
    tolerances: Tolerances,
    now: Timestamp,
) -> Result<Proposal, String> {
    let measured = measured(pods, samples, cpu, now)?;
    per_pod(measured, &Goal::Average(target), current, tolerances)
}

/// Replicas for a metric that is a percentage of what pods request.
pub(super) fn by_utilization(
    pods: &[Arc<Pod>],
    samples: Samples,
    (resource, container): (&str, Option<&str>),
    target: i32,
    current: i32,
    tolerances: Tolerances,
    now: Timestamp,
) -> Result<Proposal, String> {
    let measured = measured(pods, samples, resource == "cpu", now)?;
    let requests = requests(pods, resource, container)?;
    let goal = Goal::Utilization(target, &requests);
    per_pod(measured, &goal, current, tolerances)
}

/// Sorts the pods by what is known of them, and keeps the samples that count.
fn measured(
    pods: &[Arc<Pod>],
    mut samples: Samples,
    cpu: bool,
    now: Timestamp,
) -> Result<(Groups, Samples), String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(pods, &samples, cpu, now);
    samples.retain(|name, _| !groups.ignored.contains(name) && !groups.starting.contains(name));
    if samples.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    Ok((groups, samples))
}

fn per_pod(
    (groups, mut samples): (Groups, Samples),
    goal: &Goal<'_>,
    current: i32,
    tolerances: Tolerances,
) -> Result<Proposal, String> {
    let usage = goal.usage(&samples)?;
    let proposal = |replicas| {
        Ok(Proposal {
            replicas,
            value: usage.value,
            utilization: usage.utilization,
        })
    };
    let growing = usage.ratio > 1.0;
    let with_starting = growing && !groups.starting.is_empty();
    if !with_starting && groups.unknown.is_empty() {
        if tolerances.hold(usage.ratio) {
            return proposal(current);
        }
        return proposal(ceil(usage.ratio * groups.ready as f64));
    }
    let mut assume = |name: &String, value| {
        let sample = Sample {
            value,
            at: None,
            window: SignedDuration::ZERO,
        };
        samples.insert(name.clone(), sample);
    };
    for name in &groups.unknown {
        if growing {
            assume(name, 0);
        } else if usage.ratio < 1.0 {
            assume(name, goal.full_share(name));
        }
    }
    if with_starting {
        for name in &groups.starting {
            assume(name, 0);
        }
    }
    let ratio = goal.usage(&samples)?.ratio;
    let turned = (usage.ratio < 1.0 && ratio > 1.0) || (growing && ratio < 1.0);
    if tolerances.hold(ratio) || turned {
        return proposal(current);
    }
    let replicas = ceil(ratio * samples.len() as f64);
    if (ratio < 1.0 && replicas > current) || (ratio > 1.0 && replicas < current) {
        return proposal(current);
    }
    proposal(replicas)
}

/// Replicas for one value that all of them share.
pub(super) fn by_value(
    pods: &[Arc<Pod>],
    value: i64,
    target: i64,
    current: i32,
    tolerances: Tolerances,
) -> Result<Proposal, String> {
    let ratio = value as f64 / target as f64;
    let replicas = if tolerances.hold(ratio) {
        current
    } else if pods.is_empty() {
        let why = "no pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {why}"));
    } else {
        let ready = pods
            .iter()
            .filter(|pod| phase(pod) == "Running" && is_ready(pod));
        ceil(ratio * ready.count() as f64)
    };
    Ok(Proposal {
        replicas,
        value,
        utilization: None,
    })
}

/// Replicas for one value of which each should have so much.
pub(super) fn by_share(value: i64, target: i64, replicas: i32, tolerances: Tolerances) -> Proposal {
    let ratio = value as f64 / (target as f64 * f64::from(replicas));
    let wanted = if tolerances.hold(ratio) {
        replicas
    } else {
        ceil(value as f64 / target as f64)
    };
    Proposal {
        replicas: wanted,
        value: (value as f64 / f64::from(replicas)).ceil() as i64,
        utilization: None,
    }
}

fn requests(
    pods: &[Arc<Pod>],
    resource: &str,
    container: Option<&str>,
) -> Result<BTreeMap<String, i64>, String> {
    let mut requests = BTreeMap::new();
    for pod in pods {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(spec) = &pod.spec else { continue };
        let sidecars = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let containers: Vec<_> = spec.containers.iter().chain(sidecars).collect();
        let whole = spec
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref())
            .filter(|_| container.is_none());
        let request = match (whole, container) {
            // The pod's own requests, or where it has none of this kind those its containers have.
            (Some(whole), _) => whole
                .get(resource)
                .and_then(amount)
                .or_else(|| {
                    let known: Vec<_> = containers
                        .iter()
                        .filter_map(|one| request_of(one, resource))
                        .collect();
                    (!known.is_empty()).then(|| known.into_iter().fold(0i64, i64::saturating_add))
                })
                .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"))?,
            (None, Some(only)) => {
                let one = containers.into_iter().find(|one| one.name == only);
                let one = one.ok_or_else(|| format!("container {only} not found in Pod {name}"))?;
                needed(one, resource, &name)?
            }
            (None, None) => {
                let each = containers
                    .into_iter()
                    .map(|one| needed(one, resource, &name));
                each.sum::<Result<i64, String>>()?
            }
        };
        requests.insert(name, request);
    }
    Ok(requests)
}

fn needed(container: &Container, resource: &str, pod: &str) -> Result<i64, String> {
    request_of(container, resource).ok_or_else(|| {
        format!(
            "missing request for {resource} in container {} of Pod {pod}",
            container.name
        )
    })
}

fn request_of(container: &Container, resource: &str) -> Option<i64> {
    let requests = container.resources.as_ref()?.requests.as_ref()?;
    amount(requests.get(resource)?)
}

fn amount(quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Option<i64> {
    let quantity: api::quantity::Quantity = quantity.0.parse().ok()?;
    Some(quantity.millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        Timestamp::from_second(100_000).unwrap()
    }

    /// Running pods that are ready for long and request 1 CPU; then those of `others`.
    fn pods(ready: usize, others: &[Value]) -> Vec<Arc<Pod>> {
        let base = |name: &str| {
            json!({
                "metadata": {"name": name},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": "Running", "startTime": "1970-01-01T00:00:00Z", "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:10Z"}]},
            })
        };
        let mut all: Vec<_> = (0..ready).map(|n| base(&format!("p{n}"))).collect();
        for (n, status) in others.iter().enumerate() {
            let mut pod = base(&format!("q{n}"));
            pod["status"] = status.clone();
            all.push(pod);
        }
        all.into_iter()
            .map(|pod| Arc::new(serde_json::from_value(pod).unwrap()))
            .collect()
    }

    fn samples(values: &[(&str, i64)]) -> Samples {
        let sample = |value| Sample {
            value,
            at: Some(now()),
            window: SignedDuration::from_secs(30),
        };
        values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), sample(*value)))
            .collect()
    }

    fn utilization(
        pods: &[Arc<Pod>],
        values: &[(&str, i64)],
        target: i32,
    ) -> Result<Proposal, String> {
        let current = i32::try_from(pods.len()).unwrap();
        let tolerances = Tolerances::default();
        by_utilization(
            pods,
            samples(values),
            ("cpu", None),
            target,
            current,
            tolerances,
            now(),
        )
    }

    #[test]
    fn percent_of_requests() {
        let three = pods(3, &[]);
        let replicas =
            |values: &[(&str, i64)], target| utilization(&three, values, target).unwrap().replicas;
        assert_eq!(replicas(&[("p0", 900), ("p1", 900), ("p2", 900)], 30), 9);
        assert_eq!(replicas(&[("p0", 100), ("p1", 100), ("p2", 100)], 30), 1);
        assert_eq!(
            replicas(&[("p0", 310), ("p1", 310), ("p2", 310)], 30),
            3,
            "within the tolerance"
        );
        let found = utilization(&three, &[("p0", 100), ("p1", 200), ("p2", 300)], 50).unwrap();
        assert_eq!((found.utilization, found.value), (Some(20), 200));
    }

    #[test]
    fn pods_nothing_is_known_of_dampen() {
        let four = pods(4, &[]);
        let replicas =
            |values: &[(&str, i64)], target| utilization(&four, values, target).unwrap().replicas;
        assert_eq!(
            replicas(&[("p0", 900), ("p1", 900)], 30),
            6,
            "those unknown count as idle"
        );
        assert_eq!(
            replicas(&[("p0", 450), ("p1", 450)], 30),
            4,
            "which would turn it around"
        );
        assert_eq!(
            replicas(&[("p0", 100), ("p1", 100), ("p2", 100)], 50),
            3,
            "those unknown count as busy"
        );
    }

    #[test]
    fn starting_and_ended_pods() {
        let starting = json!({"phase": "Running", "startTime": "1970-01-02T03:46:00Z", "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-02T03:46:00Z"}]});
        let pending = json!({"phase": "Pending"});
        let failed = json!({"phase": "Failed"});
        let some = pods(1, &[starting, pending, failed]);
        let values = [("p0", 900), ("q0", 5_000), ("q2", 5_000)];
        assert_eq!(
            utilization(&some, &values, 30).unwrap().replicas,
            4,
            "clamped: 3 would be fewer"
        );
        let lone = pods(0, &[json!({"phase": "Pending"})]);
        assert_eq!(
            utilization(&lone, &[], 30).unwrap_err(),
            "did not receive metrics for targeted pods (pods might be unready)"
        );
        assert_eq!(
            utilization(&[], &[], 30).unwrap_err(),
            "no pods returned by selector while calculating replica count"
        );
    }

    #[test]
    fn amounts_and_values() {
        let two = pods(2, &[]);
        let tolerances = Tolerances::default();
        let average = |value| {
            let values = samples(&[("p0", value), ("p1", value)]);
            by_average(&two, values, 1_000, 2, false, tolerances, now())
                .unwrap()
                .replicas
        };
        assert_eq!([average(3_000), average(1_050), average(400)], [6, 2, 1]);
        let value = |value| {
            by_value(&two, value, 1_000, 2, tolerances)
                .unwrap()
                .replicas
        };
        assert_eq!([value(2_500), value(1_000), value(100)], [5, 2, 1]);
        let share = |value| by_share(value, 1_000, 2, tolerances);
        assert_eq!(
            [
                share(9_000).replicas,
                share(2_100).replicas,
                share(500).replicas
            ],
            [9, 2, 1]
        );
        assert_eq!(share(9_000).value, 4_500);
    }

    #[test]
    fn a_request_is_missing() {
        let mut pod = (*pods(1, &[])[0]).clone();
        pod.spec.as_mut().unwrap().containers[0].resources = None;
        assert_eq!(
            utilization(&[Arc::new(pod)], &[("p0", 100)], 50).unwrap_err(),
            "missing request for cpu in container c of Pod p0"
        );
    }

    #[test]
    fn requests_of_pods_and_of_one_container() {
        let spec = |whole: Value| {
            json!([{"metadata": {"name": "p"}, "spec": {
                "resources": whole,
                "containers": [{"name": "web", "resources": {"requests": {"cpu": "2"}}}, {"name": "log"}],
                "initContainers": [
                    {"name": "init"},
                    {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}],
            }}])
        };
        let null = Value::Null;
        let cases = [
            (null.clone(), Some("web"), Ok(2_000)),
            (null.clone(), Some("side"), Ok(500)),
            (
                null.clone(),
                Some("init"),
                Err("container init not found in Pod p"),
            ),
            (
                null.clone(),
                Some("log"),
                Err("missing request for cpu in container log of Pod p"),
            ),
            (
                null,
                None,
                Err("missing request for cpu in container log of Pod p"),
            ),
            (json!({"requests": {"cpu": "3"}}), None, Ok(3_000)),
            (json!({"requests": {"memory": "1Gi"}}), None, Ok(2_500)),
            (json!({"requests": {"cpu": "3"}}), Some("web"), Ok(2_000)),
        ];
        for (whole, container, expected) in cases {
            let pods: Vec<Arc<Pod>> = serde_json::from_value(spec(whole.clone())).unwrap();
            let found = requests(&pods, "cpu", container).map(|all| all["p"]);
            let expected = expected.map_err(str::to_owned);
            assert_eq!(found, expected, "{whole} {container:?}");
        }
        let pods: Vec<Arc<Pod>> =
            serde_json::from_value(spec(json!({"requests": {"cpu": "3"}}))).unwrap();
        assert_eq!(
            requests(&pods, "memory", None).unwrap_err(),
            "missing pod-level request for memory in Pod p"
        );
    }
}
