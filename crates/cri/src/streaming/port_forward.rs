//! Port-forward: pairs of data and error channels, each pair one connection into the pod.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use base64::Engine;
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    sync::{Semaphore, mpsc},
};

use super::{
    Duplex, Streams,
    session::{ChannelWriter, Version},
    spdy::{Connection, Stream},
    websocket::{self, Opcode},
};

/// Connections at once over one client.
const MOST: usize = 512;
/// Pairs of which only one half has come; older ones are given up.
const HALVES: usize = 256;
/// Size of one read.
const READ: usize = 32 << 10;
/// Messages of one channel that wait to be taken.
const WAITING: usize = 64;
/// How long the pod may go on sending after the client's last connection has ended.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Pair {
    port: Option<u16>,
    data: Option<Stream>,
    error: Option<Stream>,
}

/// Serves a SPDY connection until the client closes it.
pub async fn spdy(mut connection: Connection, streams: Arc<dyn Streams>, sandbox: String) {
    let mut halves: HashMap<String, Pair> = HashMap::new();
    let permits = Arc::new(Semaphore::new(MOST));
    let mut running = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = connection.accept() => stream,
            Some(_) = running.join_next(), if !running.is_empty() => continue,
        };
        let Some(stream) = stream else {
            break;
        };
        let port = stream
            .header("port")
            .and_then(|p| p.parse::<u16>().ok())
            .filter(|p| *p != 0);
        let kind = stream
            .header("streamtype")
            .unwrap_or_default()
            .to_ascii_lowercase();
        // Old clients send no id: theirs are consecutive streams, the error stream first.
        let id = match stream.header("requestid") {
            Some(id) => id.to_owned(),
            None if kind == "error" => stream.id.to_string(),
            None => stream.id.saturating_sub(2).to_string(),
        };
        let known = matches!(kind.as_str(), "data" | "error");
        if port.is_none() || !known || (halves.len() >= HALVES && !halves.contains_key(&id)) {
            let _ = stream.writer.reset().await;
            continue;
        }
        let pair = halves.entry(id.clone()).or_default();
        pair.port = port;
        match kind.as_str() {
            "data" => pair.data = Some(stream),
            _ => pair.error = Some(stream),
        }
        if pair.data.is_none() || pair.error.is_none() {
            continue;
        }
        let Some(Pair {
            port: Some(port),
            data: Some(data),
            error: Some(error),
        }) = halves.remove(&id)
        else {
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            let _ = data.writer.reset().await;
            let _ = error.writer.reset().await;
            continue;
        };
        let (streams, sandbox) = (Arc::clone(&streams), sandbox.clone());
        running.spawn(async move {
            let _permit = permit;
            let out: ChannelWriter<DuplexStream> = ChannelWriter::Spdy(data.writer.clone());
            let fault = forward(&*streams, &sandbox, port, data.incoming, &out)
                .await
                .err();
            if let Some(text) = fault {
                let _ = error.writer.send(text.as_bytes()).await;
            }
            let _ = error.writer.finish().await;
            let _ = data.writer.finish().await;
        });
    }
    running.shutdown().await;
    connection.close().await;
}

/// One connection: both ways until both have ended. The error is for the client.
async fn forward<S>(
    streams: &dyn Streams,
    sandbox: &str,
    port: u16,
    mut client: mpsc::Receiver<Bytes>,
    out: &ChannelWriter<S>,
) -> Result<(), String>
where
    S: AsyncWrite,
    tokio::io::WriteHalf<S>: Unpin,
{
    let pod: Box<dyn Duplex> = streams
        .port_forward(sandbox, port)
        .await
        .map_err(|e| format!("error forwarding port {port} to pod {sandbox}: {e}"))?;
    let (mut read, mut write) = tokio::io::split(pod);
    let inward = async {
        while let Some(data) = client.recv().await {
            write.write_all(&data).await?;
        }
        write.shutdown().await
    };
    let outward = async {
        let mut buffer = vec![0; READ];
        loop {
            let count = read.read(&mut buffer).await?;
            if count == 0 {
                return Ok::<(), io::Error>(());
            }
            out.send(&buffer[..count]).await?;
        }
    };
    let (mut inward, mut outward) = (std::pin::pin!(inward), std::pin::pin!(outward));
    let ended = tokio::select! {
        // The pod has said all: what the client still sends has nobody to read it.
        ended = &mut outward => ended,
        ended = &mut inward => match ended {
            Ok(()) => outward.await,
            Err(error) => Err(error),
        },
    };
    // A reset by either end is how many connections end in order.
    ended.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(format!(
            "error forwarding port {port} to pod {sandbox}: {error}"
        )),
    })
}

/// Serves the WebSocket form: for each port in turn a data and an error channel.
pub async fn websocket<S>(
    stream: S,
    version: Version,
    streams: Arc<dyn Streams>,
    sandbox: String,
    ports: Vec<u16>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut receiver, sender) = websocket::split(stream);
    let sender = Arc::new(sender);
    let mut clients: Vec<Option<mpsc::Sender<Bytes>>> = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for (number, port) in ports.iter().copied().enumerate().take(127) {
        let channel = |offset: usize| ChannelWriter::WebSocket {
            sender: Arc::clone(&sender),
            channel: (number * 2 + offset) as u8,
            version,
        };
        let (data, error) = (channel(0), channel(1));
        // Each channel first tells its port.
        for writer in [&data, &error] {
            if writer.send(&port.to_le_bytes()).await.is_err() {
                return;
            }
        }
        let (client, incoming) = mpsc::channel(WAITING);
        clients.push(Some(client));
        let (streams, sandbox) = (Arc::clone(&streams), sandbox.clone());
        running.spawn(async move {
            if let Err(text) = forward(&*streams, &sandbox, port, incoming, &data).await {
                let _ = error.send(text.as_bytes()).await;
            }
        });
    }
    loop {
        let message = tokio::select! {
            message = receiver.next(&sender) => message,
            ended = running.join_next() => match ended {
                Some(_) if !running.is_empty() => continue,
                _ => break,
            },
        };
        let Ok(Some((opcode, message))) = message else {
            break;
        };
        let Some((channel, data)) = channel_of(opcode, version, &message) else {
            continue;
        };
        // Odd channels carry errors, which only go out.
        if channel % 2 == 0
            && let Some(slot) = clients.get_mut(usize::from(channel / 2))
            && let Some(client) = slot
            && client.send(data).await.is_err()
        {
            *slot = None;
        }
    }
    clients.clear();
    // What the pod still has to say gets a moment.
    let _ = tokio::time::timeout(LINGER, async {
        while running.join_next().await.is_some() {}
    })
    .await;
    let _ = sender.close(&1000_u16.to_be_bytes()).await;
}

fn channel_of(opcode: Opcode, version: Version, message: &Bytes) -> Option<(u8, Bytes)> {
    let first = *message.first()?;
    let rest = message.slice(1..);
    match (opcode, version.base64) {
        (Opcode::Binary, false) => Some((first, rest)),
        (_, true) => {
            let data = base64::engine::general_purpose::STANDARD
                .decode(&rest)
                .ok()?;
            Some((first.checked_sub(b'0')?, data.into()))
        }
        _ => None,
    }
}

/// Carries a byte stream inside the messages of a WebSocket.
pub fn tunnel<S>(stream: S) -> DuplexStream
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (near, far) = tokio::io::duplex(64 << 10);
    let (mut receiver, sender) = websocket::split(stream);
    let sender = Arc::new(sender);
    let (mut read, mut write) = tokio::io::split(far);
    let outgoing = Arc::clone(&sender);
    let out = tokio::spawn(async move {
        let mut buffer = vec![0; READ];
        while let Ok(count) = read.read(&mut buffer).await {
            if count == 0
                || outgoing
                    .send(Opcode::Binary, &[&buffer[..count]])
                    .await
                    .is_err()
            {
                break;
            }
        }
        let _ = outgoing.close(&1000_u16.to_be_bytes()).await;
    });
    tokio::spawn(async move {
        while let Ok(Some((_, data))) = receiver.next(&sender).await {
            if write.write_all(&data).await.is_err() {
                break;
            }
        }
        let _ = write.shutdown().await;
        // The other direction ends when the near side does.
        let _ = out.await;
    });
    near
}
