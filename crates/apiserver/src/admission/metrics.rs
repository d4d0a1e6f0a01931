//! What is counted of admission, under upstream's names.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HookLabels {
    name: Arc<str>,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    name: Arc<str>,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RejectionLabels {
    name: Arc<str>,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OpenLabels {
    name: Arc<str>,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabels {
    name: Arc<str>,
    kind: &'static str,
    r#type: &'static str,
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyLabels {
    policy: Arc<str>,
    policy_binding: Arc<str>,
    error_type: &'static str,
    enforcement_action: &'static str,
}

/// What is counted of admission.
pub struct AdmissionMetrics {
    durations: Histograms<HookLabels>,
    requests: Family<RequestLabels, Counter>,
    // Their upstream names do not end as a counter's must in this text form, so they are gauges that
    // only grow.
    rejections: Family<RejectionLabels, Gauge>,
    opened: Family<OpenLabels, Gauge>,
    exclusions: Family<ConditionLabels, Counter>,
    policy_checks: Family<PolicyLabels, Counter>,
    policy_durations: Histograms<PolicyLabels>,
}

/// Codes beyond this are counted as this.
const MAX_CODE: u16 = 600;

fn flag(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

impl AdmissionMetrics {
    /// Nothing counted yet.
    pub fn new(registry: &mut Registry) -> AdmissionMetrics {
        let calls: fn() -> Histogram =
            || Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0]);
        let checks: fn() -> Histogram = || Histogram::new([0.0000005, 0.001, 0.01, 0.1, 1.0]);
        let metrics = AdmissionMetrics {
            durations: Family::new_with_constructor(calls),
            requests: Family::default(),
            rejections: Family::default(),
            opened: Family::default(),
            exclusions: Family::default(),
            policy_checks: Family::default(),
            policy_durations: Family::new_with_constructor(checks),
        };
        registry.register(
            "apiserver_admission_webhook_admission_duration_seconds",
            "How long calls of webhooks took",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_request",
            "Calls of webhooks by outcome",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_rejection_count",
            "Requests that webhooks refused, or that were refused because a webhook failed",
            metrics.rejections.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_fail_open_count",
            "Webhooks that failed and were passed over",
            metrics.opened.clone(),
        );
        registry.register(
            "apiserver_admission_match_condition_exclusions",
            "Requests that match conditions kept from a webhook or policy",
            metrics.exclusions.clone(),
        );
        registry.register(
            "apiserver_validating_admission_policy_check",
            "Decisions of policies by enforcement",
            metrics.policy_checks.clone(),
        );
        registry.register(
            "apiserver_validating_admission_policy_check_duration_seconds",
            "How long decisions of policies took",
            metrics.policy_durations.clone(),
        );
        metrics
    }

    pub(super) fn webhook(
        &self,
        name: &str,
        step: &'static str,
        operation: &'static str,
        code: u16,
        rejected: bool,
        took: Duration,
    ) {
        let name: Arc<str> = name.into();
        self.requests
            .get_or_create(&RequestLabels {
                name: name.clone(),
                r#type: step,
                operation,
                code: code.min(MAX_CODE),
                rejected: flag(rejected),
            })
            .inc();
        self.durations
            .get_or_create(&HookLabels {
                name,
                r#type: step,
                operation,
                rejected: flag(rejected),
            })
            .observe(took.as_secs_f64());
    }

    pub(super) fn rejection(
        &self,
        name: &str,
        step: &'static str,
        operation: &'static str,
        error_type: &'static str,
        code: u16,
    ) {
        self.rejections
            .get_or_create(&RejectionLabels {
                name: name.into(),
                r#type: step,
                operation,
                error_type,
                rejection_code: code.min(MAX_CODE),
            })
            .inc();
    }

    pub(super) fn fail_open(&self, name: &str, step: &'static str) {
        self.opened
            .get_or_create(&OpenLabels {
                name: name.into(),
                r#type: step,
            })
            .inc();
    }

    pub(super) fn excluded(
        &self,
        name: &str,
        kind: &'static str,
        step: &'static str,
        operation: &'static str,
    ) {
        self.exclusions
            .get_or_create(&ConditionLabels {
                name: name.into(),
                kind,
                r#type: step,
                operation,
            })
            .inc();
    }

    pub(super) fn policy(
        &self,
        policy: &str,
        binding: &str,
        error_type: &'static str,
        action: &'static str,
        took: Duration,
    ) {
        let labels = PolicyLabels {
            policy: policy.into(),
            policy_binding: binding.into(),
            error_type,
            enforcement_action: action,
        };
        self.policy_checks.get_or_create(&labels).inc();
        self.policy_durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}
