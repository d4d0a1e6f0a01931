//! All metrics of an autoscaler: each is read and asks for a number, the highest counts.

use std::sync::Arc;

use api::quantity::{Format, Quantity};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, HorizontalPodAutoscaler, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus, ObjectMetricStatus, PodsMetricStatus,
    ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use tokio::time::Instant;

use super::calculate::{self, Proposal, Tolerances};
use super::counts::{Came, Counted};
use super::metrics::Reader;
use super::words::{described, go_text, shared_name};

/// What the metrics come to.
pub(super) struct Evaluation {
    pub statuses: Vec<MetricStatus>,
    /// The number asked for and by what; or why there is none.
    pub outcome: Result<(i32, String), String>,
    /// The condition ScalingActive, if it is to be set.
    pub active: Option<(bool, &'static str, String)>,
    /// Reasons and messages to tell as events.
    pub warnings: Vec<(&'static str, String)>,
}

impl Evaluation {
    /// Nothing could be read at all; the condition is set already.
    pub fn failed(why: String) -> Self {
        Self {
            statuses: Vec::new(),
            active: None,
            outcome: Err(why),
            warnings: Vec::new(),
        }
    }
}

struct Round<'a> {
    pods: &'a [Arc<Pod>],
    reader: &'a Reader<'a>,
    current: i32,
    status_replicas: i32,
    tolerances: Tolerances,
    now: Timestamp,
}

struct Measured {
    proposal: Proposal,
    name: String,
    status: MetricStatus,
}

fn tolerances(autoscaler: &HorizontalPodAutoscaler) -> Tolerances {
    let mut tolerances = Tolerances::default();
    let behavior = autoscaler.spec.behavior.as_ref();
    let of = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
        let text = &rules?.tolerance.as_ref()?.0;
        Some(text.parse::<Quantity>().ok()?.as_f64())
    };
    if let Some(up) = of(behavior.and_then(|behavior| behavior.scale_up.as_ref())) {
        tolerances.up = up;
    }
    if let Some(down) = of(behavior.and_then(|behavior| behavior.scale_down.as_ref())) {
        tolerances.down = down;
    }
    tolerances
}

/// Reads and sums up. If some metrics cannot be read, the others may still ask for more, never for
/// less.
pub(super) async fn evaluate(
    autoscaler: &HorizontalPodAutoscaler,
    current: i32,
    status_replicas: i32,
    pods: &[Arc<Pod>],
    reader: &Reader<'_>,
    counted: &Counted,
    now: Timestamp,
) -> Evaluation {
    let metrics = autoscaler.spec.metrics.as_deref().unwrap_or_default();
    let round = Round {
        pods,
        reader,
        current,
        status_replicas,
        tolerances: tolerances(autoscaler),
        now,
    };
    let mut statuses = Vec::new();
    let mut best: Option<(i32, String)> = None;
    let mut failures: Vec<(&'static str, String)> = Vec::new();
    let mut first_failed = String::new();
    for metric in metrics {
        let began = Instant::now();
        let (reason, measured) = round.measure(metric).await;
        let came = measured.as_ref().map_or(Came::FAILED, |measured| {
            Came::to(current, measured.proposal.replicas)
        });
        counted.computed(&metric.type_, came, began);
        match measured {
            Ok(measured) => {
                let replicas = measured.proposal.replicas;
                if best.as_ref().is_none_or(|(most, _)| replicas > *most) {
                    best = Some((replicas, measured.name));
                }
                statuses.push(measured.status);
            }
            Err(why) => {
                if failures.is_empty() {
                    first_failed = described(metric);
                }
                failures.push((reason, why));
                // Readers match the two lists by position.
                statuses.push(MetricStatus::default());
            }
        }
    }
    let enough = best.filter(|(replicas, _)| failures.is_empty() || *replicas >= current);
    let first = failures.first().cloned();
    let (outcome, active) = match (enough, first) {
        (Some((replicas, name)), _) => {
            let message =
                format!("the HPA was able to successfully calculate a replica count from {name}");
            (Ok((replicas, name)), (true, "ValidMetricFound", message))
        }
        (None, Some((reason, why))) => {
            let message = format!("the HPA was unable to compute the replica count: {why}");
            let why = format!(
                "invalid metrics ({} invalid out of {}), first error is: {first_failed}{why}",
                failures.len(),
                metrics.len(),
            );
            (Err(why), (false, reason, message))
        }
        (None, None) => {
            let why = "no metrics to scale on".to_owned();
            (Err(why.clone()), (false, "InvalidMetricSourceType", why))
        }
    };
    Evaluation {
        statuses,
        outcome,
        active: Some(active),
        warnings: failures,
    }
}

fn written(millis: i64, binary: bool) -> Written {
    let quantity = if binary && millis % 1_000 == 0 {
        Quantity::new(millis / 1_000, Format::Binary)
    } else {
        Quantity::from_millis(millis)
    };
    Written(quantity.to_string())
}

fn target(quantity: Option<&Written>) -> Option<i64> {
    let quantity: Quantity = quantity?.0.parse().ok()?;
    Some(quantity.millis())
}

impl Round<'_> {
    /// One metric; with the reason that says it failed.
    async fn measure(&self, metric: &MetricSpec) -> (&'static str, Result<Measured, String>) {
        match metric.type_.as_str() {
            "Resource" => {
                let measured = async {
                    let source = metric
                        .resource
                        .as_ref()
                        .ok_or("no resource metric source")?;
                    let name = &source.name;
                    let (proposal, current) = self.resource(name, None, &source.target).await?;
                    let status = ResourceMetricStatus {
                        name: name.clone(),
                        current,
                    };
                    let described = match proposal.utilization {
                        Some(_) => format!("{name} resource utilization (percentage of request)"),
                        None => format!("{name} resource"),
                    };
                    Ok(Measured {
                        proposal,
                        name: described,
                        status: MetricStatus {
                            type_: metric.type_.clone(),
                            resource: Some(status),
                            ..MetricStatus::default()
                        },
                    })
                };
                ("FailedGetResourceMetric", measured.await)
            }
            "ContainerResource" => {
                let measured = async {
                    let source = metric
                        .container_resource
                        .as_ref()
                        .ok_or("no container resource metric source")?;
                    let name = &source.name;
                    let container = Some(source.container.as_str());
                    let (proposal, current) =
                        self.resource(name, container, &source.target).await?;
                    let status = ContainerResourceMetricStatus {
                        name: name.clone(),
                        container: source.container.clone(),
                        current,
                    };
                    let described = match proposal.utilization {
                        Some(_) => {
                            format!("{name} container resource utilization (percentage of request)")
                        }
                        None => format!("{name} resource"),
                    };
                    Ok(Measured {
                        proposal,
                        name: described,
                        status: MetricStatus {
                            type_: metric.type_.clone(),
                            container_resource: Some(status),
                            ..MetricStatus::default()
                        },
                    })
                };
                ("FailedGetContainerResourceMetric", measured.await)
            }
            "Pods" => ("FailedGetPodsMetric", self.pods(metric).await),
            "Object" => ("FailedGetObjectMetric", self.object(metric).await),
            "External" => ("FailedGetExternalMetric", self.external(metric).await),
            other => (
                "InvalidMetricSourceType",
                Err(format!("unknown metric source type {other:?}")),
            ),
        }
    }

    async fn resource(
        &self,
        resource: &str,
        container: Option<&str>,
        wanted: &MetricTarget,
    ) -> Result<(Proposal, MetricValueStatus), String> {
        let read = || async {
            let samples = self.reader.resource(resource, container).await;
            samples.map_err(|why| format!("unable to get metrics for resource {resource}: {why}"))
        };
        let (current, tolerances, now) = (self.current, self.tolerances, self.now);
        let binary = resource == "memory";
        if let Some(average) = target(wanted.average_value.as_ref()) {
            let proposal = async {
                let samples = read().await?;
                let cpu = resource == "cpu";
                calculate::by_average(self.pods, samples, average, current, cpu, tolerances, now)
            };
            let proposal = proposal
                .await
                .map_err(|why| format!("failed to get {resource} usage: {why}"))?;
            let status = MetricValueStatus {
                average_value: Some(written(proposal.value, binary)),
                ..MetricValueStatus::default()
            };
            return Ok((proposal, status));
        }
        let Some(percent) = wanted.average_utilization else {
            return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned());
        };
        let proposal = async {
            let samples = read().await?;
            let of = (resource, container);
            calculate::by_utilization(self.pods, samples, of, percent, current, tolerances, now)
        };
        let proposal = proposal
            .await
            .map_err(|why| format!("failed to get {resource} utilization: {why}"))?;
        let status = MetricValueStatus {
            average_utilization: proposal.utilization,
            average_value: Some(written(proposal.value, binary)),
            ..MetricValueStatus::default()
        };
        Ok((proposal, status))
    }

    async fn pods(&self, metric: &MetricSpec) -> Result<Measured, String> {
        let source = metric.pods.as_ref().ok_or("no pods metric source")?;
        let name = &source.metric.name;
        let average = target(source.target.average_value.as_ref())
            .ok_or("invalid pods metric source: no average value target was set")?;
        let samples = self
            .reader
            .pods(name, source.metric.selector.as_ref())
            .await;
        let samples = samples.map_err(|why| format!("unable to get metric {name}: {why}"))?;
        let proposal = calculate::by_average(
            self.pods,
            samples,
            average,
            self.current,
            false,
            self.tolerances,
            self.now,
        )?;
        Ok(Measured {
            name: format!("pods metric {name}"),
            status: MetricStatus {
                type_: metric.type_.clone(),
                pods: Some(PodsMetricStatus {
                    metric: source.metric.clone(),
                    current: average_status(&proposal),
                }),
                ..MetricStatus::default()
            },
            proposal,
        })
    }

    async fn object(&self, metric: &MetricSpec) -> Result<Measured, String> {
        let source = metric.object.as_ref().ok_or("no object metric source")?;
        let (name, object) = (&source.metric.name, &source.described_object);
        let read = || async {
            let value = self
                .reader
                .object(object, name, source.metric.selector.as_ref())
                .await;
            value.map_err(|why| {
                let (kind, namespace) = (&object.kind, self.reader.namespace);
                format!(
                    "unable to get metric {name}: {why} on {kind} {namespace}/{}",
                    object.name
                )
            })
        };
        let (proposal, current) = self.shared(read, &source.target, "object", name).await?;
        Ok(Measured {
            proposal,
            name: match current.average_value {
                Some(_) => shared_name(&source.metric),
                None => format!("{} metric {name}", object.kind),
            },
            status: MetricStatus {
                type_: metric.type_.clone(),
                object: Some(ObjectMetricStatus {
                    described_object: object.clone(),
                    metric: source.metric.clone(),
                    current,
                }),
                ..MetricStatus::default()
            },
        })
    }

    async fn external(&self, metric: &MetricSpec) -> Result<Measured, String> {
        let source = metric
            .external
            .as_ref()
            .ok_or("no external metric source")?;
        let name = &source.metric.name;
        let read = || async {
            let value = self
                .reader
                .external(name, source.metric.selector.as_ref())
                .await;
            value.map_err(|why| {
                let selector = go_text(source.metric.selector.as_ref());
                format!(
                    "unable to get external metric {}/{name}/{selector}: {why}",
                    self.reader.namespace
                )
            })
        };
        let (proposal, current) = self.shared(read, &source.target, "external", name).await?;
        Ok(Measured {
            proposal,
            name: shared_name(&source.metric),
            status: MetricStatus {
                type_: metric.type_.clone(),
                external: Some(ExternalMetricStatus {
                    metric: source.metric.clone(),
                    current,
                }),
                ..MetricStatus::default()
            },
        })
    }

    /// One value for all: compared as it is, or shared out among the replicas.
    async fn shared<F: Future<Output = Result<i64, String>>>(
        &self,
        read: impl Fn() -> F,
        wanted: &MetricTarget,
        kind: &str,
        name: &str,
    ) -> Result<(Proposal, MetricValueStatus), String> {
        if let Some(average) = target(wanted.average_value.as_ref()) {
            let value = read()
                .await
                .map_err(|why| format!("failed to get {name} {kind} metric: {why}"))?;
            let proposal =
                calculate::by_share(value, average, self.status_replicas, self.tolerances);
            let status = average_status(&proposal);
            return Ok((proposal, status));
        }
        let Some(goal) = target(wanted.value.as_ref()) else {
            return Err(format!(
                "invalid {kind} metric source: neither a value target nor an average value target was set"
            ));
        };
        let value = read().await?;
        let proposal = calculate::by_value(self.pods, value, goal, self.current, self.tolerances)?;
        let status = MetricValueStatus {
            value: Some(written(value, false)),
            ..MetricValueStatus::default()
        };
        Ok((proposal, status))
    }
}

fn average_status(proposal: &Proposal) -> MetricValueStatus {
    MetricValueStatus {
        average_value: Some(written(proposal.value, false)),
        ..MetricValueStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::{Value, json};

    /// An API with metrics of the pods a and b, of which each uses so much CPU, and no others.
    fn serving(usage: &'static str) -> kube::Client {
        let now = "1970-01-01T00:16:40Z";
        let item = move |name: &str| {
            json!({"metadata": {"name": name}, "timestamp": now, "window": "30s",
                "containers": [{"name": "c", "usage": {"cpu": usage}}]})
        };
        let list = json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {}, "items": [item("a"), item("b")]});
        let missing = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 404,
            "status": "Failure", "reason": "NotFound", "message": "not here"});
        client::in_process(tower::service_fn(move |request: http::Request<Body>| {
            let is_there = request.uri().path().starts_with("/apis/metrics.k8s.io/");
            let (code, answer) = match is_there {
                true => (200, list.to_string()),
                false => (404, missing.to_string()),
            };
            let body = Body::from(answer.into_bytes());
            let response = http::Response::builder().status(code).body(body);
            async move { response }
        }))
    }

    fn running(name: &str) -> Arc<Pod> {
        let time = "1970-01-01T00:00:01Z";
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [
                {"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"phase": "Running", "startTime": time, "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": time}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[tokio::test]
    async fn some_metrics_may_ask_for_more_but_not_for_less() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}});
        let queue = json!({"type": "External", "external": {"metric": {"name": "queue"},
            "target": {"type": "Value", "value": "5"}}});
        let rate = json!({"type": "Pods", "pods": {"metric": {"name": "rate"},
            "target": {"type": "AverageValue", "averageValue": "5"}}});
        let (more, less) = ("100m", "10m");
        let fine = "ValidMetricFound";
        let cases: [(_, Vec<&Value>, Option<i32>, _, [&str; 2]); 6] = [
            (more, vec![&cpu], Some(4), fine, ["Resource", "-"]),
            (less, vec![&cpu], Some(1), fine, ["Resource", "-"]),
            (more, vec![&queue, &cpu], Some(4), fine, ["", "Resource"]),
            (
                less,
                vec![&queue, &cpu],
                None,
                "FailedGetExternalMetric",
                ["", "Resource"],
            ),
            (
                less,
                vec![&cpu, &rate],
                None,
                "FailedGetPodsMetric",
                ["Resource", ""],
            ),
            (
                more,
                vec![&rate, &queue],
                None,
                "FailedGetPodsMetric",
                ["", ""],
            ),
        ];
        let pods = [running("a"), running("b")];
        for (usage, metrics, expected, reason, types) in cases {
            let scaler = json!({"spec": {"maxReplicas": 9, "metrics": metrics,
                "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
            let scaler = serde_json::from_value(scaler).unwrap();
            let reader = Reader {
                client: &serving(usage),
                namespace: "ns",
                selector: "app=web",
            };
            let now = Timestamp::from_second(1000).unwrap();
            let counted = Counted::new(&client::metrics::Metrics::new());
            let found = evaluate(&scaler, 2, 2, &pods, &reader, &counted, now).await;
            let about = format!("{usage} {metrics:?} {:?}", found.outcome);
            let replicas = found.outcome.ok().map(|(replicas, _)| replicas);
            assert_eq!(replicas, expected, "{about}");
            assert_eq!(found.active.unwrap().1, reason, "{about}");
            let mut shown = found.statuses.iter().map(|status| status.type_.as_str());
            let shown = [(); 2].map(|()| shown.next().unwrap_or("-"));
            assert_eq!(shown, types, "{about}");
        }
    }

    #[test]
    fn failures_name_the_metric() {
        let target = json!({"type": "Value", "value": "1"});
        let cases = [
            (
                json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}),
                "cpu resource",
            ),
            (
                json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "web", "target": target}}),
                "web container",
            ),
            (
                json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}),
                "queue external",
            ),
            (
                json!({"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": target}}),
                "pods",
            ),
        ];
        for (metric, expected) in cases {
            let metric = serde_json::from_value(metric).unwrap();
            let expected = format!("failed to get {expected} metric value: ");
            assert_eq!(described(&metric), expected);
        }
    }
}
