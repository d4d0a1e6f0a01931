//! The gRPC health check, spoken by hand: two messages of one field each.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

use super::{check::Outcome, http::plain};

/// The status SERVING of `HealthCheckResponse`.
const SERVING: u8 = 1;

/// Asks the server for the health of `service`.
pub async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Outcome {
    let address = format!("{host}:{port}");
    match timeout(limit, ask(host, port, service)).await {
        Ok(Ok(SERVING)) => Outcome::Success(None),
        Ok(Ok(status)) => Outcome::Failure(format!(
            "service unhealthy (responded with \"{}\")",
            match status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNRECOGNIZED",
            }
        )),
        Ok(Err(message)) => Outcome::Failure(message),
        Err(_) => Outcome::Failure(format!(
            "timeout: failed to connect service {address:?} within {}s: context deadline exceeded",
            limit.as_secs()
        )),
    }
}

async fn ask(host: &str, port: u16, service: &str) -> Result<u8, String> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|e| format!("dial tcp {host}:{port}: connect: {}", plain(&e)))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let result = exchange(&mut sender, host, port, service).await;
    driver.abort();
    result
}

async fn exchange(
    sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    host: &str,
    port: u16,
    service: &str,
) -> Result<u8, String> {
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let request = http::Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(encode(service)))
        .map_err(|e| e.to_string())?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|e| e.to_string())?;
    let status_of = |headers: &http::HeaderMap| {
        headers
            .get("grpc-status")
            .and_then(|s| s.to_str().ok())
            .map(str::to_owned)
    };
    let early = status_of(answer.headers());
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|e| e.to_string())?;
    let late = body.trailers().and_then(status_of);
    match early.or(late).as_deref() {
        None | Some("0") => Ok(decode(&body.to_bytes())),
        Some("12") => Err(
            "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                .to_owned(),
        ),
        Some("5") => Err(format!("service {service:?} is unknown to the server")),
        Some(code) => Err(format!("health rpc failed with status {code}")),
    }
}

/// `HealthCheckRequest{service}` in a gRPC frame.
fn encode(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// The status of `HealthCheckResponse` in a gRPC frame; no field is UNKNOWN.
fn decode(frame: &[u8]) -> u8 {
    match frame.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 0x08, 1]), SERVING);
        assert_eq!(decode(&[0, 0, 0, 0, 0]), 0);
    }
}
