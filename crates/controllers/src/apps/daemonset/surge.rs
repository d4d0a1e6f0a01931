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
    /// Of the present template.
    pub new: Option<Arc<Pod>>,
    /// Of a former one.
    pub old: Option<Arc<Pod>>,
    pub delete: Vec<Arc<Pod>>,
}

/// Sorts out the living pods of a node, oldest first: one of each template stays, and the old one
/// only until the new one can take over.
pub(super) fn site(
    node: &str,
    living: &[&Arc<Pod>],
    is_current: impl Fn(&Pod) -> bool,
    min_ready: i32,
    now: Timestamp,
) -> Site {
    let mut site = Site {
        node: node.to_owned(),
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
    if let (Some(new), Some(old)) = (&site.new, &site.old)
        && (!is_ready(old) || availability(new, min_ready, now).0)
    {
        site.delete.push(old.clone());
    }
    site
}

/// The nodes where a new pod may come beside the old one, given how many may at a time; and when a
/// new pod will have been ready long enough.
pub(super) fn roll(
    sites: &[Site],
    limit: i32,
    min_ready: i32,
    now: Timestamp,
) -> (Vec<String>, Option<Duration>) {
    let mut free = Vec::new();
    let mut candidates = Vec::new();
    let mut surging = 0;
    let mut again = None;
    for site in sites {
        match (&site.new, &site.old) {
            (_, None) => {}
            // An old pod that serves nobody costs nothing to replace.
            (None, Some(old)) if !availability(old, min_ready, now).0 => {
                free.push(site.node.clone());
            }
            (None, Some(_)) => candidates.push(site.node.clone()),
            (Some(new), Some(_)) => {
                let (available, wait) = availability(new, min_ready, now);
                surging += i32::from(!available);
                again = sooner(again, wait);
            }
        }
    }
    let room = usize::try_from(limit.saturating_sub(surging)).unwrap_or_default();
    candidates.truncate(room);
    free.extend(candidates);
    (free, again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn of(node: &str, texts: &[&str]) -> Site {
        let all: Vec<_> = texts.iter().flat_map(|text| pods([*text])).collect();
        let living: Vec<_> = all.iter().collect();
        let current = |pod: &Pod| pod.metadata.labels.as_ref().unwrap()["h"] == "new";
        site(node, &living, current, 10, now())
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
        let (nodes, again) = roll(&sites, 2, 10, now());
        assert_eq!(nodes, ["c", "a"], "c costs nothing, b takes one of two");
        assert_eq!(again, Some(Duration::from_secs(5)));
        assert_eq!(roll(&sites, 1, 10, now()).0, ["c"]);
    }
}
