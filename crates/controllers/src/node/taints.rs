//! Taints that follow from a node's conditions, and who tolerates which.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pods;

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
        if condition(node, type_) == Some(status) {
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
    let reports = condition(node, "Ready").is_some();
    let ours = |taint: &Taint| {
        let of_readiness = [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
        let known =
            BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key) || taint.key == UNSCHEDULABLE;
        // What keeps pods from a node that has never reported stays until it does.
        (known && taint.effect == "NoSchedule" && (reports || !of_readiness)) || gives_up(taint)
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

/// Does this taint say that the node is given up for its own unreadiness?
fn gives_up(taint: &Taint) -> bool {
    [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()) && taint.effect == "NoExecute"
}

/// Is the node given up already?
pub(super) fn is_given_up(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.is_some_and(|taints| taints.iter().any(gives_up))
}

/// How long a pod may stay under evicting taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    Forever,
    Until(Timestamp),
    No,
}

/// How long the pod's tolerations let it stay under these taints: of each taint the first one that
/// covers it counts. A stay begins when the taint was added, or when the pod came to the node if
/// that was later; of taints that do not say so, when the pod was first seen under them.
pub(super) fn stay(pod: &Pod, taints: &[Taint], seen: Timestamp) -> Stay {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let bound = pods::condition(pod, "PodScheduled")
        .filter(|scheduled| scheduled.status == "True")
        .and_then(|scheduled| scheduled.last_transition_time.as_ref())
        .or(pod.metadata.creation_timestamp.as_ref());
    let mut end: Option<Timestamp> = None;
    for taint in taints {
        let mut covering = tolerations
            .iter()
            .filter(|toleration| tolerates(toleration, taint));
        let Some(toleration) = covering.next() else {
            return Stay::No;
        };
        let Some(seconds) = toleration.toleration_seconds else {
            continue;
        };
        if seconds <= 0 {
            return Stay::No;
        }
        let added = taint.time_added.as_ref().map_or(seen, |added| added.0);
        let begin = bound.map_or(added, |bound| added.max(bound.0));
        let until = begin
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap_or(Timestamp::MAX);
        end = Some(end.map_or(until, |end| end.min(until)));
    }
    end.map_or(Stay::Forever, Stay::Until)
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
    }

    fn tolerating(tolerations: Value, bound: i64) -> Pod {
        let time = |at| api::clock::rfc3339(Timestamp::from_second(at).unwrap());
        serde_json::from_value(json!({
            "metadata": {"creationTimestamp": time(0)},
            "spec": {"containers": [], "tolerations": tolerations},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": time(bound)}]},
        }))
        .unwrap()
    }

    #[test]
    fn stays() {
        let taint = |key: &str, added: Option<i64>| Taint {
            key: key.into(),
            value: None,
            effect: "NoExecute".into(),
            time_added: added.map(|at| Time(Timestamp::from_second(at).unwrap())),
        };
        let until = |at| Stay::Until(Timestamp::from_second(at).unwrap());
        let exists = |key: &str, seconds: Value| json!({"key": key, "operator": "Exists", "tolerationSeconds": seconds});
        let null = Value::Null;
        let (old, bare) = (taint("k", Some(1_000)), taint("k", None));
        let cases = [
            ("none", json!([]), 0, vec![old.clone()], Stay::No),
            (
                "no end",
                json!([{"operator": "Exists"}]),
                0,
                vec![old.clone()],
                Stay::Forever,
            ),
            (
                "0 s",
                json!([exists("k", json!(0))]),
                0,
                vec![old.clone()],
                Stay::No,
            ),
            (
                "from the taint",
                json!([exists("k", json!(60))]),
                0,
                vec![old.clone()],
                until(1_060),
            ),
            (
                "came later",
                json!([exists("k", json!(60))]),
                1_500,
                vec![old.clone()],
                until(1_560),
            ),
            (
                "no time added",
                json!([exists("k", json!(60))]),
                1_500,
                vec![bare],
                until(2_060),
            ),
            (
                "the first that covers",
                json!([exists("k", null.clone()), exists("k", json!(60))]),
                0,
                vec![old.clone()],
                Stay::Forever,
            ),
            (
                "one is not covered",
                json!([exists("k", null.clone())]),
                0,
                vec![old.clone(), taint("l", None)],
                Stay::No,
            ),
            (
                "each from its own time",
                json!([exists("k", json!(300)), exists("l", json!(100))]),
                0,
                vec![old.clone(), taint("l", Some(1_150))],
                until(1_250),
            ),
            (
                "the earlier end",
                json!([exists("k", json!(300)), exists("l", json!(1_000))]),
                0,
                vec![old, taint("l", Some(1_150))],
                until(1_300),
            ),
        ];
        let seen = Timestamp::from_second(2_000).unwrap();
        for (name, tolerations, bound, taints, expected) in cases {
            let pod = tolerating(tolerations, bound);
            assert_eq!(stay(&pod, &taints, seen), expected, "{name}");
        }
    }

    #[test]
    fn a_node_that_never_reported_is_not_given_up() {
        let fresh: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"unschedulable": true, "taints": [{"key": NOT_READY, "effect": "NoSchedule"}]},
        }))
        .unwrap();
        let now = Time(Timestamp::from_second(9).unwrap());
        let wanted = wanted(&fresh, true, &now);
        let taints: Vec<_> = wanted
            .iter()
            .map(|taint| (taint.key.as_str(), taint.effect.as_str()))
            .collect();
        assert_eq!(
            taints,
            [(NOT_READY, "NoSchedule"), (UNSCHEDULABLE, "NoSchedule")]
        );
    }

    #[test]
    fn only_its_own_taints_say_that_a_node_is_given_up() {
        for (key, effect, expected) in [
            ("mine", "NoExecute", false),
            (NOT_READY, "NoSchedule", false),
            (NOT_READY, "NoExecute", true),
            (UNREACHABLE, "NoExecute", true),
        ] {
            let node = node("False", "False", json!([{"key": key, "effect": effect}]));
            assert_eq!(is_given_up(&node), expected, "{key}:{effect}");
        }
    }
}
