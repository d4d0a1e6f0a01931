//! All priority levels together: who gets the server's seats. Pure.
//!
//! A level may use more than its nominal seats while others leave theirs unused, up to its borrowing
//! limit, but never those that others do not lend: each level can always have its least at once.
//! Upstream moves limits between levels every ten seconds; here a seat is lent when it is asked for, and
//! a level below its nominal number has precedence over one above, so that nothing needs a timer.

use std::collections::HashMap;

use super::level::{Level, Limits};

/// All levels by name.
pub(super) struct Plan<T> {
    pub(super) total: u64,
    pub(super) levels: HashMap<String, Level<T>>,
    next_id: u64,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<T> {
    /// It is let in.
    In,
    /// It waits, under this number.
    Waits(u64),
    /// Its queue is full, or its level has none.
    Refused(T),
}

impl<T> Plan<T> {
    pub(super) fn new(total: u64) -> Plan<T> {
        Plan {
            total,
            levels: HashMap::new(),
            next_id: 0,
        }
    }

    /// Takes over what is configured now. A level that is gone lets those in who wait for it.
    pub(super) fn configure(&mut self, limits: &HashMap<String, Limits>) {
        for (name, limits) in limits {
            match self.levels.get_mut(name) {
                Some(level) => level.limits = *limits,
                None => drop(self.levels.insert(name.clone(), Level::new(*limits))),
            }
        }
        let total = self.total;
        self.levels.retain(|name, level| {
            let gone = !limits.contains_key(name);
            if gone {
                (level.limits.nominal, level.limits.least, level.limits.most) = (0, 0, total);
            }
            !gone || !level.is_idle()
        });
    }

    /// May a request of so many seats of this level be let in?
    fn fits(&self, name: &str, seats: u64) -> bool {
        let Some(level) = self.levels.get(name) else {
            return true;
        };
        let limits = &level.limits;
        if limits.exempt {
            return true;
        }
        let with = level.seats + seats;
        // A request wider than its level is let in alone.
        if with > limits.most.max(seats) {
            return false;
        }
        if with <= limits.least {
            return true;
        }
        let others: u64 = self
            .levels
            .iter()
            .filter(|(other, level)| *other != name && !level.limits.exempt)
            .map(|(_, level)| level.seats.max(level.limits.least))
            .sum();
        others + with <= self.total.max(seats)
    }

    /// A request comes.
    pub(super) fn enter(
        &mut self,
        name: &str,
        seats: u64,
        hash: impl FnOnce() -> u64,
        waker: T,
    ) -> Entry<T> {
        let free = self.fits(name, seats);
        let Some(level) = self.levels.get_mut(name) else {
            return Entry::In;
        };
        if level.limits.exempt || (free && level.waiting == 0) {
            level.enter(seats);
            return Entry::In;
        }
        self.next_id += 1;
        match level.enqueue(hash(), self.next_id, seats, waker) {
            Ok(()) => Entry::Waits(self.next_id),
            Err(waker) => Entry::Refused(waker),
        }
    }

    /// Who is let in now. `wake` says whether the request still waits; one that does not takes no
    /// seat.
    pub(super) fn settle(&mut self, mut wake: impl FnMut(T) -> bool) {
        loop {
            // Levels below their nominal number first, then the one that borrows least.
            let next = self
                .levels
                .iter()
                .filter_map(|(name, level)| {
                    let seats = level.next_seats()?;
                    let over = (level.seats + seats).saturating_sub(level.limits.nominal);
                    self.fits(name, seats).then(|| (over, name.clone()))
                })
                .min();
            let Some((_, name)) = next else { return };
            let Some(level) = self.levels.get_mut(&name) else {
                return;
            };
            if let Some(waiting) = level.next() {
                let seats = waiting.seats;
                if wake(waiting.waker) {
                    level.enter(seats);
                }
            }
        }
    }

    /// A request's seats are free again.
    pub(super) fn free(&mut self, name: &str, seats: u64) {
        if let Some(level) = self.levels.get_mut(name) {
            level.leave_seats(seats);
        }
    }

    /// A request is done.
    pub(super) fn done(&mut self, name: &str) {
        if let Some(level) = self.levels.get_mut(name) {
            level.leave();
        }
    }

    /// A request gave up; false when it had been let in meanwhile.
    pub(super) fn give_up(&mut self, name: &str, id: u64) -> bool {
        self.levels.get_mut(name).is_some_and(|l| l.forget(id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::Queuing;
    use super::*;

    fn limits(nominal: u64, least: u64, most: u64) -> Limits {
        Limits {
            exempt: false,
            nominal,
            least,
            most,
            queuing: Some(Queuing {
                queues: 8,
                hand: 2,
                length: 10,
            }),
        }
    }

    fn plan() -> Plan<&'static str> {
        let mut plan = Plan::new(10);
        plan.configure(&HashMap::from([
            ("high".to_owned(), limits(4, 3, 10)),
            ("low".to_owned(), limits(6, 2, 10)),
            (
                "exempt".to_owned(),
                Limits {
                    exempt: true,
                    ..limits(0, 0, 0)
                },
            ),
        ]));
        plan
    }

    #[test]
    fn what_others_do_not_lend_stays_free_for_them() {
        let mut plan = plan();
        let mut inside = 0;
        while plan.enter("low", 1, || 1, "low") == Entry::In {
            inside += 1;
        }
        assert_eq!(inside, 7, "all but the three that `high` does not lend");
        for _ in 0..3 {
            assert_eq!(plan.enter("high", 1, || 2, "high"), Entry::In);
        }
        assert!(matches!(
            plan.enter("high", 1, || 2, "high"),
            Entry::Waits(_)
        ));
        assert_eq!(plan.enter("exempt", 1, || 3, "exempt"), Entry::In);
        // What comes free goes to the one below its nominal number, though the other came first.
        plan.free("low", 1);
        plan.done("low");
        let mut woken = Vec::new();
        plan.settle(|who| {
            woken.push(who);
            true
        });
        assert_eq!(woken, ["high"]);
        assert_eq!(plan.levels["high"].seats, 4);
        assert_eq!(plan.levels["low"].seats, 6);
    }

    #[test]
    fn a_level_stays_within_what_it_may_borrow() {
        let mut plan = plan();
        plan.configure(&HashMap::from([("low".to_owned(), limits(6, 2, 7))]));
        for _ in 0..7 {
            assert_eq!(plan.enter("low", 1, || 1, "low"), Entry::In);
        }
        assert!(matches!(plan.enter("low", 1, || 1, "low"), Entry::Waits(1)));
        assert!(plan.give_up("low", 1));
        assert!(!plan.give_up("low", 1));
        // A level that is gone is forgotten once it is empty.
        assert!(!plan.levels.contains_key("high"));
    }

    #[test]
    fn without_queues_one_is_sent_away() {
        let mut plan: Plan<&str> = Plan::new(2);
        let mut reject = limits(1, 1, 1);
        reject.queuing = None;
        plan.configure(&HashMap::from([("catch-all".to_owned(), reject)]));
        assert_eq!(plan.enter("catch-all", 1, || 1, "a"), Entry::In);
        assert_eq!(plan.enter("catch-all", 1, || 1, "b"), Entry::Refused("b"));
        // A request wider than its level comes in when it is alone.
        plan.free("catch-all", 1);
        plan.done("catch-all");
        assert_eq!(plan.enter("catch-all", 5, || 1, "wide"), Entry::In);
    }
}
