//! `kubectl exec` and `kubectl attach`, over WebSocket.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess, TerminalSize},
};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, stderr, stdin, stdout};

use crate::{
    error::{Result, io, usage},
    flags::{Attach, Exec},
    object::pods,
    session::Session,
};

/// Runs it; the answer is the command's own exit code.
pub async fn run(session: &Session, flags: &Exec) -> Result<u8> {
    let pod = pods::of(session, &flags.target).await?.remove(0);
    let name = pod["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    let container = flags
        .container
        .clone()
        .unwrap_or_else(|| pods::default_container(&pod).to_string());
    let terminal = flags.tty && isatty(std::io::stdin());
    if flags.tty && !terminal {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let parameters = AttachParams::default()
        .container(container)
        .stdin(flags.stdin)
        .stdout(true)
        .stderr(!terminal)
        .tty(terminal);
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let process = api.exec(&name, flags.command.clone(), &parameters).await?;
    join(process, terminal).await
}

/// Runs `attach`.
pub async fn attach(session: &Session, flags: &Attach) -> Result<u8> {
    let pod = pods::of(session, &flags.target).await?.remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let names: Vec<&str> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect();
    let container = match &flags.container {
        Some(container) => container.as_str(),
        None => {
            let default = pods::default_container(&pod);
            if names.len() > 1 && !flags.quiet {
                eprintln!(
                    "Defaulted container \"{default}\" out of: {}",
                    names.join(", ")
                );
            }
            default
        }
    };
    if matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    ) {
        return Err(usage(format!(
            "cannot attach a container in a completed pod; current phase is {}",
            pod["status"]["phase"].as_str().unwrap_or_default()
        )));
    }
    let has_terminal = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["name"] == container && c["tty"] == true);
    if flags.tty && !has_terminal && !flags.quiet {
        eprintln!("error: Unable to use a TTY - container {container} did not allocate one");
    }
    let terminal = flags.tty && has_terminal && isatty(std::io::stdin());
    let parameters = AttachParams::default()
        .container(container)
        .stdin(flags.stdin)
        .stdout(true)
        .stderr(!has_terminal)
        .tty(has_terminal);
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    if flags.stdin && !flags.quiet {
        eprintln!(
            "All commands and output from this session will be recorded in container logs, including credentials and sensitive information passed through the command prompt."
        );
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    let process = api.attach(name, &parameters).await?;
    join(process, terminal).await
}

/// Connects this program's streams with the process's until it ends; answers its exit code.
async fn join(mut process: AttachedProcess, terminal: bool) -> Result<u8> {
    let raw = terminal.then(Raw::enter).transpose()?;
    if terminal {
        follow_size(&mut process)?;
    }
    if let Some(writer) = process.stdin() {
        tokio::spawn(copy(stdin(), writer));
    }
    let out = process
        .stdout()
        .map(|reader| tokio::spawn(copy(reader, stdout())));
    let err = process
        .stderr()
        .map(|reader| tokio::spawn(copy(reader, stderr())));
    let status = process.take_status();
    for task in [out, err].into_iter().flatten() {
        // A stream that broke has ended; the status says how the command did.
        let _ = task.await;
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    drop(raw);
    let Some(status) = status.filter(|s| s.status.as_deref() != Some("Success")) else {
        return Ok(0);
    };
    let causes = status
        .details
        .iter()
        .flat_map(|d| d.causes.iter().flatten());
    let code = causes
        .filter(|c| c.reason.as_deref() == Some("ExitCode"))
        .find_map(|c| c.message.as_deref()?.parse::<u8>().ok());
    match code {
        Some(code) => {
            eprintln!("command terminated with exit code {code}");
            Ok(code)
        }
        None => Err(usage(status.message.unwrap_or_default())),
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; 16 * 1024];
    // Either end may go away first; that ends the copying and is no error.
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Sends the terminal's size now and whenever it changes.
fn follow_size(process: &mut AttachedProcess) -> Result<()> {
    let Some(mut sizes) = process.terminal_size() else {
        return Ok(());
    };
    let mut changes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())
        .map_err(io("signals"))?;
    tokio::spawn(async move {
        use futures::SinkExt;
        loop {
            let Ok(size) = tcgetwinsize(std::io::stdin()) else {
                return;
            };
            let size = TerminalSize {
                width: size.ws_col,
                height: size.ws_row,
            };
            if sizes.send(size).await.is_err() || changes.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(())
}

/// The terminal hands every key on unread; given back when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Raw> {
        let before = tcgetattr(std::io::stdin()).map_err(|e| io("terminal")(e.into()))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)
            .map_err(|e| io("terminal")(e.into()))?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
