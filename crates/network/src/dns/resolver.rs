//! Answers requests: from the zone, or from upstream for every other name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use parking_lot::RwLock;

use super::forward::Forwarder;
use super::reply::{self, Origin};
use super::zone::{Answer, Fact, Type, Zone};

/// Aliases followed in one answer; a longer chain is cut there.
const ALIASES_MAX: usize = 8;

/// Everything a request is answered from.
#[derive(Debug)]
pub(super) struct Resolver {
    pub origin: Origin,
    pub zone: RwLock<Zone>,
    /// Whether the zone holds everything that was there at the start; before, it must not deny names.
    pub ready: AtomicBool,
    /// Grows with every change of the zone.
    pub serial: AtomicU32,
    pub forwarder: Forwarder,
}

/// What can be said at once, or that upstream must be asked.
#[derive(Debug)]
pub(super) enum Step {
    Answer(Box<Message>),
    /// Upstream has this part of the answer.
    Ask(Box<Message>, Query),
}

impl Resolver {
    /// What the zone says to a request.
    pub fn local(&self, request: &Message) -> Step {
        let done = |message| Step::Answer(Box::new(message));
        let query = match reply::question(request) {
            Ok(query) => query.clone(),
            Err(code) => return done(reply::response(request, code)),
        };
        if query.query_class() != DNSClass::IN {
            return done(reply::response(request, ResponseCode::Refused));
        }
        let mut message = reply::response(request, ResponseCode::NoError);
        let serial = self.serial.load(Ordering::Relaxed);
        let kind = reply::kind(query.query_type());
        let mut name = query.name().clone();
        for _ in 0..=ALIASES_MAX {
            let Some(labels) = self.origin.relative(&name) else {
                if let Some(facts) = self.reverse(&name) {
                    let wanted = matches!(query.query_type(), RecordType::PTR | RecordType::ANY);
                    let facts = if wanted { facts } else { Vec::new() };
                    self.put(&mut message, &name, &facts, serial);
                    return done(message);
                }
                let mut rest = Query::query(name, query.query_type());
                rest.set_query_class(query.query_class());
                return Step::Ask(Box::new(message), rest);
            };
            if !self.ready.load(Ordering::Acquire) {
                message.metadata.response_code = ResponseCode::ServFail;
                return done(message);
            }
            message.metadata.authoritative = true;
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let answer = self.zone.read().answer(&labels, kind);
            match answer {
                Answer::NoSuchName => {
                    message.metadata.response_code = ResponseCode::NXDomain;
                    message.add_authorities(self.origin.authority(serial));
                    return done(message);
                }
                Answer::Exists(facts) => {
                    self.put(&mut message, &name, &facts, serial);
                    match alias(&facts, &message) {
                        Some(target) if !matches!(kind, Type::Cname | Type::Any) => name = target,
                        _ => return done(message),
                    }
                }
            }
        }
        done(message)
    }

    fn reverse(&self, name: &Name) -> Option<Vec<Fact>> {
        let base = name.trim_to(1);
        if !base
            .iter()
            .next()
            .is_some_and(|label| label.eq_ignore_ascii_case(b"arpa"))
        {
            return None;
        }
        let net = name.parse_arpa_name().ok()?;
        (net.prefix_len() == net.max_prefix_len())
            .then(|| self.zone.read().reverse(net.addr()))
            .flatten()
    }

    fn put(&self, message: &mut Message, name: &Name, facts: &[Fact], serial: u32) {
        let mut beside: Vec<hickory_proto::rr::Record> = Vec::new();
        // Clients take the first; starting elsewhere each time spreads them.
        let turn = if facts.len() > 1 {
            usize::from(message.metadata.id) % facts.len()
        } else {
            0
        };
        for fact in facts[turn..].iter().chain(&facts[..turn]) {
            let (record, more) = self.origin.records(name, fact, serial);
            message.add_answers(record);
            for record in more {
                if !beside.contains(&record) {
                    beside.push(record);
                }
            }
        }
        message.add_additionals(beside);
        if message.answers.is_empty() {
            message.add_authorities(self.origin.authority(serial));
        }
    }

    /// The whole answer to a request.
    pub async fn resolve(self: &Arc<Self>, request: &Message, step: Step) -> Message {
        let (mut message, rest) = match step {
            Step::Answer(message) => return *message,
            Step::Ask(message, rest) => (*message, rest),
        };
        match self.forwarder.ask(&rest, request).await {
            Ok(answer) => {
                message.metadata.response_code = answer.metadata.response_code;
                message.metadata.authoritative = false;
                message.metadata.authentic_data = answer.metadata.authentic_data;
                message.add_answers(answer.answers);
                message.add_authorities(answer.authorities);
                message.add_additionals(answer.additionals);
                message
            }
            Err(error) => {
                tracing::debug!(name = %rest.name(), %error, "upstream did not answer");
                reply::response(request, ResponseCode::ServFail)
            }
        }
    }
}

fn alias(facts: &[Fact], message: &Message) -> Option<Name> {
    if !matches!(facts, [Fact::Alias(_)]) {
        return None;
    }
    match &message.answers.last()?.data {
        RData::CNAME(to) => Some(to.0.clone()),
        _ => None,
    }
}
