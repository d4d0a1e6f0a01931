//! Exec and attach over channels, whatever protocol carries them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::Engine;
use bytes::Bytes;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    Process, Reader, Resize, Writer,
    spdy::StreamWriter,
    websocket::{Opcode, Sender},
};

/// Size of one read of a process's output.
const READ: usize = 32 << 10;
/// How long output may stand still after its process has ended, before whoever else still holds
/// it open is no longer waited for.
const QUIET: Duration = Duration::from_secs(5);

/// A version of the channel protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// 1 to 5. From 4 on the error channel carries a status object, from 5 on channels close.
    pub number: u8,
    /// Whether frames are text, with the payload in base64.
    pub base64: bool,
}

impl Version {
    /// The version a protocol name stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        let (number, base64) = match name {
            "v5.channel.k8s.io" => (5, false),
            "v4.channel.k8s.io" => (4, false),
            "v3.channel.k8s.io" => (3, false),
            "v2.channel.k8s.io" => (2, false),
            "channel.k8s.io" | "" => (1, false),
            "v5.base64.channel.k8s.io" => (5, true),
            "v4.base64.channel.k8s.io" => (4, true),
            "base64.channel.k8s.io" => (1, true),
            _ => return None,
        };
        Some(Self { number, base64 })
    }
}

/// The way out on one channel.
pub enum ChannelWriter<S> {
    /// A channel of a WebSocket.
    WebSocket {
        /// The connection.
        sender: Arc<Sender<WriteHalf<S>>>,
        /// Channel number.
        channel: u8,
        /// How it is written.
        version: Version,
    },
    /// A SPDY stream.
    Spdy(StreamWriter),
}

impl<S> Clone for ChannelWriter<S> {
    fn clone(&self) -> Self {
        match self {
            Self::WebSocket {
                sender,
                channel,
                version,
            } => Self::WebSocket {
                sender: Arc::clone(sender),
                channel: *channel,
                version: *version,
            },
            Self::Spdy(stream) => Self::Spdy(stream.clone()),
        }
    }
}

impl<S: AsyncWrite> ChannelWriter<S>
where
    WriteHalf<S>: Unpin,
{
    /// Sends data.
    pub async fn send(&self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Spdy(stream) => stream.send(data).await,
            Self::WebSocket {
                sender,
                channel,
                version,
            } if version.base64 => {
                let text = base64::engine::general_purpose::STANDARD.encode(data);
                sender
                    .send(Opcode::Text, &[&[b'0' + channel], text.as_bytes()])
                    .await
            }
            Self::WebSocket {
                sender, channel, ..
            } => sender.send(Opcode::Binary, &[&[*channel], data]).await,
        }
    }

    /// Says that no more will come on this channel, where the protocol has a word for it.
    pub async fn finish(&self) -> io::Result<()> {
        match self {
            Self::Spdy(stream) => stream.finish().await,
            Self::WebSocket { .. } => Ok(()),
        }
    }
}

/// The channels of one exec or attach.
pub struct Session<S> {
    /// Protocol version.
    pub version: Version,
    /// What the client types.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Terminal sizes, as JSON objects.
    pub resize: Option<mpsc::Receiver<Bytes>>,
    /// Output.
    pub stdout: Option<ChannelWriter<S>>,
    /// Error output.
    pub stderr: Option<ChannelWriter<S>>,
    /// How it ended.
    pub error: Option<ChannelWriter<S>>,
    /// Cancelled when the client has gone.
    pub gone: CancellationToken,
}

/// The status object of an end, and whether it is a success.
pub fn status(outcome: &Result<i32, String>) -> serde_json::Value {
    match outcome {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(message) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("Internal error occurred: {message}"),
            "reason": "InternalError",
            "details": {"causes": [{"message": message}]},
            "code": 500,
        }),
    }
}

impl<S> Session<S>
where
    S: AsyncWrite + Send + 'static,
    WriteHalf<S>: Unpin,
{
    /// Carries a process's streams until it has ended or the client has gone.
    pub async fn run(mut self, process: Result<Process, String>) {
        let gone = self.gone.clone();
        // A client that has gone is noticed where the streams are carried.
        let _ = self.greet().await;
        let outcome = match process {
            Ok(process) => tokio::select! {
                outcome = self.carry(process) => outcome,
                () = gone.cancelled() => return,
            },
            Err(error) => Err(error),
        };
        // From here on failures only mean that the client has gone.
        let _ = self.report(&outcome).await;
    }

    /// Tells the client of a WebSocket that its streams are connected: an empty message on the lowest
    /// channel it can hear, as upstream's servers send. Nothing written after it is missed.
    async fn greet(&self) -> io::Result<()> {
        let lowest = [&self.stdout, &self.stderr, &self.error];
        match lowest.into_iter().flatten().next() {
            Some(channel @ ChannelWriter::WebSocket { .. }) => channel.send(&[]).await,
            _ => Ok(()),
        }
    }

    async fn carry(&mut self, process: Process) -> Result<i32, String> {
        let progress = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        if let (Some(stdin), Some(client)) = (process.stdin, self.stdin.take()) {
            // On its own: a process that reads nothing must not hold up the rest.
            tasks.spawn(feed(stdin, client));
        }
        if let (Some(resize), Some(client)) = (process.resize, self.resize.take()) {
            tasks.spawn(sizes(resize, client));
        }
        let out = copy(process.stdout, self.stdout.clone(), Arc::clone(&progress));
        let err = copy(process.stderr, self.stderr.clone(), Arc::clone(&progress));
        let mut output = std::pin::pin!(async { tokio::join!(out, err) });
        let mut exit = process.exit;
        let mut drained = false;
        let outcome = loop {
            tokio::select! {
                _ = &mut output, if !drained => drained = true,
                outcome = &mut exit => break outcome,
            }
        };
        while !drained {
            let before = progress.load(Ordering::Relaxed);
            match tokio::time::timeout(QUIET, &mut output).await {
                Ok(_) => drained = true,
                Err(_) if progress.load(Ordering::Relaxed) == before => break,
                Err(_) => {}
            }
        }
        outcome
    }

    async fn report(&self, outcome: &Result<i32, String>) -> io::Result<()> {
        if let Some(error) = &self.error {
            if self.version.number >= 4 {
                error.send(status(outcome).to_string().as_bytes()).await?;
            } else if let Some(text) = status(outcome)["message"].as_str() {
                error.send(text.as_bytes()).await?;
            }
        }
        for channel in [&self.stdout, &self.stderr, &self.error]
            .into_iter()
            .flatten()
        {
            channel.finish().await?;
        }
        Ok(())
    }
}

async fn feed(mut stdin: Writer, mut client: mpsc::Receiver<Bytes>) {
    while let Some(data) = client.recv().await {
        if stdin.write_all(&data).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
    // Dropping it afterwards is what closes a pipe.
    let _ = stdin.shutdown().await;
}

async fn copy<S>(from: Option<Reader>, to: Option<ChannelWriter<S>>, progress: Arc<AtomicU64>)
where
    S: AsyncWrite,
    WriteHalf<S>: Unpin,
{
    let Some(mut from) = from else {
        return;
    };
    let mut buffer = vec![0; READ];
    let mut to = to;
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        progress.fetch_add(1, Ordering::Relaxed);
        // Output nobody wants is still taken, or the process would stand still.
        if let Some(channel) = &to
            && channel.send(&buffer[..count]).await.is_err()
        {
            to = None;
        }
        progress.fetch_add(1, Ordering::Relaxed);
    }
}

async fn sizes(resize: Resize, mut client: mpsc::Receiver<Bytes>) {
    let mut text = Vec::new();
    while let Some(data) = client.recv().await {
        text.extend_from_slice(&data);
        let mut stream =
            serde_json::Deserializer::from_slice(&text).into_iter::<serde_json::Value>();
        while let Some(Ok(size)) = stream.next() {
            let side = |name: &str| size[name].as_u64().and_then(|n| u16::try_from(n).ok());
            if let (Some(width), Some(height)) = (side("Width"), side("Height")) {
                resize(width, height);
            }
        }
        let used = stream.byte_offset();
        text.drain(..used.min(text.len()));
        // No size is that long: nonsense is dropped.
        if text.len() > 1024 {
            text.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_names_have_their_versions() {
        for (name, expected) in [
            ("v5.channel.k8s.io", Some((5, false))),
            ("v4.base64.channel.k8s.io", Some((4, true))),
            ("", Some((1, false))),
            ("v9.channel.k8s.io", None),
        ] {
            assert_eq!(
                Version::from_name(name).map(|v| (v.number, v.base64)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn exit_codes_are_told_as_clients_expect() {
        assert_eq!(status(&Ok(0))["status"], "Success");
        let failed = status(&Ok(7));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(
            failed["details"]["causes"][0],
            json!({"reason": "ExitCode", "message": "7"})
        );
        assert_eq!(status(&Err("x".into()))["reason"], "InternalError");
    }

    #[tokio::test]
    async fn sizes_are_found_in_any_cut() {
        let (sender, receiver) = mpsc::channel(8);
        let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        let task = tokio::spawn(sizes(
            Box::new(move |w, h| list.lock().push((w, h))),
            receiver,
        ));
        for part in [
            "{\"Width\":80,",
            "\"Height\":24}{\"Width\":1,\"Height\":2}\n",
            "{\"Width\":3,\"Height\":4}",
        ] {
            sender.send(Bytes::from(part)).await.unwrap();
        }
        drop(sender);
        task.await.unwrap();
        assert_eq!(*seen.lock(), [(80, 24), (1, 2), (3, 4)]);
    }
}
