//! Runs one plugin: environment and configuration in, result or error out.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A plugin that takes longer is stopped.
const PATIENCE: Duration = Duration::from_secs(60);
/// Output beyond this is not read.
const OUTPUT_MAX: u64 = 1 << 20;
/// Standard error beyond this is left out of error messages.
const STDERR_SHOWN: usize = 1024;

/// What a plugin is told by its environment.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub container_id: String,
    pub netns: String,
    pub interface: String,
    pub args: String,
}

/// Why a plugin did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    #[error("plugin {kind} is not in {path}")]
    Missing { kind: String, path: String },
    #[error("plugin {kind}: {source}")]
    Run {
        kind: String,
        source: std::io::Error,
    },
    #[error("plugin {kind} did not end within {} s", PATIENCE.as_secs())]
    Timeout { kind: String },
    #[error("plugin {kind} failed: {message} (code {code})")]
    Failed {
        kind: String,
        code: u64,
        message: String,
    },
    #[error("plugin {kind}: unreadable answer: {reason}")]
    Unreadable { kind: String, reason: String },
}

/// The program of a plugin.
pub(super) fn find(kind: &str, dirs: &[PathBuf]) -> Result<PathBuf, PluginError> {
    let found = dirs
        .iter()
        .map(|dir| dir.join(kind))
        .find(|path| path.is_file());
    found.ok_or_else(|| PluginError::Missing {
        kind: kind.to_owned(),
        path: joined(dirs),
    })
}

fn joined(dirs: &[PathBuf]) -> String {
    dirs.iter()
        .map(|dir| dir.display().to_string())
        .collect::<Vec<_>>()
        .join(":")
}

/// Runs a plugin. Its result, or null where the command has none.
pub(super) async fn run(
    kind: &str,
    dirs: &[PathBuf],
    command: &str,
    environment: &Environment,
    input: &Value,
) -> Result<Value, PluginError> {
    let program = find(kind, dirs)?;
    let failed = |source| PluginError::Run {
        kind: kind.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", &environment.container_id)
        .env("CNI_NETNS", &environment.netns)
        .env("CNI_IFNAME", &environment.interface)
        .env("CNI_ARGS", &environment.args)
        .env("CNI_PATH", joined(dirs))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let bytes = input.to_string();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A plugin that ends without reading all is judged by what it answers.
            let _ = stdin.write_all(bytes.as_bytes()).await;
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read_out = async {
        match stdout {
            Some(stdout) => stdout
                .take(OUTPUT_MAX)
                .read_to_end(&mut out)
                .await
                .map(|_| ()),
            None => Ok(()),
        }
    };
    let read_err = async {
        match stderr {
            Some(stderr) => stderr
                .take(OUTPUT_MAX)
                .read_to_end(&mut err)
                .await
                .map(|_| ()),
            None => Ok(()),
        }
    };
    let whole = async {
        let ((), out, err) = tokio::join!(write, read_out, read_err);
        out?;
        err?;
        child.wait().await
    };
    let status = match tokio::time::timeout(PATIENCE, whole).await {
        Ok(status) => status.map_err(failed)?,
        Err(_) => {
            return Err(PluginError::Timeout {
                kind: kind.to_owned(),
            });
        }
    };
    if status.success() {
        if out.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        let reason = |e: serde_json::Error| PluginError::Unreadable {
            kind: kind.to_owned(),
            reason: e.to_string(),
        };
        return serde_json::from_slice(&out).map_err(reason);
    }
    let said: Value = serde_json::from_slice(&out).unwrap_or_default();
    let text = |key: &str| {
        said.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut message = text("msg");
    if !text("details").is_empty() {
        message = format!("{message}; {}", text("details"));
    }
    if message.is_empty() {
        let shown = &err[..err.len().min(STDERR_SHOWN)];
        message = format!("{status}; {}", String::from_utf8_lossy(shown).trim());
    }
    let code = said.get("code").and_then(Value::as_u64).unwrap_or(0);
    Err(PluginError::Failed {
        kind: kind.to_owned(),
        code,
        message,
    })
}
