//! The quality-of-service class, which follows from requests and limits.

use schema::Value;

use crate::{object::Object, quantity::Quantity};

const GUARANTEED: &str = "Guaranteed";
const BURSTABLE: &str = "Burstable";
const BEST_EFFORT: &str = "BestEffort";

/// The class of a pod.
pub fn class(pod: &Value) -> &'static str {
    let spec = pod.at("spec");
    if spec
        .map("resources.requests")
        .is_some_and(|map| !map.is_empty())
        || spec
            .map("resources.limits")
            .is_some_and(|map| !map.is_empty())
    {
        return of([spec.at("resources")].into_iter());
    }
    of(spec
        .list("containers")
        .iter()
        .chain(spec.list("initContainers"))
        .map(|container| container.at("resources")))
}

fn of<'a>(resources: impl Iterator<Item = &'a Value>) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for resources in resources {
        for name in ["cpu", "memory"] {
            let amount = |kind: &str| {
                resources
                    .at(kind)
                    .get(name)
                    .map(Quantity::of)
                    .filter(|amount| *amount > Quantity::ZERO)
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => BEST_EFFORT,
        (true, true) => GUARANTEED,
        (true, false) => BURSTABLE,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let full = json!({"cpu": "1", "memory": "1Gi"});
        let cases = [
            (json!([{}]), BEST_EFFORT),
            (
                json!([{"resources": {"requests": {"cpu": "1"}}}]),
                BURSTABLE,
            ),
            (
                json!([{"resources": {"limits": full, "requests": full}}]),
                GUARANTEED,
            ),
            (json!([{"resources": {"limits": full}}]), GUARANTEED),
            (
                json!([{"resources": {"limits": full, "requests": full}}, {}]),
                BURSTABLE,
            ),
            (
                json!([{"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]),
                BURSTABLE,
            ),
            (
                json!([{"resources": {"requests": {"nvidia.com/gpu": "1"}}}]),
                BEST_EFFORT,
            ),
        ];
        for (containers, expected) in cases {
            assert_eq!(
                class(&json!({"spec": {"containers": containers}})),
                expected
            );
        }
    }
}
