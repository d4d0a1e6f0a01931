//! From what metrics propose to what is done: not beyond the bounds, not faster than the policies
//! allow, and not back and forth. Pure, but for the history it keeps of one autoscaler.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerSpec};

/// For how long the highest recommendation counts when nothing else is said.
const DOWN_WINDOW: i32 = 300;
/// Nothing older than the longest window and period that the API allows is kept: at one look each
/// 15 s that is some 240 recommendations.
const KEPT: SignedDuration = SignedDuration::from_secs(3_600);

/// What one autoscaler recommended and did.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    recommended: Vec<(Timestamp, i32)>,
    added: Vec<(Timestamp, i32)>,
    removed: Vec<(Timestamp, i32)>,
}

fn within(since: Timestamp, now: Timestamp, seconds: i32) -> bool {
    now.duration_since(since) < SignedDuration::from_secs(seconds.into())
}

impl History {
    /// The first look: what is there counts as recommended, so that a restart does not scale down.
    pub fn begin(&mut self, current: i32, now: Timestamp) {
        for list in [&mut self.recommended, &mut self.added, &mut self.removed] {
            list.retain(|(at, _)| now.duration_since(*at) <= KEPT);
        }
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
    }

    /// The scale was changed.
    pub fn scaled(&mut self, has_behavior: bool, from: i32, to: i32, now: Timestamp) {
        if !has_behavior {
            return;
        }
        if to > from {
            self.added.push((now, to - from));
        } else {
            self.removed.push((now, from - to));
        }
    }

    fn recent(&self, seconds: i32, now: Timestamp) -> impl Iterator<Item = i32> {
        let all = self.recommended.iter();
        all.filter(move |(at, _)| within(*at, now, seconds))
            .map(|(_, replicas)| *replicas)
    }

    /// The replicas there were when a period began.
    fn at_start(&self, current: i32, seconds: i32, now: Timestamp) -> i32 {
        let sum = |list: &[(Timestamp, i32)]| -> i32 {
            let recent = list.iter().filter(|(at, _)| within(*at, now, seconds));
            recent.map(|(_, change)| *change).sum()
        };
        current - sum(&self.added) + sum(&self.removed)
    }
}

type Said = (&'static str, &'static str);

/// How many there are to be, and what the conditions say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Normal {
    pub replicas: i32,
    pub able: Said,
    pub limited: (bool, &'static str, &'static str),
}

const READY: Said = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: Said = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: Said = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: Said = (
    "DesiredWithinRange",
    "the desired count is within the acceptable range",
);
const TOO_FAST_UP: Said = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
);
const TOO_FAST_DOWN: Said = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const TOO_MANY: Said = (
    "TooManyReplicas",
    "the desired replica count is more than the maximum replica count",
);
const TOO_FEW: Said = (
    "TooFewReplicas",
    "the desired replica count is less than the minimum replica count",
);

/// Brings a proposal into bounds.
pub(super) fn normalize(
    spec: &HorizontalPodAutoscalerSpec,
    current: i32,
    proposed: i32,
    min: i32,
    history: &mut History,
    now: Timestamp,
) -> Normal {
    let behavior = spec.behavior.as_ref();
    let up = behavior.and_then(|behavior| behavior.scale_up.as_ref());
    let down = behavior.and_then(|behavior| behavior.scale_down.as_ref());
    let down_window = down
        .and_then(|rules| rules.stabilization_window_seconds)
        .unwrap_or(DOWN_WINDOW);
    let (stable, said) = if behavior.is_some() {
        let up_window = up.and_then(|rules| rules.stabilization_window_seconds);
        let lowest = history
            .recent(up_window.unwrap_or_default(), now)
            .fold(proposed, i32::min);
        let highest = history.recent(down_window, now).fold(proposed, i32::max);
        let said = if proposed >= current {
            UP_STABILIZED
        } else {
            DOWN_STABILIZED
        };
        (current.max(lowest).min(highest), said)
    } else {
        let highest = history.recent(down_window, now).fold(proposed, i32::max);
        (highest, DOWN_STABILIZED)
    };
    history.recommended.push((now, proposed));
    let able = if stable == proposed { READY } else { said };
    let (replicas, said) = if behavior.is_some() {
        by_rules(spec, current, stable, min, history, now)
    } else {
        by_default(spec, current, stable, min)
    };
    Normal {
        replicas,
        able,
        limited: (replicas != stable, said.0, said.1),
    }
}

/// Without rules: at most doubled, or up to 4.
fn by_default(
    spec: &HorizontalPodAutoscalerSpec,
    current: i32,
    wanted: i32,
    min: i32,
) -> (i32, Said) {
    let limit = current.saturating_mul(2).max(4);
    let (most, why) = if spec.max_replicas > limit {
        (limit, TOO_FAST_UP)
    } else {
        (spec.max_replicas, TOO_MANY)
    };
    if wanted < min {
        (min, TOO_FEW)
    } else if wanted > most {
        (most, why)
    } else {
        (wanted, WITHIN)
    }
}

fn by_rules(
    spec: &HorizontalPodAutoscalerSpec,
    current: i32,
    wanted: i32,
    min: i32,
    history: &History,
    now: Timestamp,
) -> (i32, Said) {
    let behavior = spec.behavior.clone().unwrap_or_default();
    if wanted > current {
        let rules = behavior.scale_up.unwrap_or_default();
        let limit = limit(&rules, current, history, now, Direction::Up).max(current);
        let (most, why) = if spec.max_replicas > limit {
            (limit, TOO_FAST_UP)
        } else {
            (spec.max_replicas, TOO_MANY)
        };
        if wanted > most {
            return (most, why);
        }
    } else if wanted < current {
        let rules = behavior.scale_down.unwrap_or_default();
        let limit = limit(&rules, current, history, now, Direction::Down).min(current);
        let (least, why) = if min < limit {
            (limit, TOO_FAST_DOWN)
        } else {
            (min, TOO_FEW)
        };
        if wanted < least {
            return (least, why);
        }
    }
    (wanted, WITHIN)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How far the policies let the number go.
fn limit(
    rules: &HPAScalingRules,
    current: i32,
    history: &History,
    now: Timestamp,
    direction: Direction,
) -> i32 {
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let policies = rules.policies.as_deref().unwrap_or_default();
    let proposals = policies.iter().map(|policy| {
        let start = history.at_start(current, policy.period_seconds, now);
        let share = f64::from(policy.value) / 100.0;
        match (direction, policy.type_ == "Percent") {
            (Direction::Up, false) => start.saturating_add(policy.value),
            (Direction::Down, false) => start.saturating_sub(policy.value),
            // Upwards rounded up, or a small number would never grow.
            (Direction::Up, true) => (f64::from(start) * (1.0 + share)).ceil() as i32,
            (Direction::Down, true) => (f64::from(start) * (1.0 - share)) as i32,
        }
    });
    let most_change = select != "Min";
    let limit = if (direction == Direction::Up) == most_change {
        proposals.max()
    } else {
        proposals.min()
    };
    limit.unwrap_or(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(behavior: Value) -> HorizontalPodAutoscalerSpec {
        serde_json::from_value(json!({"maxReplicas": 20, "behavior": behavior,
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}}))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(10_000 + second).unwrap()
    }

    /// Runs proposals at given seconds, each followed; answers what came of them.
    fn run(
        spec: &HorizontalPodAutoscalerSpec,
        start: i32,
        proposals: &[(i64, i32)],
    ) -> Vec<(i32, &'static str)> {
        let mut history = History::default();
        history.begin(start, at(-1_000));
        let mut current = start;
        let mut seen = Vec::new();
        for (second, proposed) in proposals {
            let now = at(*second);
            history.begin(current, now);
            let normal = normalize(spec, current, *proposed, 1, &mut history, now);
            history.scaled(spec.behavior.is_some(), current, normal.replicas, now);
            current = normal.replicas;
            let said = if normal.limited.0 {
                normal.limited.1
            } else {
                normal.able.0
            };
            seen.push((current, said));
        }
        seen
    }

    #[test]
    fn without_rules() {
        let plain = spec(Value::Null);
        let fast = [(0, 15), (15, 15), (30, 15), (45, 30)];
        assert_eq!(
            run(&plain, 3, &fast),
            [
                (6, "ScaleUpLimit"),
                (12, "ScaleUpLimit"),
                (15, "ReadyForNewScale"),
                (20, "TooManyReplicas"),
            ]
        );
        let back = [(0, 8), (15, 2), (200, 2), (301, 2), (320, 0)];
        assert_eq!(
            run(&plain, 4, &back),
            [
                (8, "ReadyForNewScale"),
                (8, "ScaleDownStabilized"),
                (8, "ScaleDownStabilized"),
                (2, "ReadyForNewScale"),
                (2, "ScaleDownStabilized"),
            ]
        );
    }

    #[test]
    fn by_policies() {
        let rules = |select: &str| {
            json!({
                "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 60},
                    {"type": "Percent", "value": 100, "periodSeconds": 60}]},
                "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": [
                    {"type": "Pods", "value": 2, "periodSeconds": 60},
                    {"type": "Percent", "value": 10, "periodSeconds": 60}]},
            })
        };
        let up = [(0, 20), (15, 20), (61, 20)];
        assert_eq!(
            run(&spec(rules("Max")), 5, &up),
            [
                (10, "ScaleUpLimit"),
                (10, "ScaleUpLimit"),
                (20, "ReadyForNewScale")
            ]
        );
        assert_eq!(
            run(&spec(rules("Min")), 5, &up),
            [
                (9, "ScaleUpLimit"),
                (9, "ScaleUpLimit"),
                (13, "ScaleUpLimit")
            ]
        );
        assert_eq!(
            run(&spec(rules("Disabled")), 5, &[(0, 9), (15, 1)]),
            [(5, "ScaleUpLimit"), (5, "ScaleDownLimit")]
        );
        assert_eq!(
            run(&spec(rules("Max")), 10, &[(0, 1), (15, 1), (61, 1)]),
            [
                (8, "ScaleDownLimit"),
                (8, "ScaleDownLimit"),
                (6, "ScaleDownLimit")
            ]
        );
        assert_eq!(
            run(&spec(rules("Min")), 10, &[(0, 1)]),
            [(9, "ScaleDownLimit")]
        );
    }

    #[test]
    fn windows_both_ways() {
        let rules = spec(json!({
            "scaleUp": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max",
                "policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]},
            "scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max",
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
        }));
        let turns = [(0, 5), (15, 9), (30, 3), (80, 8), (95, 8)];
        assert_eq!(
            run(&rules, 5, &turns),
            [
                (5, "ReadyForNewScale"),
                (5, "ScaleUpStabilized"),
                (5, "ScaleDownStabilized"),
                (5, "ScaleUpStabilized"),
                (8, "ReadyForNewScale"),
            ]
        );
    }
}
