//! One try of one probe.

use std::time::Duration;

use cri::v1;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::{net::TcpStream, time::timeout};

use super::{grpc, http, target};
use crate::agent::Agent;

/// How a try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well; the text is a warning.
    Success(Option<String>),
    /// Badly; the text is what the probe saw.
    Failure(String),
    /// It could not be made; the text says why.
    Error(String),
}

/// Most of a command's output that is shown.
const MAX_OUTPUT: usize = 10 * 1024;

/// Makes the try.
pub async fn run(
    agent: &Agent,
    container: &Container,
    id: &str,
    pod_ip: &str,
    probe: &Probe,
) -> Outcome {
    let seconds = u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1);
    let limit = Duration::from_secs(seconds);
    if let Some(action) = &probe.exec {
        return exec(agent, id, action.command.clone().unwrap_or_default(), limit).await;
    }
    if let Some(action) = &probe.http_get {
        let request = match target::http(action, container, pod_ip) {
            Ok(request) => request,
            Err(error) => return Outcome::Error(error.to_string()),
        };
        return match http::get(&request, limit).await {
            Ok(answer) if (200..300).contains(&answer.status) => Outcome::Success(None),
            Ok(answer) if (300..400).contains(&answer.status) => Outcome::Success(Some(format!(
                "Probe terminated redirects, Response body: {}",
                answer.body
            ))),
            Ok(answer) => Outcome::Failure(format!(
                "HTTP probe failed with statuscode: {}",
                answer.status
            )),
            Err(error) => Outcome::Failure(error.to_string()),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let port = match target::port(&action.port, container) {
            Ok(port) => port,
            Err(error) => return Outcome::Error(error.to_string()),
        };
        let host = action
            .host
            .as_deref()
            .filter(|h| !h.is_empty())
            .unwrap_or(pod_ip);
        return match timeout(limit, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => Outcome::Success(None),
            Ok(Err(error)) => Outcome::Failure(format!(
                "dial tcp {host}:{port}: connect: {}",
                http::plain(&error)
            )),
            Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
        };
    }
    if let Some(action) = &probe.grpc {
        let Ok(port) = u16::try_from(action.port) else {
            return Outcome::Error(format!("invalid port number: {}", action.port));
        };
        let service = action.service.as_deref().unwrap_or_default();
        return grpc::check(pod_ip, port, service, limit).await;
    }
    Outcome::Error("missing probe handler".to_owned())
}

async fn exec(agent: &Agent, id: &str, command: Vec<String>, limit: Duration) -> Outcome {
    let seconds = i64::try_from(limit.as_secs()).unwrap_or(1);
    let request = v1::ExecSyncRequest {
        container_id: id.to_owned(),
        cmd: command,
        timeout: seconds,
    };
    // The runtime ends the command at its limit; the margin is for a runtime that hangs.
    let answer = match timeout(limit * 2, agent.runtime.exec_sync(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.code == tonic::Code::DeadlineExceeded => {
            return Outcome::Failure(format!("command timed out: {}", error.message));
        }
        Ok(Err(error)) => return Outcome::Error(error.to_string()),
        Err(_) => return Outcome::Failure("command timed out".to_owned()),
    };
    if answer.exit_code == 0 {
        return Outcome::Success(None);
    }
    let mut output = answer.stdout;
    output.extend(answer.stderr);
    output.truncate(MAX_OUTPUT);
    Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
}
