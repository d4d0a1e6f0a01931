//! Runs a postStart or preStop handler.

use std::time::Duration;

use cri::v1;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::{
    agent::Agent,
    probes::{http, target},
};

/// A handler failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HookError(pub String);

/// How long an HTTP handler may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the handler to its end.
pub async fn run(
    agent: &Agent,
    container: &Container,
    id: &str,
    pod_ip: &str,
    handler: &LifecycleHandler,
) -> Result<(), HookError> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        let answer = agent
            .runtime
            .exec_sync(v1::ExecSyncRequest {
                container_id: id.to_owned(),
                cmd: command,
                timeout: 0,
            })
            .await
            .map_err(|error| HookError(format!("exec {shown:?}: {error}")))?;
        if answer.exit_code != 0 {
            return Err(HookError(format!(
                "command {shown:?} exited with {}: {}",
                answer.exit_code,
                String::from_utf8_lossy(&answer.stderr)
            )));
        }
        return Ok(());
    }
    if let Some(action) = &handler.http_get {
        let request = target::http(action, container, pod_ip)
            .map_err(|error| HookError(error.to_string()))?;
        return match http::get(&request, HTTP_TIMEOUT).await {
            Ok(answer) if answer.status < 400 => Ok(()),
            Ok(answer) => Err(HookError(format!(
                "HTTP handler answered with statuscode: {}",
                answer.status
            ))),
            Err(error) => Err(HookError(error.to_string())),
        };
    }
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    Err(HookError("invalid handler: nothing to run".to_owned()))
}
