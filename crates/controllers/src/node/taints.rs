//! Taints that follow from a node's conditions, and who tolerates which.

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition type, the status that taints, and the taint's key.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
];

/// The status of a condition; none if the node never said.
pub(super) fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map(|condition| condition.status.as_str())
}

/// The taints the node should carry. Those of other makers stay as they are; the time a taint was
/// added is kept. With `evict` the node's unreadiness also evicts.
pub(super) fn wanted(node: &Node, evict: bool, now: &Time) -> Vec<Taint> {
    let mut due: Vec<(&str, &str)> = Vec::new();
    for (type_, status, key) in BY_CONDITION {
        // A node that has never reported is as unknown as one that has stopped.
        let actual = condition(node, type_).or((type_ == "Ready").then_some("Unknown"));
        if actual == Some(status) {
            due.push((key, "NoSchedule"));
            if evict && type_ == "Ready" {
                due.push((key, "NoExecute"));
            }
        }
    }
    if node
        .spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or_default()
    {
        due.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| {
        let known =
            BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key) || taint.key == UNSCHEDULABLE;
        let evicting =
            [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()) && taint.effect == "NoExecute";
        known && (taint.effect == "NoSchedule" || evicting)
    };
    let is =
        |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let current = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let mut taints: Vec<_> = current
        .into_iter()
        .filter(|taint| !ours(taint) || due.iter().any(|due| is(taint, *due)))
        .collect();
    for (key, effect) in due {
        if !taints.iter().any(|taint| is(taint, (key, effect))) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(now.clone()),
            });
        }
    }
    taints
}

/// Does the toleration cover the taint?
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (given(&toleration.effect), given(&toleration.key));
    let value = taint.value.clone().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => !key.is_empty() && given(&toleration.value) == value,
        other => {
            let (Ok(taint), Ok(bound)) = (
                value.parse::<i64>(),
                given(&toleration.value).parse::<i64>(),
            ) else {
                return false;
            };
            (other == "Gt" && taint > bound) || (other == "Lt" && taint < bound)
        }
    }
}

/// How long a pod may stay under evicting taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    Forever,
    Seconds(i64),
    No,
}

/// How long the pod's tolerations let it stay under these taints.
pub(super) fn stay(pod: &Pod, taints: &[Taint]) -> Stay {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let mut matching = tolerations
            .iter()
            .filter(|toleration| tolerates(toleration, taint))
            .peekable();
        if matching.peek().is_none() {
            return Stay::No;
        }
        for seconds in matching.filter_map(|toleration| toleration.toleration_seconds) {
            shortest = Some(shortest.map_or(seconds, |shortest| shortest.min(seconds)));
        }
    }
    match shortest {
        None => Stay::Forever,
        Some(seconds) if seconds <= 0 => Stay::No,
        Some(seconds) => Stay::Seconds(seconds),
    }
}

/// The node's evicting taints.
pub(super) fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn node(ready: &str, pressure: &str, taints: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"taints": taints},
            "status": {"conditions": [
                {"type": "Ready", "status": ready}, {"type": "MemoryPressure", "status": pressure},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let own = json!({"key": "gpu", "effect": "NoSchedule", "value": "x"});
        let stale = json!({"key": NOT_READY, "effect": "NoExecute"});
        let cases = [
            (
                node("True", "False", json!([own, stale])),
                true,
                vec!["gpu:NoSchedule"],
            ),
            (
                node("False", "True", json!([own, stale])),
                true,
                vec![
                    "gpu:NoSchedule",
                    "node.kubernetes.io/not-ready:NoExecute",
                    "node.kubernetes.io/not-ready:NoSchedule",
                    "node.kubernetes.io/memory-pressure:NoSchedule",
                ],
            ),
            (
                node("Unknown", "Unknown", json!([stale])),
                false,
                vec!["node.kubernetes.io/unreachable:NoSchedule"],
            ),
        ];
        let now = Time(Timestamp::from_second(9).unwrap());
        for (node, evict, expected) in cases {
            let taints: Vec<_> = wanted(&node, evict, &now)
                .iter()
                .map(|taint| format!("{}:{}", taint.key, taint.effect))
                .collect();
            assert_eq!(taints, expected);
        }
        let kept = wanted(&node("False", "False", json!([stale])), true, &now);
        assert_eq!(
            kept[0].time_added, None,
            "a taint that stays is not touched"
        );
        assert_eq!(kept[1].time_added, Some(now));
    }

    #[test]
    fn tolerations() {
        let taint = Taint {
            key: "k".into(),
            value: Some("v".into()),
            effect: "NoExecute".into(),
            time_added: None,
        };
        let cases = [
            (json!({"operator": "Exists"}), true),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}),
                false,
            ),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "k", "value": "v"}), true),
            (
                json!({"key": "k", "operator": "Equal", "value": "w"}),
                false,
            ),
            (json!({"key": "other", "operator": "Exists"}), false),
        ];
        for (toleration, expected) in cases {
            let parsed: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&parsed, &taint), expected, "{toleration}");
        }
        let stays = [
            (json!([]), Stay::No),
            (json!([{"operator": "Exists"}]), Stay::Forever),
            (
                json!([{"operator": "Exists", "tolerationSeconds": 300}, {"key": "k", "operator": "Exists", "tolerationSeconds": 60}]),
                Stay::Seconds(60),
            ),
            (
                json!([{"operator": "Exists", "tolerationSeconds": 0}]),
                Stay::No,
            ),
        ];
        for (tolerations, expected) in stays {
            let pod: Pod = serde_json::from_value(
                json!({"spec": {"containers": [], "tolerations": tolerations}}),
            )
            .unwrap();
            assert_eq!(
                stay(&pod, std::slice::from_ref(&taint)),
                expected,
                "{tolerations}"
            );
        }
    }
}
