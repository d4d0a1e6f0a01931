//! One priority level at work: its seats, and its queues, which share them fairly. Pure; time and
//! wake-ups are the caller's.
//!
//! Which queue is next is decided by start-time fair queuing (Goyal, Vin and Cheng, 1996), with the
//! seats of a request as its length: each flow gets its share of seats however many requests it has.

use std::collections::VecDeque;

/// How a level treats requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    pub(super) queues: usize,
    pub(super) hand: usize,
    pub(super) length: usize,
}

/// A level as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Requests are never held back.
    pub(super) exempt: bool,
    /// Seats of its own, while nobody lends or borrows.
    pub(super) nominal: u64,
    /// Seats that nobody can borrow.
    pub(super) least: u64,
    /// Seats with all that it may borrow.
    pub(super) most: u64,
    /// Queues; none where such requests are sent away.
    pub(super) queuing: Option<Queuing>,
}

/// A request that waits.
pub(super) struct Waiting<T> {
    pub(super) id: u64,
    pub(super) seats: u64,
    /// Its start tag.
    start: u64,
    pub(super) waker: T,
}

struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Seats that wait in it.
    seats: u64,
    /// The finish tag of its newest request.
    finish: u64,
}

/// One level at work.
pub(super) struct Level<T> {
    pub(super) limits: Limits,
    pub(super) seats: u64,
    pub(super) requests: u64,
    pub(super) waiting: u64,
    queues: Vec<Queue<T>>,
    /// Virtual time: the start tag of what was last let in.
    now: u64,
}

impl<T> Level<T> {
    pub(super) fn new(limits: Limits) -> Level<T> {
        Level {
            limits,
            seats: 0,
            requests: 0,
            waiting: 0,
            queues: Vec::new(),
            now: 0,
        }
    }

    /// Nobody is in it or waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.requests == 0 && self.waiting == 0 && self.seats == 0
    }

    pub(super) fn enter(&mut self, seats: u64) {
        self.seats += seats;
        self.requests += 1;
    }

    pub(super) fn leave_seats(&mut self, seats: u64) {
        self.seats = self.seats.saturating_sub(seats);
    }

    pub(super) fn leave(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }

    /// Adds a request to the shortest of the queues that `hash` deals its flow; gives it back when
    /// that is full or the level has none.
    pub(super) fn enqueue(&mut self, hash: u64, id: u64, seats: u64, waker: T) -> Result<(), T> {
        let Some(queuing) = self.limits.queuing else {
            return Err(waker);
        };
        let count = queuing.queues.max(1);
        // Queues beyond the present number empty themselves.
        while self.queues.len() < count {
            self.queues.push(Queue {
                waiting: VecDeque::new(),
                seats: 0,
                finish: 0,
            });
        }
        let hand = deal(hash, count, queuing.hand);
        let Some(at) = hand.into_iter().min_by_key(|at| self.queues[*at].seats) else {
            return Err(waker);
        };
        let queue = &mut self.queues[at];
        if queue.waiting.len() >= queuing.length {
            return Err(waker);
        }
        let start = self.now.max(queue.finish);
        queue.finish = start + seats;
        queue.seats += seats;
        queue.waiting.push_back(Waiting {
            id,
            seats,
            start,
            waker,
        });
        self.waiting += 1;
        Ok(())
    }

    /// The seats of the request that is next; none when nobody waits.
    pub(super) fn next_seats(&self) -> Option<u64> {
        let first = |queue: &Queue<T>| queue.waiting.front().map(|w| (w.start, w.id, w.seats));
        self.queues
            .iter()
            .filter_map(first)
            .min()
            .map(|(_, _, s)| s)
    }

    /// Takes the request that is next.
    pub(super) fn next(&mut self) -> Option<Waiting<T>> {
        let key = |queue: &Queue<T>| queue.waiting.front().map(|w| (w.start, w.id));
        let queue = self
            .queues
            .iter_mut()
            .filter(|queue| !queue.waiting.is_empty())
            .min_by_key(|queue| key(queue))?;
        let next = queue.waiting.pop_front()?;
        queue.seats -= next.seats;
        self.now = self.now.max(next.start);
        self.waiting -= 1;
        Some(next)
    }

    /// Takes away a request that waits no more; false when it waits no longer.
    pub(super) fn forget(&mut self, id: u64) -> bool {
        for queue in &mut self.queues {
            if let Some(at) = queue.waiting.iter().position(|w| w.id == id) {
                if let Some(gone) = queue.waiting.remove(at) {
                    queue.seats -= gone.seats;
                }
                self.waiting -= 1;
                return true;
            }
        }
        false
    }
}

/// Deals a hand of different queues by a flow's hash, as upstream's shuffle sharding: two flows rarely
/// share all of their queues, so that one that floods its own leaves others some.
fn deal(mut hash: u64, deck: usize, hand: usize) -> Vec<usize> {
    let hand = hand.clamp(1, deck);
    let mut places: Vec<usize> = Vec::with_capacity(hand);
    let mut cards = Vec::with_capacity(hand);
    for dealt in 0..hand {
        let left = (deck - dealt) as u64;
        let place = (hash % left) as usize;
        hash /= left;
        // The place among the cards that are left, counted over those dealt before.
        let card = places
            .iter()
            .rev()
            .fold(place, |card, earlier| card + usize::from(card >= *earlier));
        places.push(place);
        cards.push(card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn level(queuing: Queuing) -> Level<&'static str> {
        Level::new(Limits {
            exempt: false,
            nominal: 10,
            least: 10,
            most: 10,
            queuing: Some(queuing),
        })
    }

    #[test]
    fn flows_take_turns_by_seats_whatever_their_number() {
        let mut level = level(Queuing {
            queues: 64,
            hand: 1,
            length: 50,
        });
        for id in 0..20 {
            level.enqueue(7, id, 1, "flood").unwrap();
        }
        for id in 20..23 {
            level.enqueue(8, id, 1, "quiet").unwrap();
        }
        level.enqueue(9, 23, 4, "wide").unwrap();
        let order: Vec<&str> = std::iter::from_fn(|| level.next().map(|w| w.waker)).collect();
        assert_eq!(
            order[..8],
            [
                "flood", "quiet", "wide", "flood", "quiet", "flood", "quiet", "flood"
            ]
        );
        assert_eq!(level.waiting, 0);
    }

    #[test]
    fn a_full_queue_sends_away_and_what_waits_no_more_makes_place() {
        let mut level = level(Queuing {
            queues: 1,
            hand: 1,
            length: 2,
        });
        level.enqueue(1, 1, 1, "a").unwrap();
        level.enqueue(1, 2, 1, "b").unwrap();
        assert_eq!(level.enqueue(1, 3, 1, "c"), Err("c"));
        assert!(level.forget(1));
        assert!(!level.forget(1));
        level.enqueue(1, 4, 1, "d").unwrap();
        assert_eq!(level.next_seats(), Some(1));
        assert_eq!(level.next().unwrap().waker, "b");
    }

    proptest! {
        #[test]
        fn a_hand_has_different_cards(hash in any::<u64>(), deck in 1usize..256, hand in 1usize..8) {
            let cards = deal(hash, deck, hand);
            prop_assert_eq!(cards.len(), hand.min(deck));
            prop_assert!(cards.iter().all(|card| *card < deck));
            prop_assert_eq!(cards.iter().collect::<HashSet<_>>().len(), cards.len());
        }
    }
}
