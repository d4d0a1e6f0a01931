//! For whom an endpoint is meant: hints that keep a Service's traffic near, by `trafficDistribution`.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone};

/// How near traffic should stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distribution {
    /// Anywhere.
    Any,
    /// In the zone.
    Zone,
    /// On the node, else in the zone.
    Node,
}

/// What the Service asks for; what is not known asks for nothing.
pub(crate) fn of(service: &Service) -> Distribution {
    let wanted = service
        .spec
        .as_ref()
        .and_then(|spec| spec.traffic_distribution.as_deref());
    match wanted {
        Some("PreferClose" | "PreferSameZone") => Distribution::Zone,
        Some("PreferSameNode") => Distribution::Node,
        _ => Distribution::Any,
    }
}

/// The hints of an endpoint; only those that are ready have some.
pub(crate) fn hints(distribution: Distribution, endpoint: &Endpoint) -> Option<EndpointHints> {
    let ready = endpoint
        .conditions
        .as_ref()
        .is_some_and(|conditions| conditions.ready == Some(true));
    if distribution == Distribution::Any || !ready {
        return None;
    }
    let zone = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
    let node = endpoint
        .node_name
        .clone()
        .filter(|_| distribution == Distribution::Node)
        .map(|name| vec![ForNode { name }]);
    (zone.is_some() || node.is_some()).then_some(EndpointHints {
        for_nodes: node,
        for_zones: zone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hints_follow_the_distribution() {
        let endpoint = |ready: bool, zone: Option<&str>| -> Endpoint {
            serde_json::from_value(json!({"addresses": ["10.0.0.1"], "nodeName": "n",
                "zone": zone, "conditions": {"ready": ready}}))
            .unwrap()
        };
        let zone = json!([{"name": "a"}]);
        let node = json!([{"name": "n"}]);
        let cases = [
            (None, true, Some("a"), json!(null)),
            (Some("Elsewhere"), true, Some("a"), json!(null)),
            (
                Some("PreferClose"),
                true,
                Some("a"),
                json!({"forZones": zone}),
            ),
            (Some("PreferSameZone"), true, None, json!(null)),
            (Some("PreferSameZone"), false, Some("a"), json!(null)),
            (
                Some("PreferSameNode"),
                true,
                Some("a"),
                json!({"forNodes": node, "forZones": zone}),
            ),
            (
                Some("PreferSameNode"),
                true,
                None,
                json!({"forNodes": node}),
            ),
        ];
        for (distribution, ready, zone, expected) in cases {
            let service: Service =
                serde_json::from_value(json!({"spec": {"trafficDistribution": distribution}}))
                    .unwrap();
            let found = hints(of(&service), &endpoint(ready, zone));
            assert_eq!(
                serde_json::to_value(found).unwrap(),
                expected,
                "{distribution:?} {zone:?}"
            );
        }
    }
}
