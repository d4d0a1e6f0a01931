//! WebSocket framing (RFC 6455), the server's side.

use std::io;

use base64::Engine;
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Mutex,
};

/// Longest message taken; clients send at most some tens of kilobytes at once.
const MAX_MESSAGE: usize = 4 << 20;
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept` for a key.
pub fn accept(key: &str) -> String {
    let text = format!("{key}{GUID}");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// Kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message begun before.
    Continuation,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// The end.
    Close,
    /// To be answered.
    Ping,
    /// The answer.
    Pong,
}

impl Opcode {
    fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self.number() >= 8
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether the message ends with it.
    pub last: bool,
    /// Its kind.
    pub opcode: Opcode,
    /// What it carries.
    pub payload: Bytes,
}

fn violation(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("websocket: {what}"))
}

/// Takes the first whole frame out of what has arrived.
pub fn decode(buffer: &mut BytesMut, masked: bool) -> io::Result<Option<Frame>> {
    let &[first, second, ..] = &buffer[..] else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(violation("reserved bits are set"));
    }
    let opcode = Opcode::from_number(first & 15).ok_or_else(|| violation("unknown opcode"))?;
    if (second & 0x80 != 0) != masked {
        return Err(violation("frames of a client have to be masked"));
    }
    let (length, mut header) = match second & 0x7f {
        126 => match buffer.get(2..4) {
            Some(b) => (u64::from(u16::from_be_bytes([b[0], b[1]])), 4),
            None => return Ok(None),
        },
        127 => match buffer.get(2..10) {
            Some(b) => (
                u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
                10,
            ),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let last = first & 0x80 != 0;
    if opcode.is_control() && (!last || length > 125) {
        return Err(violation("control frame is too long or in parts"));
    }
    if length > MAX_MESSAGE as u64 {
        return Err(violation("message is too long"));
    }
    let length = length as usize;
    let mask = match (masked, buffer.get(header..header + 4)) {
        (true, Some(b)) => Some([b[0], b[1], b[2], b[3]]),
        (true, None) => return Ok(None),
        (false, _) => None,
    };
    header += if masked { 4 } else { 0 };
    if buffer.len() < header + length {
        return Ok(None);
    }
    buffer.advance(header);
    let mut payload = buffer.split_to(length);
    if let Some(mask) = mask {
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[i % 4];
        }
    }
    Ok(Some(Frame {
        last,
        opcode,
        payload: payload.freeze(),
    }))
}

/// Writes one whole message as a frame. A mask is what clients have to use.
pub fn encode(opcode: Opcode, parts: &[&[u8]], mask: Option<[u8; 4]>) -> Vec<u8> {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = Vec::with_capacity(length + 14);
    out.push(0x80 | opcode.number());
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match length {
        0..126 => out.push(bit | length as u8),
        126..0x1_0000 => {
            out.push(bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    if let Some(mask) = mask {
        for (i, byte) in out[start..].iter_mut().enumerate() {
            *byte ^= mask[i % 4];
        }
    }
    out
}

/// The reading half.
pub struct Receiver<R> {
    inner: R,
    buffer: BytesMut,
    message: BytesMut,
    kind: Option<Opcode>,
}

/// The writing half, shared by all who send.
pub struct Sender<W> {
    inner: Mutex<Option<W>>,
}

/// Both halves of a connection that has been upgraded.
pub fn split<S: AsyncRead + AsyncWrite>(
    stream: S,
) -> (
    Receiver<tokio::io::ReadHalf<S>>,
    Sender<tokio::io::WriteHalf<S>>,
) {
    let (read, write) = tokio::io::split(stream);
    (
        Receiver {
            inner: read,
            buffer: BytesMut::new(),
            message: BytesMut::new(),
            kind: None,
        },
        Sender {
            inner: Mutex::new(Some(write)),
        },
    )
}

impl<R: AsyncRead + Unpin> Receiver<R> {
    /// The next message; none at the end. Pings are answered on the way.
    pub async fn next<W: AsyncWrite + Unpin>(
        &mut self,
        sender: &Sender<W>,
    ) -> io::Result<Option<(Opcode, Bytes)>> {
        loop {
            let Some(frame) = decode(&mut self.buffer, true)? else {
                if self.inner.read_buf(&mut self.buffer).await? == 0 {
                    return Ok(None);
                }
                continue;
            };
            match (frame.opcode, self.kind) {
                (Opcode::Ping, _) => sender.send(Opcode::Pong, &[&frame.payload]).await?,
                (Opcode::Pong, _) => {}
                (Opcode::Close, _) => {
                    let _ = sender.close(&frame.payload).await;
                    return Ok(None);
                }
                (Opcode::Continuation, None) => return Err(violation("nothing to continue")),
                (Opcode::Continuation, Some(kind)) => {
                    if self.message.len() + frame.payload.len() > MAX_MESSAGE {
                        return Err(violation("message is too long"));
                    }
                    self.message.extend_from_slice(&frame.payload);
                    if frame.last {
                        self.kind = None;
                        return Ok(Some((kind, self.message.split().freeze())));
                    }
                }
                (_, Some(_)) => return Err(violation("the message before has not ended")),
                (kind, None) if frame.last => return Ok(Some((kind, frame.payload))),
                (kind, None) => {
                    self.kind = Some(kind);
                    self.message.extend_from_slice(&frame.payload);
                }
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    /// Sends one message, given in parts.
    pub async fn send(&self, opcode: Opcode, parts: &[&[u8]]) -> io::Result<()> {
        let mut inner = self.inner.lock().await;
        let writer = inner.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writer.write_all(&encode(opcode, parts, None)).await?;
        writer.flush().await
    }

    /// Sends the close frame and ends the connection's writing side.
    pub async fn close(&self, payload: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock().await;
        let Some(mut writer) = inner.take() else {
            return Ok(());
        };
        writer
            .write_all(&encode(Opcode::Close, &[payload], None))
            .await?;
        writer.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_accept_value_is_the_one_of_the_standard() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    proptest! {
        #[test]
        fn frames_survive(payload in prop::collection::vec(any::<u8>(), 0..70_000), mask: Option<[u8; 4]>, cut in 0_usize..70_000) {
            let bytes = encode(Opcode::Binary, &[&payload], mask);
            let mut buffer = BytesMut::new();
            let cut = cut.min(bytes.len() - 1);
            buffer.extend_from_slice(&bytes[..cut]);
            prop_assert_eq!(decode(&mut buffer, mask.is_some()).unwrap(), None);
            buffer.extend_from_slice(&bytes[cut..]);
            let frame = decode(&mut buffer, mask.is_some()).unwrap().unwrap();
            prop_assert_eq!(&frame.payload[..], &payload[..]);
            prop_assert!(frame.last && buffer.is_empty());
        }

        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buffer, true) {}
        }
    }

    #[tokio::test]
    async fn messages_in_parts_are_joined_and_pings_answered() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (mut receiver, sender) = split(server);
        let (mut read, mut write) = tokio::io::split(client);
        let mask = Some([1, 2, 3, 4]);
        let mut first = encode(Opcode::Binary, &[b"one "], mask);
        first[0] &= 0x7f;
        write.write_all(&first).await.unwrap();
        write
            .write_all(&encode(Opcode::Ping, &[b"?"], mask))
            .await
            .unwrap();
        write
            .write_all(&encode(Opcode::Continuation, &[b"two"], mask))
            .await
            .unwrap();
        let message = receiver.next(&sender).await.unwrap().unwrap();
        assert_eq!(message, (Opcode::Binary, Bytes::from_static(b"one two")));
        let mut pong = [0; 3];
        read.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 1, b'?']);
        write
            .write_all(&encode(Opcode::Text, &[b"bare"], None))
            .await
            .unwrap();
        assert!(receiver.next(&sender).await.is_err());
    }
}
