//! Setting up the channels of exec and attach: numbers on a WebSocket, streams over SPDY.

use std::{sync::Arc, time::Duration};

use base64::Engine;
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    session::{ChannelWriter, Session, Version},
    spdy::{Connection, Stream},
    websocket::{self, Opcode},
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Of version 5: its one byte of payload is the channel that closes.
const CLOSE: u8 = 255;

/// Messages of one channel that wait to be taken; then the connection waits.
const WAITING: usize = 64;
/// How long a client may take to open its SPDY streams.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which channels there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Whether there is a terminal.
    pub terminal: bool,
}

/// A WebSocket's channels. The second value ends the connection once the session is over.
pub fn websocket<S>(
    stream: S,
    version: Version,
    wanted: Wanted,
) -> (Session<S>, Arc<websocket::Sender<tokio::io::WriteHalf<S>>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (receiver, sender) = websocket::split(stream);
    let sender = Arc::new(sender);
    let gone = CancellationToken::new();
    let (stdin_in, stdin) = mpsc::channel(WAITING);
    let (resize_in, resize) = mpsc::channel(WAITING);
    tokio::spawn(receive(
        receiver,
        Arc::clone(&sender),
        version,
        wanted.stdin.then_some(stdin_in),
        wanted.terminal.then_some(resize_in),
        gone.clone(),
    ));
    let writer = |channel| ChannelWriter::WebSocket {
        sender: Arc::clone(&sender),
        channel,
        version,
    };
    let session = Session {
        version,
        stdin: wanted.stdin.then_some(stdin),
        resize: wanted.terminal.then_some(resize),
        stdout: wanted.stdout.then(|| writer(STDOUT)),
        stderr: wanted.stderr.then(|| writer(STDERR)),
        error: Some(writer(ERROR)),
        gone,
    };
    (session, sender)
}

async fn receive<R, W>(
    mut receiver: websocket::Receiver<R>,
    sender: Arc<websocket::Sender<W>>,
    version: Version,
    mut stdin: Option<mpsc::Sender<Bytes>>,
    mut resize: Option<mpsc::Sender<Bytes>>,
    gone: CancellationToken,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let _gone = gone.drop_guard();
    loop {
        let (channel, data) = match receiver.next(&sender).await {
            Ok(Some((_, message))) if message.is_empty() => continue,
            Ok(Some((opcode, message))) => match unpack(opcode, version, &message) {
                Some(unpacked) => unpacked,
                None => return,
            },
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "websocket ended");
                return;
            }
        };
        match channel {
            STDIN => {
                if let Some(sender) = &stdin
                    && !data.is_empty()
                    && sender.send(data).await.is_err()
                {
                    // The process reads no more; the rest of the connection goes on.
                    stdin = None;
                }
            }
            RESIZE => {
                if let Some(sender) = &resize
                    && sender.send(data).await.is_err()
                {
                    resize = None;
                }
            }
            CLOSE if version.number >= 5 && data.first() == Some(&STDIN) => stdin = None,
            _ => {}
        }
    }
}

/// Channel number and payload of a message; none when it cannot be read.
fn unpack(opcode: Opcode, version: Version, message: &Bytes) -> Option<(u8, Bytes)> {
    let (first, rest) = (*message.first()?, message.slice(1..));
    if !version.base64 && opcode == Opcode::Binary {
        return Some((first, rest));
    }
    if !version.base64 {
        return None;
    }
    let data = base64::engine::general_purpose::STANDARD
        .decode(&rest)
        .ok()?;
    Some((first.checked_sub(b'0')?, data.into()))
}

/// SPDY's channels: waits until the client has opened all it wants.
pub async fn spdy(
    connection: &mut Connection,
    version: Version,
    wanted: Wanted,
) -> Option<Session<tokio::io::DuplexStream>> {
    let resize = wanted.terminal && version.number >= 3;
    let count = 1
        + usize::from(wanted.stdin)
        + usize::from(wanted.stdout)
        + usize::from(wanted.stderr)
        + usize::from(resize);
    let mut session = Session {
        version,
        stdin: None,
        resize: None,
        stdout: None,
        stderr: None,
        error: None,
        gone: CancellationToken::new(),
    };
    // Kept open by the channels that only go out: the client closes its side of them.
    let opened = tokio::time::timeout(PATIENCE, async {
        for _ in 0..count {
            let stream = connection.accept().await?;
            place(&mut session, stream);
        }
        Some(())
    });
    opened.await.ok().flatten()?;
    Some(session)
}

fn place(session: &mut Session<tokio::io::DuplexStream>, stream: Stream) {
    let kind = stream
        .header("streamtype")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let writer = ChannelWriter::Spdy(stream.writer);
    match kind.as_str() {
        "stdin" => session.stdin = Some(stream.incoming),
        "resize" => session.resize = Some(stream.incoming),
        "stdout" => session.stdout = Some(writer),
        "stderr" => session.stderr = Some(writer),
        "error" => session.error = Some(writer),
        other => tracing::debug!(kind = other, "unknown stream type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_their_channel() {
        let plain = Version::from_name("v4.channel.k8s.io").unwrap();
        let coded = Version::from_name("v4.base64.channel.k8s.io").unwrap();
        let message = |bytes: &'static [u8]| Bytes::from_static(bytes);
        let of = |opcode, version, bytes| unpack(opcode, version, &message(bytes));
        assert_eq!(
            of(Opcode::Binary, plain, b"\0hi"),
            Some((0, message(b"hi")))
        );
        assert_eq!(of(Opcode::Text, coded, b"0aGk="), Some((0, message(b"hi"))));
        assert_eq!(of(Opcode::Text, plain, b"0aGk="), None);
        assert_eq!(of(Opcode::Text, coded, b"0*"), None);
    }
}
