//! How many seats a request takes. Pure.
//!
//! As upstream's, a seat stands for a request of ordinary size: a list takes one for every hundred
//! objects it looks at, and a write whose event goes to many watchers keeps some for a moment after its
//! answer. What a watcher costs is taken as a tenth of upstream's figure, since all watchers of an event
//! share its encoded form here.

use std::time::Duration;

use crate::request::info::RequestInfo;
use crate::request::query::Query;

/// Objects of a list that take one seat.
const OBJECTS_PER_SEAT: u64 = 100;
/// Watchers of an event that take one seat for `EVENT`.
const WATCHERS_PER_SEAT: u64 = 100;
/// See [`WATCHERS_PER_SEAT`].
const EVENT: Duration = Duration::from_millis(5);

/// What a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Seats while it is worked on.
    pub seats: u64,
    /// Seats afterwards.
    pub final_seats: u64,
    /// For so long.
    pub lingers: Duration,
}

impl Work {
    /// An ordinary request's.
    pub const ONE: Work = Work {
        seats: 1,
        final_seats: 0,
        lingers: Duration::ZERO,
    };
}

/// Estimates a request of a resource of which so many objects are kept and so many watches are under
/// way, when no request of its level may take more than `widest`.
pub fn estimate(
    info: &RequestInfo,
    query: &Query,
    objects: u64,
    watchers: u64,
    widest: u64,
) -> Work {
    match info.verb {
        "list" => wide(listed(info, query, objects), widest),
        "watch" => {
            let begins = matches!(query.get("resourceVersion"), None | Some("0"))
                || query.optional_flag("sendInitialEvents") == Some(true);
            let objects = if begins {
                listed(info, query, objects)
            } else {
                1
            };
            wide(objects, widest)
        }
        "create" | "update" | "patch" | "delete" if watchers >= WATCHERS_PER_SEAT => {
            let wanted = watchers.div_ceil(WATCHERS_PER_SEAT);
            let seats = wanted.min(widest).max(1);
            // The same work by fewer seats takes longer.
            let lingers = EVENT.mul_f64(wanted as f64 / seats as f64);
            Work {
                seats,
                final_seats: seats,
                lingers,
            }
        }
        _ => Work::ONE,
    }
}

fn listed(info: &RequestInfo, query: &Query, objects: u64) -> u64 {
    if !info.name.is_empty() {
        return 1;
    }
    let limit = query.get("limit").and_then(|l| l.parse::<u64>().ok());
    limit.filter(|l| *l > 0).map_or(objects, |l| l.min(objects))
}

fn wide(objects: u64, widest: u64) -> Work {
    Work {
        seats: objects.div_ceil(OBJECTS_PER_SEAT).clamp(1, widest.max(1)),
        ..Work::ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_follow_what_is_looked_at() {
        let info = |verb: &'static str, name: &str| RequestInfo {
            verb,
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        for (verb, name, query, objects, watchers, expected) in [
            ("get", "a", "", 5000, 0, (1, 0, 0)),
            ("list", "", "", 0, 0, (1, 0, 0)),
            ("list", "", "", 250, 0, (3, 0, 0)),
            ("list", "", "", 5000, 0, (10, 0, 0)),
            ("list", "", "limit=150", 5000, 0, (2, 0, 0)),
            ("list", "a", "", 5000, 0, (1, 0, 0)),
            ("watch", "", "", 500, 0, (5, 0, 0)),
            ("watch", "", "resourceVersion=7", 500, 0, (1, 0, 0)),
            (
                "watch",
                "",
                "resourceVersion=7&sendInitialEvents=true",
                500,
                0,
                (5, 0, 0),
            ),
            ("create", "", "", 500, 50, (1, 0, 0)),
            ("patch", "a", "", 500, 250, (3, 3, 5)),
            ("patch", "a", "", 500, 2000, (10, 10, 10)),
        ] {
            let work = estimate(
                &info(verb, name),
                &Query::parse(query),
                objects,
                watchers,
                10,
            );
            let found = (work.seats, work.final_seats, work.lingers.as_millis());
            assert_eq!(found, expected, "{verb} {query} {watchers}");
        }
    }
}
