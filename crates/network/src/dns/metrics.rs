//! What the DNS server counts, under CoreDNS' names.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    family: &'static str,
    proto: &'static str,
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Response {
    rcode: &'static str,
}

/// Counters of one server; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    responses: Family<Response, Counter>,
    duration: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            responses: Family::default(),
            duration: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
        }
    }
}

impl Metrics {
    /// Puts the families into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "coredns_dns_requests",
            "Counter of DNS requests made",
            self.requests.clone(),
        );
        registry.register(
            "coredns_dns_responses",
            "Counter of response status codes",
            self.responses.clone(),
        );
        registry.register(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took",
            self.duration.clone(),
        );
    }

    pub(super) fn request(&self, request: &Message, proto: &'static str, from: SocketAddr) {
        // Types that clients make up must not make up time series.
        let kind = request
            .queries
            .first()
            .map(|q| q.query_type().to_string())
            .unwrap_or_default();
        let known = [
            "A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "ANY", "HTTPS", "SVCB",
        ];
        let kind = if known.contains(&kind.as_str()) {
            kind
        } else {
            "other".to_owned()
        };
        let family = if from.is_ipv4() { "1" } else { "2" };
        self.requests
            .get_or_create(&Request {
                family,
                proto,
                r#type: kind,
            })
            .inc();
    }

    pub(super) fn response(&self, answer: &Message, begun: Instant) {
        let rcode = match answer.metadata.response_code {
            ResponseCode::NoError => "NOERROR",
            ResponseCode::NXDomain => "NXDOMAIN",
            ResponseCode::ServFail => "SERVFAIL",
            ResponseCode::Refused => "REFUSED",
            ResponseCode::NotImp => "NOTIMP",
            ResponseCode::FormErr => "FORMERR",
            _ => "OTHER",
        };
        self.responses.get_or_create(&Response { rcode }).inc();
        self.duration.observe(begun.elapsed().as_secs_f64());
    }
}
