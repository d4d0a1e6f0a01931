//! How fast nodes may be given up, zone by zone: when many fall silent at once, it is more likely the
//! network than the nodes, and moving all their pods would make it worse.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use super::lifecycle::is_ready;
use crate::kit::until;

/// One node each ten seconds, as upstream's `--node-eviction-rate` 0.1.
const NORMAL: Duration = Duration::from_secs(10);
/// Where much is amiss: `--secondary-node-eviction-rate` 0.01.
const SLOW: Duration = Duration::from_secs(100);
/// Zones no larger than this stop altogether then: `--large-cluster-size-threshold`.
const SMALL: usize = 50;
/// Much is amiss from this share on: `--unhealthy-zone-threshold`.
const UNHEALTHY: f64 = 0.55;

/// How a zone is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Normal,
    Partial,
    Full,
}

/// Does the node count when the state of its zone is judged?
fn counts(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    labels.is_none_or(|labels| !labels.contains_key("node.kubernetes.io/exclude-disruption"))
}

/// The name of the zone a node is in; those without labels are in one of their own together.
fn zone(node: &Node) -> String {
    let label = |name: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(name)).cloned()
    };
    // The old names count first, as long as nodes carry them.
    let region = label("failure-domain.beta.kubernetes.io/region")
        .or_else(|| label("topology.kubernetes.io/region"))
        .unwrap_or_default();
    let zone = label("failure-domain.beta.kubernetes.io/zone")
        .or_else(|| label("topology.kubernetes.io/zone"))
        .unwrap_or_default();
    format!("{region}:{zone}")
}

/// The zone as metrics name it: nothing for nodes without labels.
pub(super) fn key(node: &Node) -> String {
    let name = zone(node);
    match name.split_once(':') {
        None | Some(("", "")) => String::new(),
        Some((region, zone)) => format!("{region}:\u{0}:{zone}"),
    }
}

fn state(ready: usize, unready: usize) -> State {
    let share = unready as f64 / (ready + unready).max(1) as f64;
    if ready == 0 && unready > 0 {
        State::Full
    } else if unready > 2 && share >= UNHEALTHY {
        State::Partial
    } else {
        State::Normal
    }
}

/// May a node be given up?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    /// Not before this long.
    Wait(Duration),
    /// Not while things are as they are.
    No,
}

/// How the zones are doing, and when the next node of each may be given up; one entry per zone.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Ready and other nodes by zone.
    counts: HashMap<String, (usize, usize)>,
    /// The nodes' revision that is true of; none before the first count.
    counted: Option<u64>,
    next: HashMap<String, Timestamp>,
}

impl Pace {
    /// Takes in how the nodes are at a revision. They are counted once for all that ask at it: when
    /// thousands fall silent, thousands ask.
    pub fn see(&mut self, revision: u64, all: impl FnOnce() -> Vec<Arc<Node>>) {
        if self.counted.replace(revision) == Some(revision) {
            return;
        }
        self.counts.clear();
        for node in all().iter().filter(|node| counts(node)) {
            let (ready, unready) = self.counts.entry(zone(node)).or_default();
            *(if is_ready(node) { ready } else { unready }) += 1;
        }
        self.next.retain(|zone, _| self.counts.contains_key(zone));
    }

    /// Is a node of any zone ready? Otherwise it is this side that is cut off.
    pub fn any_ready(&self) -> bool {
        self.counts.values().any(|(ready, _)| *ready > 0)
    }

    /// Asks for one node; a yes counts.
    pub fn ask(&mut self, node: &Node, now: Timestamp) -> Verdict {
        if !self.any_ready() {
            return Verdict::No;
        }
        let zone = zone(node);
        let (ready, unready) = self.counts.get(&zone).copied().unwrap_or_default();
        let pause = match state(ready, unready) {
            State::Normal | State::Full => NORMAL,
            State::Partial if ready + unready > SMALL => SLOW,
            State::Partial => return Verdict::No,
        };
        match self.next.get(&zone) {
            Some(next) if *next > now => Verdict::Wait(until(*next, now)),
            _ => {
                if let Ok(next) = now.checked_add(pause) {
                    self.next.insert(zone, next);
                }
                Verdict::Yes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes(zone: &str, ready: usize, unready: usize) -> Vec<Arc<Node>> {
        (0..ready + unready)
            .map(|n| {
                let status = if n < ready { "True" } else { "Unknown" };
                let node = json!({"metadata": {"name": format!("{zone}{n}"),
                        "labels": {"topology.kubernetes.io/zone": zone}},
                    "status": {"conditions": [{"type": "Ready", "status": status}]}});
                Arc::new(serde_json::from_value(node).unwrap())
            })
            .collect()
    }

    #[test]
    fn zones_are_given_up_one_node_at_a_time() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let cases = [
            (
                "a few",
                vec![("a", 8, 2)],
                [Verdict::Yes, Verdict::Wait(NORMAL)],
            ),
            (
                "most of a small zone",
                vec![("a", 4, 6), ("b", 5, 0)],
                [Verdict::No, Verdict::No],
            ),
            (
                "most of a large zone",
                vec![("a", 20, 40)],
                [Verdict::Yes, Verdict::Wait(SLOW)],
            ),
            (
                "a whole zone of several",
                vec![("a", 0, 3), ("b", 3, 0)],
                [Verdict::Yes, Verdict::Wait(NORMAL)],
            ),
            (
                "everything",
                vec![("a", 0, 3), ("b", 0, 3)],
                [Verdict::No, Verdict::No],
            ),
            (
                "two of three",
                vec![("a", 1, 2)],
                [Verdict::Yes, Verdict::Wait(NORMAL)],
            ),
        ];
        for (name, zones, expected) in cases {
            let all: Vec<_> = zones
                .into_iter()
                .flat_map(|(zone, ready, unready)| nodes(zone, ready, unready))
                .collect();
            let lost = all.iter().find(|node| !is_ready(node)).unwrap();
            let mut pace = Pace::default();
            pace.see(1, || all.clone());
            let found = [pace.ask(lost, at(100)), pace.ask(lost, at(100))];
            assert_eq!(found, expected, "{name}");
        }
        // Of six lost nodes five do not count, so that too few are lost for the zone to be in trouble.
        let mut all = nodes("a", 4, 6);
        for node in &mut all[4..9] {
            let labels = Arc::make_mut(node).metadata.labels.as_mut().unwrap();
            labels.insert(
                "node.kubernetes.io/exclude-disruption".into(),
                String::new(),
            );
        }
        let mut pace = Pace::default();
        pace.see(1, || all.clone());
        assert_eq!(pace.ask(&all[9], at(0)), Verdict::Yes);
        let all = nodes("a", 8, 2);
        let mut pace = Pace::default();
        pace.see(1, || all.clone());
        assert_eq!(pace.ask(&all[9], at(0)), Verdict::Yes);
        assert_eq!(pace.ask(&all[8], at(10)), Verdict::Yes);
        pace.see(2, || nodes("a", 0, 10));
        assert_eq!(
            pace.ask(&all[8], at(1000)),
            Verdict::No,
            "all are lost by now"
        );
    }
}
