//! How often a large set is looked at. A look goes over all its pods and ends in a status, of which
//! others hear; while ten thousand pods start, one after each change would cost more than the pods.

use std::collections::HashMap;
use std::time::Duration;

use client::Key;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::kit::until;

/// After a look nothing is looked at for so long for each pod the set has, as far as it is only about
/// pods that changed.
const A_POD: Duration = Duration::from_micros(20);
/// And no longer than this: changes of state stay visible.
const MOST: Duration = Duration::from_secs(1);
/// Sets with fewer pods never rest.
const SMALL: usize = 100;

struct Looked {
    generation: Option<i64>,
    rests_until: Timestamp,
    /// Pods were created or deleted; the next are as soon as these are seen.
    acted: bool,
}

/// When each large set was looked at; one entry per set that rests.
#[derive(Default)]
pub(super) struct Rests {
    looked: Mutex<HashMap<Key, Looked>>,
}

impl Rests {
    /// How long the set still rests. Not at all when its declaration changed, or when it goes on with
    /// what it had begun.
    pub fn left(
        &self,
        key: &Key,
        generation: Option<i64>,
        waits: bool,
        now: Timestamp,
    ) -> Option<Duration> {
        let all = self.looked.lock();
        let looked = all.get(key)?;
        let goes_on = looked.acted && !waits;
        (looked.generation == generation && !goes_on && looked.rests_until > now)
            .then(|| until(looked.rests_until, now))
    }

    /// The set was looked at.
    pub fn looked(
        &self,
        key: &Key,
        generation: Option<i64>,
        pods: usize,
        acted: bool,
        now: Timestamp,
    ) {
        let rest = A_POD.saturating_mul(u32::try_from(pods).unwrap_or(u32::MAX));
        let rests_until = now.checked_add(rest.min(MOST)).unwrap_or(now);
        let looked = Looked {
            generation,
            rests_until,
            acted,
        };
        let mut all = self.looked.lock();
        if pods < SMALL {
            all.remove(key);
        } else {
            all.insert(key.clone(), looked);
        }
    }

    /// The set is gone.
    pub fn forget(&self, key: &Key) {
        self.looked.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_sets_rest_unless_there_is_something_to_do() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let key = Key::new("ns", "set");
        let rests = Rests::default();
        let left = |generation, waits, millis| {
            let left = rests.left(&key, Some(generation), waits, at(millis));
            left.map(|left| left.as_millis())
        };
        assert_eq!(left(1, false, 0), None, "never looked at");
        rests.looked(&key, Some(1), 10_000, false, at(0));
        assert_eq!(left(1, false, 50), Some(150));
        assert_eq!(left(1, false, 200), None, "long enough");
        assert_eq!(left(2, false, 50), None, "it was scaled");
        rests.looked(&key, Some(1), 10_000, true, at(0));
        assert_eq!(left(1, true, 50), Some(150), "its pods are not seen yet");
        assert_eq!(left(1, false, 50), None, "they are: on with it");
        rests.looked(&key, Some(1), 1_000_000, false, at(0));
        assert_eq!(left(1, false, 0), Some(1_000));
        rests.looked(&key, Some(1), 99, false, at(0));
        assert_eq!(left(1, false, 0), None, "small");
    }
}
