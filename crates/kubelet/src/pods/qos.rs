//! A pod's quality-of-service class, which decides its cgroup's place and its oom score.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use super::resources;

/// The three classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has limits for cpu and memory, and requests equal to them.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl Qos {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The class of a pod.
    pub fn of(spec: &PodSpec) -> Self {
        if let Some(pod_level) = &spec.resources {
            return Self::of_requirements(std::iter::once(Some(pod_level)));
        }
        let all = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten());
        Self::of_requirements(all.map(|c| c.resources.as_ref()))
    }

    fn of_requirements<'a>(all: impl Iterator<Item = Option<&'a ResourceRequirements>>) -> Self {
        let mut any = false;
        let mut guaranteed = true;
        let none = BTreeMap::new();
        for requirements in all {
            let limits = requirements
                .and_then(|r| r.limits.as_ref())
                .unwrap_or(&none);
            let requests = requirements
                .and_then(|r| r.requests.as_ref())
                .unwrap_or(&none);
            for name in ["cpu", "memory"] {
                let limit = positive(limits.get(name));
                let request = positive(requests.get(name)).or(limit);
                any |= limit.is_some() || request.is_some();
                guaranteed &= limit.is_some() && limit == request;
            }
        }
        match (any, guaranteed) {
            (false, _) => Self::BestEffort,
            (true, true) => Self::Guaranteed,
            (true, false) => Self::Burstable,
        }
    }

    /// The oom score adjustment of a container, from its memory request and the machine's memory.
    pub fn oom_score_adj(self, critical: bool, memory_request: i64, machine_memory: i64) -> i64 {
        if critical {
            return -997;
        }
        match self {
            Self::Guaranteed => -997,
            Self::BestEffort => 1000,
            Self::Burstable => {
                let share = if machine_memory > 0 {
                    (1000 * i128::from(memory_request) / i128::from(machine_memory)) as i64
                } else {
                    0
                };
                (1000 - share).clamp(3, 999)
            }
        }
    }
}

fn positive(quantity: Option<&Quantity>) -> Option<i128> {
    quantity.map(resources::nano).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> PodSpec {
        serde_json::from_value(json).expect("a pod spec")
    }

    #[test]
    fn classes() {
        let cases = [
            (serde_json::json!({}), Qos::BestEffort),
            (
                serde_json::json!({"requests": {"cpu": "100m"}}),
                Qos::Burstable,
            ),
            (
                serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}}),
                Qos::Guaranteed,
            ),
            (
                serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
                Qos::Guaranteed,
            ),
            (
                serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}),
                Qos::Burstable,
            ),
            (
                serde_json::json!({"limits": {"memory": "1Gi"}}),
                Qos::Burstable,
            ),
        ];
        for (resources, want) in cases {
            let spec =
                spec(serde_json::json!({"containers": [{"name": "c", "resources": resources}]}));
            assert_eq!(Qos::of(&spec), want, "{resources}");
        }
    }

    #[test]
    fn oom_scores() {
        assert_eq!(Qos::Guaranteed.oom_score_adj(false, 0, 100), -997);
        assert_eq!(Qos::BestEffort.oom_score_adj(false, 0, 100), 1000);
        assert_eq!(Qos::Burstable.oom_score_adj(false, 0, 100), 999);
        assert_eq!(Qos::Burstable.oom_score_adj(false, 50, 100), 500);
        assert_eq!(Qos::Burstable.oom_score_adj(false, 100, 100), 3);
    }
}
