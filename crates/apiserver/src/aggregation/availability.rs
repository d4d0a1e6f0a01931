//! Can an aggregated server be reached? What its Service and EndpointSlices say of it, as upstream's
//! availability controller words it. Pure.

use api::meta;
use api::object::Object;
use serde_json::{Value, json};

/// The `Available` condition, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `True` or `False`.
    pub available: bool,
    /// `Passed`, `ServiceNotFound`, …
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Verdict {
        Verdict {
            available: false,
            reason,
            message,
        }
    }

    /// Its discovery was asked for, with this outcome.
    pub fn of_probe(outcome: Result<(), String>) -> Verdict {
        match outcome {
            Ok(()) => Verdict {
                available: true,
                reason: "Passed",
                message: "all checks passed".to_owned(),
            },
            Err(why) => Verdict::no("FailedDiscoveryCheck", why),
        }
    }
}

/// What can be said without asking the server itself; none when it has to be asked.
pub fn judge(api_service: &Value, service: Option<&Value>, slices: &[Value]) -> Option<Verdict> {
    let reference = api_service.at("spec.service");
    let name = format!(
        "service/{} in {:?}",
        reference.text("name"),
        reference.text("namespace")
    );
    let Some(service) = service else {
        return Some(Verdict::no(
            "ServiceNotFound",
            format!("{name} is not present"),
        ));
    };
    if !matches!(service.text("spec.type"), "ClusterIP" | "") {
        return None;
    }
    let port = reference.int("port").unwrap_or(443);
    let ports = service.list("spec.ports");
    let Some(port) = ports.iter().find(|p| p.int("port") == Some(port)) else {
        return Some(Verdict::no(
            "ServicePortError",
            format!("{name} is not listening on port {port}"),
        ));
    };
    let port_name = port.text("name");
    if slices.is_empty() {
        return Some(Verdict::no(
            "EndpointsNotFound",
            format!("cannot find endpointslices for {name}"),
        ));
    }
    let serves = |slice: &Value| {
        let ready = |endpoint: &Value| endpoint.at("conditions.ready").as_bool().unwrap_or(true);
        slice.list("endpoints").iter().any(ready)
            && slice
                .list("ports")
                .iter()
                .any(|p| p.text("name") == port_name && p.int("port").is_some())
    };
    if !slices.iter().any(serves) {
        return Some(Verdict::no(
            "MissingEndpoints",
            format!("endpointslices for {name} have no addresses with port name {port_name:?}"),
        ));
    }
    None
}

/// The APIService with this verdict in its status; none where it says so already.
pub fn concluded(live: &Value, verdict: &Verdict, now: jiff::Timestamp) -> Option<Value> {
    let status = if verdict.available { "True" } else { "False" };
    let held = meta::condition(live, "Available");
    if held.is_some_and(|c| {
        c.text("status") == status
            && c.text("reason") == verdict.reason
            && c.text("message") == verdict.message
    }) {
        return None;
    }
    let mut condition = json!({
        "type": "Available", "status": status, "reason": verdict.reason,
        "message": verdict.message, "lastTransitionTime": api::clock::rfc3339(now),
    });
    if let Some(held) = held
        && held.text("status") == status
    {
        condition.restore("lastTransitionTime", held);
    }
    let mut object = live.clone();
    let mut conditions = live.list("status.conditions").to_vec();
    match conditions
        .iter_mut()
        .find(|c| c.text("type") == "Available")
    {
        Some(held) => *held = condition,
        None => conditions.push(condition),
    }
    object.set("status.conditions", conditions);
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_named() {
        let api = json!({"spec": {"service": {"name": "s", "namespace": "n", "port": 443}}});
        let service = |port: i64| json!({"spec": {"type": "ClusterIP", "ports": [{"port": port, "name": "https"}]}});
        let slice = |ready: bool, port: &str| json!({"endpoints": [{"conditions": {"ready": ready}}], "ports": [{"name": port, "port": 8443}]});
        let cases = [
            (
                None,
                vec![],
                Some(("ServiceNotFound", "service/s in \"n\" is not present")),
            ),
            (
                Some(service(80)),
                vec![],
                Some((
                    "ServicePortError",
                    "service/s in \"n\" is not listening on port 443",
                )),
            ),
            (
                Some(service(443)),
                vec![],
                Some((
                    "EndpointsNotFound",
                    "cannot find endpointslices for service/s in \"n\"",
                )),
            ),
            (
                Some(service(443)),
                vec![slice(false, "https"), slice(true, "other")],
                Some((
                    "MissingEndpoints",
                    "endpointslices for service/s in \"n\" have no addresses with port name \"https\"",
                )),
            ),
            (Some(service(443)), vec![slice(true, "https")], None),
            (
                Some(json!({"spec": {"type": "ExternalName"}})),
                vec![],
                None,
            ),
        ];
        for (service, slices, expected) in cases {
            let found = judge(&api, service.as_ref(), &slices);
            let found = found.as_ref().map(|v| (v.reason, v.message.as_str()));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_status_is_written_when_it_says_something_new() {
        let at = |text: &str| text.parse().unwrap();
        let passed = Verdict::of_probe(Ok(()));
        let live =
            json!({"metadata": {"name": "v1.g"}, "status": {"conditions": [{"type": "Other"}]}});
        let first = concluded(&live, &passed, at("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(
            first["status"]["conditions"][1]["message"],
            "all checks passed"
        );
        assert_eq!(concluded(&first, &passed, at("2026-01-02T00:00:00Z")), None);
        let failed = Verdict::of_probe(Err("no".to_owned()));
        let second = concluded(&first, &failed, at("2026-01-02T00:00:00Z")).unwrap();
        let third = concluded(
            &second,
            &Verdict::of_probe(Err("still no".to_owned())),
            at("2026-01-03T00:00:00Z"),
        )
        .unwrap();
        let condition = &third["status"]["conditions"][1];
        assert_eq!(condition["lastTransitionTime"], "2026-01-02T00:00:00Z");
        assert_eq!(condition["reason"], "FailedDiscoveryCheck");
    }
}
