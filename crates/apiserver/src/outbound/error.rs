//! What goes wrong on the way out, worded as clients of upstream's server know it.

use std::io::ErrorKind;
use std::net::SocketAddr;

use api::object::Object;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use serde_json::Value;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The service cannot be found or has nowhere to go.
    #[error("{0}")]
    Service(String),
    /// Nobody takes the call.
    #[error("{0}")]
    Dial(String),
    /// No TLS between the two.
    #[error("{0}")]
    Tls(String),
    /// The other side hung up.
    #[error("EOF")]
    Closed,
    /// The other side does not speak HTTP as it should.
    #[error("{0}")]
    Protocol(String),
    /// Not answered in time.
    #[error("context deadline exceeded")]
    TimedOut,
    /// More than is read of an answer.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// One of the above, on the way to a URL.
    #[error("{method} {url:?}: {source}")]
    Request {
        /// As upstream's clients write it: `Post`.
        method: &'static str,
        /// The whole URL.
        url: String,
        /// What went wrong.
        source: Box<OutboundError>,
    },
    /// The other side answered with something else than success.
    #[error("{message}")]
    Answered {
        /// The HTTP status.
        code: u16,
        /// What it says, or what the code means.
        message: String,
    },
}

impl OutboundError {
    pub(super) fn at(self, method: &'static str, url: &str) -> OutboundError {
        OutboundError::Request {
            method,
            url: url.to_owned(),
            source: Box::new(self),
        }
    }

    pub(super) fn from_dial(address: SocketAddr, error: &std::io::Error) -> OutboundError {
        let why = match error.kind() {
            ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
            _ => format!("connect: {error}"),
        };
        OutboundError::Dial(format!("dial tcp {address}: {why}"))
    }

    pub(super) fn from_handshake(name: &ServerName<'_>, error: &std::io::Error) -> OutboundError {
        let inner = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>());
        let why = match inner {
            Some(rustls::Error::InvalidCertificate(why)) => {
                return OutboundError::Tls(format!(
                    "tls: failed to verify certificate: x509: {}",
                    certificate(name, why)
                ));
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                "tls: first record does not look like a TLS handshake".to_owned()
            }
            Some(other) => format!("tls: {other}"),
            None => match error.kind() {
                ErrorKind::UnexpectedEof => return OutboundError::Closed,
                ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
                _ => error.to_string(),
            },
        };
        OutboundError::Tls(why)
    }

    pub(super) fn from_hyper(error: &hyper::Error) -> OutboundError {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return OutboundError::Closed;
        }
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                return match io.kind() {
                    ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => OutboundError::Closed,
                    ErrorKind::ConnectionReset => {
                        OutboundError::Protocol("read: connection reset by peer".to_owned())
                    }
                    _ => OutboundError::Protocol(io.to_string()),
                };
            }
            source = cause.source();
        }
        OutboundError::Protocol(format!("net/http: malformed HTTP response: {error}"))
    }
}

fn certificate(name: &ServerName<'_>, error: &CertificateError) -> String {
    match error {
        // An authority of the same name with another key is as unknown.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid: it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid: its time has not come".to_owned()
        }
        CertificateError::NotValidForName => {
            format!("certificate is not valid for {}", name.to_str())
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "certificate is not valid for any names".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "certificate is valid for {}, not {}",
            presented
                .iter()
                // The library shows them as `DnsName("a")`.
                .map(|shown| shown.split('"').nth(1).unwrap_or(shown))
                .collect::<Vec<_>>()
                .join(", "),
            name.to_str()
        ),
        other => other.to_string(),
    }
}

/// The most of an answer's text that goes into an error.
const MAX_TEXT: usize = 2048;

/// The error of an answer that is no success: what its `Status` says, or what the code means.
pub(super) fn answered(code: u16, body: &[u8]) -> OutboundError {
    if let Ok(status) = serde_json::from_slice::<Value>(body)
        && status.text("kind") == "Status"
        && !status.text("message").is_empty()
    {
        return OutboundError::Answered {
            code,
            message: status.text("message").to_owned(),
        };
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_TEXT)]);
    let text = match text.trim() {
        "" => "unknown",
        text => text,
    };
    let message = match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => text.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later"
            .to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
        500.. => format!(
            "an error on the server ({text:?}) has prevented the request from succeeding"
        ),
        _ => format!(
            "the server responded with the status code {code} but did not return more information"
        ),
    };
    OutboundError::Answered { code, message }
}
