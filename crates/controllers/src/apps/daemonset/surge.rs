//! Rolling a DaemonSet with `maxSurge`: on a node the new pod comes first, and the old one goes when
//! the new one is available. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::kit::sooner;
use crate::pods::{availability, is_ready};

/// The pods of one node, and which of them have to go.
#[derive(Debug, Default)]
pub(super) struct Site {
    pub node: String,
    /// Does the node take new pods?
    run: bool,
    /// Of the present template.
    new: Option<Arc<Pod>>,
    /// Of a former one.
    old: Option<Arc<Pod>>,
    /// More of one template than one.
    excess: bool,
    pub delete: Vec<Arc<Pod>>,
}

/// Sorts out the living pods of a node, oldest first: one of each template stays, and the old one
/// only until the new one can take over.
pub(super) fn site(
    node: &str,
    run: bool,
    living: &[&Arc<Pod>],
    is_current: impl Fn(&Pod) -> bool,
    min_ready: i32,
    now: Timestamp,
) -> Site {
    let mut site = Site {
        node: node.to_owned(),
        run,
        ..Site::default()
    };
    for pod in living {
        let slot = if is_current(pod) {
            &mut site.new
        } else {
            &mut site.old
        };
        match slot {
            None => *slot = Some(Arc::clone(pod)),
            Some(_) => site.delete.push(Arc::clone(pod)),
        }
    }
    site.excess = !site.delete.is_empty();
    if let (Some(new), Some(old)) = (&site.new, &site.old)
        && (!is_ready(old) || availability(new, min_ready, now).0)
    {
        site.delete.push(old.clone());
    }
    site
}

/// What a surge does.
#[derive(Debug, Default)]
pub(super) struct Rolled {
    /// The nodes where a new pod comes beside the old one.
    pub create: Vec<String>,
    /// Old pods on nodes that take no new ones.
    pub delete: Vec<Arc<Pod>>,
    /// When a new pod will have been ready long enough.
    pub again: Option<Duration>,
}

/// Rolls on, given how many nodes may have two pods at a time, and how many are wanted in all.
pub(super) fn roll(
    sites: &[Site],
    limit: i32,
    desired: i32,
    min_ready: i32,
    now: Timestamp,
) -> Rolled {
    let mut rolled = Rolled::default();
    let mut candidates = Vec::new();
    let mut leaving = Vec::new();
    let (mut surging, mut serving) = (0, 0);
    let is_available = |pod: &Arc<Pod>| availability(pod, min_ready, now).0;
    for site in sites {
        if site.excess {
            surging += 1;
            continue;
        }
        let senior = site.old.as_ref().or(site.new.as_ref());
        serving += i32::from(senior.is_some_and(is_available));
        match (&site.new, &site.old) {
            (_, None) => {}
            (None, Some(old)) if !site.run && is_available(old) => leaving.push(old.clone()),
            (None, Some(old)) if !site.run => rolled.delete.push(old.clone()),
            // An old pod that serves nobody costs nothing to replace.
            (None, Some(old)) if !is_available(old) => rolled.create.push(site.node.clone()),
            (None, Some(_)) => candidates.push(site.node.clone()),
            (Some(new), Some(_)) => {
                let (available, wait) = availability(new, min_ready, now);
                surging += i32::from(!available);
                rolled.again = sooner(rolled.again, wait);
            }
        }
    }
    // Who serves on a node that is given up stays until another one does it instead.
    let spare = usize::try_from(serving - desired).unwrap_or_default();
    rolled.delete.extend(leaving.into_iter().take(spare));
    let room = usize::try_from(limit.saturating_sub(surging)).unwrap_or_default();
    rolled.create.extend(candidates.into_iter().take(room));
    rolled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn of(node: &str, texts: &[&str]) -> Site {
        at(node, true, texts)
    }

    fn at(node: &str, run: bool, texts: &[&str]) -> Site {
        let all: Vec<_> = texts.iter().flat_map(|text| pods([*text])).collect();
        let living: Vec<_> = all.iter().collect();
        let current = |pod: &Pod| pod.metadata.labels.as_ref().unwrap()["h"] == "new";
        site(node, run, &living, current, 10, now())
    }

    #[test]
    fn the_old_pod_goes_when_the_new_one_can_take_over() {
        let cases: [(&[&str], &[&str]); 6] = [
            (
                &["o Running ready=0 h=old", "n Running ready=0 h=new"],
                &["o"],
            ),
            (
                &["o Running ready=0 h=old", "n Running ready=995 h=new"],
                &[],
            ),
            (&["o Running ready=0 h=old", "n Running h=new"], &[]),
            (&["o Running h=old", "n Running h=new"], &["o"]),
            (
                &["o Running ready=0 h=old", "p Running ready=0 h=old"],
                &["p"],
            ),
            (&["n Running ready=0 h=new"], &[]),
        ];
        for (texts, expected) in cases {
            let site = of("a", texts);
            let names: Vec<_> = site
                .delete
                .iter()
                .map(|pod| pod.metadata.name.as_deref().unwrap())
                .collect();
            assert_eq!(names, expected, "{texts:?}");
        }
    }

    #[test]
    fn so_many_nodes_at_a_time() {
        let old = "o Running ready=0 h=old";
        let sites = [
            of("a", &[old]),
            of("b", &[old, "n Running ready=995 h=new"]),
            of("c", &["o Running h=old"]),
            of("d", &[old]),
            of("e", &["n Running ready=0 h=new"]),
        ];
        let rolled = roll(&sites, 2, 5, 10, now());
        assert_eq!(
            rolled.create,
            ["c", "a"],
            "c costs nothing, b takes one of two"
        );
        assert_eq!(rolled.again, Some(Duration::from_secs(5)));
        assert_eq!(roll(&sites, 1, 5, 10, now()).create, ["c"]);
        let crowded = of("f", &[old, "p Running h=old"]);
        let sites = [of("a", &[old]), crowded];
        assert!(
            roll(&sites, 1, 2, 10, now()).create.is_empty(),
            "one too many takes a place"
        );
    }

    #[test]
    fn a_node_that_is_given_up_serves_until_others_do() {
        let (old, new) = ("o Running ready=0 h=old", "n Running ready=0 h=new");
        let cases = [
            ("nobody else yet", vec![at("a", false, &[old])], 1, 0),
            (
                "another one",
                vec![at("a", false, &[old]), of("b", &[new])],
                1,
                1,
            ),
            (
                "one of two that are wanted",
                vec![at("a", false, &[old]), of("b", &[new])],
                2,
                0,
            ),
            (
                "serves nobody",
                vec![at("a", false, &["o Running h=old"])],
                1,
                1,
            ),
        ];
        for (name, sites, desired, expected) in cases {
            let rolled = roll(&sites, 1, desired, 10, now());
            assert_eq!(rolled.delete.len(), expected, "{name}");
            assert!(rolled.create.is_empty(), "{name}");
        }
    }
}
