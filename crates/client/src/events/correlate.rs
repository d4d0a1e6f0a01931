//! Which events are repetitions of one another, which are too many, and which are new.
//!
//! The same event again (same object, type, reason, message and reporter) raises the count of the
//! first. Many events that differ in their message only become one "(combined from similar events)".
//! A reporter that keeps on about one object is cut off by a token bucket. All memory is bounded by
//! [`MEMORY`] entries per table; the entry unused for longest is forgotten first, which at worst
//! starts a new Event where an old one would have been counted up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::EventType;

/// Entries remembered per table.
pub const MEMORY: usize = 4_096;
/// Different messages of one reason within [`SIMILAR_SECONDS`] before they are combined.
pub const SIMILAR_LIMIT: usize = 10;
/// The span of "similar".
pub const SIMILAR_SECONDS: i64 = 600;
/// Events a reporter may write about one object in a row.
pub const BURST: f64 = 25.0;
/// Seconds until a reporter has earned one more.
pub const REFILL_SECONDS: f64 = 300.0;

/// An event as it was noted.
#[derive(Clone, Debug)]
pub struct Noted {
    /// What it is about.
    pub about: ObjectReference,
    /// Normal or Warning.
    pub kind: EventType,
    /// `SuccessfulCreate`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// `replicaset-controller`.
    pub component: Arc<str>,
    /// The node, if a node reports.
    pub host: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// What to do with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write a new Event with this message.
    First {
        /// As noted, or marked as combined.
        message: String,
    },
    /// Raise the count of an Event written before.
    Again {
        /// Its name.
        name: String,
        /// The new count.
        count: i32,
        /// When it was first seen.
        first: Timestamp,
        /// As noted, or marked as combined.
        message: String,
    },
    /// The reporter said too much about this object.
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct About {
    component: Arc<str>,
    host: Arc<str>,
    uid: String,
    object: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Similar {
    about: About,
    kind: EventType,
    reason: String,
}

/// The memory of one recorder.
#[derive(Default)]
pub struct Correlator {
    buckets: Recent<About, Bucket>,
    similar: Recent<Similar, Group>,
    written: Recent<(Similar, String), Written>,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

struct Group {
    messages: HashSet<String>,
    since: Timestamp,
}

struct Written {
    name: String,
    count: i32,
    first: Timestamp,
}

impl Correlator {
    /// Judges an event. If it was then written, say so with [`Self::written`].
    pub fn judge(&mut self, event: &Noted) -> Verdict {
        let about = about(event);
        let bucket = self.buckets.entry(about.clone(), || Bucket {
            tokens: BURST,
            at: event.at,
        });
        let earned = seconds_between(bucket.at, event.at) / REFILL_SECONDS;
        bucket.tokens = (bucket.tokens + earned).min(BURST);
        bucket.at = event.at;
        if bucket.tokens < 1.0 {
            return Verdict::Drop;
        }
        bucket.tokens -= 1.0;
        let (similar, identity, message) = self.group(event, about);
        match self.written.get(&(similar, identity)) {
            Some(written) => {
                written.count = written.count.saturating_add(1);
                Verdict::Again {
                    name: written.name.clone(),
                    count: written.count,
                    first: written.first,
                    message,
                }
            }
            None => Verdict::First { message },
        }
    }

    /// The judged event is now the Event of this name.
    pub fn written(&mut self, event: &Noted, name: String) {
        let about = about(event);
        let (similar, identity, _) = self.group(event, about);
        let first = event.at;
        let written = self.written.entry((similar, identity), || Written {
            name: name.clone(),
            count: 1,
            first,
        });
        if written.name != name {
            *written = Written {
                name,
                count: 1,
                first,
            };
        }
    }

    /// Which Event this one counts towards: its own message's, or the combined one's.
    fn group(&mut self, event: &Noted, about: About) -> (Similar, String, String) {
        let similar = Similar {
            about,
            kind: event.kind,
            reason: event.reason.clone(),
        };
        let group = self.similar.entry(similar.clone(), || Group {
            messages: HashSet::new(),
            since: event.at,
        });
        if seconds_between(group.since, event.at) > SIMILAR_SECONDS as f64 {
            group.messages.clear();
        }
        group.since = event.at;
        if group.messages.len() < SIMILAR_LIMIT {
            group.messages.insert(event.message.clone());
        }
        if group.messages.contains(&event.message) {
            (similar, event.message.clone(), event.message.clone())
        } else {
            let message = format!("(combined from similar events): {}", event.message);
            (similar, String::new(), message)
        }
    }
}

fn about(event: &Noted) -> About {
    About {
        component: event.component.clone(),
        host: event.host.clone(),
        uid: event.about.uid.clone().unwrap_or_default(),
        object: format!(
            "{}/{}/{}/{}",
            event.about.kind.as_deref().unwrap_or_default(),
            event.about.namespace.as_deref().unwrap_or_default(),
            event.about.name.as_deref().unwrap_or_default(),
            event.about.field_path.as_deref().unwrap_or_default(),
        ),
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// A map that forgets what was not used for longest.
struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    tick: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            tick: 0,
        }
    }
}

impl<K: Clone + Eq + std::hash::Hash, V> Recent<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        self.tick += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.tick;
        Some(value)
    }

    fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= MEMORY && !self.entries.contains_key(&key) {
            // Half at a time, so that a full table costs a sort per two thousand entries.
            let mut ages: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            self.entries.retain(|_, (used, _)| *used > middle);
        }
        self.tick += 1;
        let slot = self.entries.entry(key).or_insert_with(|| (0, new()));
        slot.0 = self.tick;
        &mut slot.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(message: &str, at: i64) -> Noted {
        Noted {
            about: ObjectReference {
                name: Some("web".into()),
                uid: Some("1".into()),
                ..ObjectReference::default()
            },
            kind: EventType::Normal,
            reason: "SuccessfulCreate".into(),
            message: message.into(),
            component: "replicaset-controller".into(),
            host: "".into(),
            at: Timestamp::from_second(at).unwrap(),
        }
    }

    fn judge(correlator: &mut Correlator, event: &Noted, name: &str) -> Verdict {
        let verdict = correlator.judge(event);
        match &verdict {
            Verdict::First { .. } => correlator.written(event, name.into()),
            Verdict::Again { name, .. } => correlator.written(event, name.clone()),
            Verdict::Drop => {}
        }
        verdict
    }

    #[test]
    fn repetitions_raise_the_count_of_the_first() {
        let mut correlator = Correlator::default();
        assert_eq!(
            judge(&mut correlator, &noted("a", 1), "e1"),
            Verdict::First {
                message: "a".into()
            }
        );
        for (count, at) in [(2, 5), (3, 9)] {
            let again = Verdict::Again {
                name: "e1".into(),
                count,
                first: Timestamp::from_second(1).unwrap(),
                message: "a".into(),
            };
            assert_eq!(judge(&mut correlator, &noted("a", at), "unused"), again);
        }
        assert_eq!(
            judge(&mut correlator, &noted("b", 9), "e2"),
            Verdict::First {
                message: "b".into()
            }
        );
    }

    #[test]
    fn many_messages_of_one_reason_are_combined_and_then_cut_off() {
        let mut correlator = Correlator::default();
        let verdicts: Vec<_> = (0..30)
            .map(|n| {
                judge(
                    &mut correlator,
                    &noted(&format!("pod {n}"), 100),
                    &format!("e{n}"),
                )
            })
            .collect();
        assert_eq!(
            verdicts[9],
            Verdict::First {
                message: "pod 9".into()
            }
        );
        assert_eq!(
            verdicts[10],
            Verdict::First {
                message: "(combined from similar events): pod 10".into()
            }
        );
        assert!(matches!(&verdicts[11], Verdict::Again { name, count: 2, .. } if name == "e10"));
        assert!(matches!(verdicts[24], Verdict::Again { .. }));
        assert_eq!(verdicts[25], Verdict::Drop);
        assert!(
            matches!(
                correlator.judge(&noted("pod 40", 100 + 301)),
                Verdict::Again { .. }
            ),
            "one token has been earned"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for n in 0..3 * MEMORY {
            recent.entry(n, || n);
        }
        assert!(recent.entries.len() <= MEMORY);
        assert_eq!(recent.get(&(3 * MEMORY - 1)).copied(), Some(3 * MEMORY - 1));
    }
}
