//! Upstream's answers, kept for a little while.

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Answers kept; when full, the ones that ran out go, and if none did, half of all.
const ENTRIES_MAX: usize = 10_000;
/// No answer is kept longer: upstream's value.
const KEEP_MAX: Duration = Duration::from_secs(30);

/// What makes two questions the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    name: Name,
    kind: RecordType,
    class: DNSClass,
    dnssec: bool,
    unchecked: bool,
}

impl Question {
    pub fn new(query: &Query, request: &Message) -> Self {
        Self {
            name: query.name().to_lowercase(),
            kind: query.query_type(),
            class: query.query_class(),
            dnssec: request
                .edns
                .as_ref()
                .is_some_and(|edns| edns.flags().dnssec_ok),
            unchecked: request.metadata.checking_disabled,
        }
    }
}

#[derive(Debug)]
struct Kept {
    answer: Message,
    since: Instant,
    until: Instant,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<Question, Kept>>,
}

/// How long an answer may be kept; none when it must not.
fn lifetime(answer: &Message) -> Option<Duration> {
    let code = answer.metadata.response_code;
    if answer.metadata.truncation || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
    {
        return None;
    }
    let seconds = if code == ResponseCode::NoError && !answer.answers.is_empty() {
        answer.answers.iter().map(|record| record.ttl).min()
    } else {
        // How long a denial holds stands in the zone's authority record; without one it is not kept.
        answer
            .authorities
            .iter()
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.minimum.min(record.ttl)),
                _ => None,
            })
    };
    let seconds = u64::from(seconds.filter(|s| *s > 0)?);
    Some(Duration::from_secs(seconds).min(KEEP_MAX))
}

impl Cache {
    /// A kept answer, its times to live shortened by the time it was kept.
    pub fn get(&self, question: &Question) -> Option<Message> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        let kept = entries.get(question)?;
        if kept.until <= now {
            entries.remove(question);
            return None;
        }
        let age = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = kept.answer.clone();
        let records = answer
            .answers
            .iter_mut()
            .chain(&mut answer.authorities)
            .chain(&mut answer.additionals);
        for record in records {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    /// Keeps an answer if it may be kept.
    pub fn put(&self, question: Question, answer: &Message) {
        let Some(lifetime) = lifetime(answer) else {
            return;
        };
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, kept| kept.until > now);
        }
        if entries.len() >= ENTRIES_MAX {
            let mut keep = false;
            entries.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        entries.insert(
            question,
            Kept {
                answer: answer.clone(),
                since: now,
                until: now + lifetime,
            },
        );
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SOA};

    use super::*;

    fn question(name: &str) -> Question {
        let query = Query::query(Name::from_str(name).unwrap(), RecordType::A);
        Question::new(&query, &Message::new(1, MessageType::Query, OpCode::Query))
    }

    fn answer(ttl: u32) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.add_answer(Record::from_rdata(
            Name::root(),
            ttl,
            RData::A(A::new(1, 2, 3, 4)),
        ));
        message
    }

    #[tokio::test(start_paused = true)]
    async fn answers_age_and_go() {
        let cache = Cache::default();
        cache.put(question("a."), &answer(10));
        cache.put(question("b."), &answer(300));
        cache.put(question("c."), &answer(0));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(cache.get(&question("A.")).unwrap().answers[0].ttl, 6);
        assert_eq!(
            cache.get(&question("c.")),
            None,
            "an answer without life is not kept"
        );
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(cache.get(&question("a.")), None);
        assert_eq!(cache.get(&question("b.")).unwrap().answers[0].ttl, 290);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(
            cache.get(&question("b.")),
            None,
            "nothing is kept longer than the maximum"
        );
    }

    #[test]
    fn what_may_be_kept() {
        let mut denied = Message::new(1, MessageType::Response, OpCode::Query);
        denied.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(lifetime(&denied), None, "a denial without authority");
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 7);
        denied.add_authority(Record::from_rdata(Name::root(), 20, RData::SOA(soa)));
        assert_eq!(lifetime(&denied), Some(Duration::from_secs(7)));
        let mut failed = answer(10);
        failed.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(lifetime(&failed), None);
        let mut cut = answer(10);
        cut.metadata.truncation = true;
        assert_eq!(lifetime(&cut), None);
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let cache = Cache::default();
        for n in 0..=ENTRIES_MAX {
            cache.put(question(&format!("n{n}.")), &answer(30));
        }
        assert!(cache.len() <= ENTRIES_MAX);
    }
}
