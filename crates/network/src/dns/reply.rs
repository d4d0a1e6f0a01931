//! From the zone's facts to DNS messages, and messages to bytes that fit.

use std::net::IpAddr;
use std::str::FromStr;

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use super::zone::{Fact, Type};

/// How long clients may keep what the zone says: upstream's value.
pub(super) const TTL: u32 = 30;
/// The largest answer over UDP that is offered: above it, fragments get lost.
const UDP_MAX: u16 = 1232;
/// The largest answer over UDP to a client that says nothing.
const UDP_PLAIN: u16 = 512;

/// The zone's name and the records that bear it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub name: Name,
}

impl Origin {
    pub fn new(domain: &str) -> Result<Self, ProtoError> {
        let mut name = Name::from_str(domain)?.to_lowercase();
        name.set_fqdn(true);
        Ok(Self { name })
    }

    /// The lower-case labels of a name below the zone, without the zone's own; none when it is not
    /// in the zone.
    pub fn relative(&self, name: &Name) -> Option<Vec<String>> {
        if !self.name.zone_of(name) {
            return None;
        }
        let own = usize::from(name.num_labels() - self.name.num_labels());
        let labels = name.iter().take(own);
        // A label that is not text is no name the zone has.
        Some(
            labels
                .map(|l| String::from_utf8_lossy(l).to_ascii_lowercase())
                .collect(),
        )
    }

    fn absolute(&self, labels: &[String]) -> Option<Name> {
        Name::from_labels(labels.iter().map(String::as_bytes))
            .ok()?
            .append_domain(&self.name)
            .ok()
    }

    fn server(&self) -> Option<Name> {
        self.absolute(&["ns".to_owned(), "dns".to_owned()])
    }

    /// The authority record, which negative answers carry.
    pub fn authority(&self, serial: u32) -> Option<Record> {
        let host = self.absolute(&["hostmaster".to_owned()])?;
        let soa = SOA::new(self.server()?, host, serial, 7200, 1800, 86400, TTL);
        Some(Record::from_rdata(self.name.clone(), TTL, RData::SOA(soa)))
    }

    /// The records of a fact about `name`: for the answer, and beside it.
    pub fn records(&self, name: &Name, fact: &Fact, serial: u32) -> (Option<Record>, Vec<Record>) {
        let of = |name: &Name, data| Record::from_rdata(name.clone(), TTL, data);
        match fact {
            Fact::Address(ip) => (Some(of(name, address(*ip))), Vec::new()),
            Fact::Alias(target) => {
                let target = Name::from_ascii(format!("{target}.")).ok();
                (
                    target.map(|target| of(name, RData::CNAME(CNAME(target)))),
                    Vec::new(),
                )
            }
            Fact::Server {
                target,
                port,
                addresses,
            } => {
                let Some(target) = self.absolute(target) else {
                    return (None, Vec::new());
                };
                let beside = addresses
                    .iter()
                    .map(|ip| of(&target, address(*ip)))
                    .collect();
                (
                    Some(of(
                        name,
                        RData::SRV(SRV::new(0, 100, *port, target.clone())),
                    )),
                    beside,
                )
            }
            Fact::Text(text) => (
                Some(of(name, RData::TXT(TXT::new(vec![text.clone()])))),
                Vec::new(),
            ),
            Fact::Pointer(labels) => (
                self.absolute(labels)
                    .map(|to| of(name, RData::PTR(PTR(to)))),
                Vec::new(),
            ),
            Fact::Authority => (self.authority(serial), Vec::new()),
            Fact::NameServer => (
                self.server().map(|to| of(name, RData::NS(NS(to)))),
                Vec::new(),
            ),
        }
    }
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

/// The zone's word for a record type.
pub(super) fn kind(record: RecordType) -> Type {
    match record {
        RecordType::A => Type::A,
        RecordType::AAAA => Type::Aaaa,
        RecordType::SRV => Type::Srv,
        RecordType::TXT => Type::Txt,
        RecordType::SOA => Type::Soa,
        RecordType::NS => Type::Ns,
        RecordType::CNAME => Type::Cname,
        RecordType::ANY => Type::Any,
        _ => Type::Other,
    }
}

/// An answer without records yet.
pub(super) fn response(request: &Message, code: ResponseCode) -> Message {
    let mut message = Message::new(
        request.metadata.id,
        MessageType::Response,
        request.metadata.op_code,
    );
    message.metadata = Metadata::response_from_request(&request.metadata);
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX);
        message.set_edns(edns);
    }
    message
}

/// The one question of a request, or the code that refuses it.
pub(super) fn question(request: &Message) -> Result<&Query, ResponseCode> {
    if request.metadata.message_type != MessageType::Query {
        return Err(ResponseCode::FormErr);
    }
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    match &request.queries[..] {
        [one] => Ok(one),
        _ => Err(ResponseCode::FormErr),
    }
}

/// The largest answer the client takes over UDP.
pub(super) fn udp_limit(request: &Message) -> u16 {
    request.edns.as_ref().map_or(UDP_PLAIN, |edns| {
        edns.max_payload().clamp(UDP_PLAIN, UDP_MAX)
    })
}

/// Bytes of a message, cut at a record (and marked so) where it would not fit.
pub(super) fn encode(message: &Message, limit: u16) -> Result<Vec<u8>, ProtoError> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    message.emit(&mut encoder)?;
    Ok(bytes)
}
