//! WebSocket (RFC 6455), the server's side of streams that flow to the client alone: logs and watches.
//! What streams both ways (exec, attach, port-forward) is not looked into here; see
//! [`crate::proxy`].

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::body::{Body, BoxError};

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// The longest control frame there is.
const MAX_CONTROL: u64 = 125;
/// Pings that wait for an answer; further ones are passed over, as nobody sends that many in earnest.
const MAX_PINGS: usize = 8;
/// What RFC 6455 appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Does the request ask for a WebSocket?
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, word: &str| {
        headers.get_all(name).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
        })
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// The answer that begins a WebSocket, and the subprotocol that was agreed on: the first of the
/// client's that is `supported`, none where the client names none.
pub fn accept(
    headers: &HeaderMap,
    supported: &[&'static str],
) -> Result<(Response<Body>, Option<&'static str>), Status> {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|v| v.to_str().ok())
        .ok_or_else(|| Status::bad_request("Sec-WebSocket-Key is missing"))?;
    let asked: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .collect();
    let agreed = asked
        .iter()
        .find_map(|p| supported.iter().find(|s| *s == p).copied());
    if agreed.is_none() && !asked.is_empty() {
        return Err(Status::other(
            403,
            "Forbidden",
            format!("requested protocol(s) are not supported: {asked:?}; supports {supported:?}"),
        ));
    }
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    );
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let proof = HeaderValue::try_from(STANDARD.encode(digest)).map_err(Status::internal)?;
    out.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
    if let Some(agreed) = agreed {
        out.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(agreed),
        );
    }
    Ok((response, agreed))
}

/// How the pieces of a stream become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each piece is a binary message.
    Binary,
    /// Each piece is a text message of base64.
    Base64,
    /// Each line is a text message.
    Lines,
}

impl Framing {
    /// Adds the messages of a piece. `rest` keeps a line that is not whole yet.
    fn put(self, piece: &[u8], rest: &mut Vec<u8>, out: &mut BytesMut) {
        match self {
            Framing::Binary => frame(out, BINARY, piece),
            Framing::Base64 => frame(out, TEXT, STANDARD.encode(piece).as_bytes()),
            Framing::Lines => {
                rest.extend_from_slice(piece);
                while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    frame(out, TEXT, &line);
                }
            }
        }
    }

    /// The empty message that tells the client that the stream stands.
    fn hello(self, out: &mut BytesMut) {
        match self {
            Framing::Binary => frame(out, BINARY, b""),
            Framing::Base64 => frame(out, TEXT, b""),
            Framing::Lines => {}
        }
    }
}

/// One whole message, unmasked, as servers send them.
fn frame(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.reserve(payload.len() + 10);
    out.put_u8(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.put_u8(length as u8),
        length @ 126..=65_535 => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
}

/// Sends a stream to the client once its connection is upgraded, in a task of its own that ends with
/// the stream or the client.
pub fn send(
    upgrade: OnUpgrade,
    stream: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    framing: Framing,
) {
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        // Either side may hang up; that is how these connections end.
        let _ = pump(TokioIo::new(upgraded), stream, framing).await;
    });
}

async fn pump<S>(
    io: S,
    stream: impl Stream<Item = Result<Bytes, BoxError>> + Send,
    framing: Framing,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, mut writer) = tokio::io::split(io);
    let (pings, mut wait) = mpsc::channel(MAX_PINGS);
    let listening = tokio::spawn(async move {
        // Its end, by whatever cause, is the client's.
        let _ = listen(reader, pings).await;
    });
    let mut stream = std::pin::pin!(stream);
    let (mut out, mut rest) = (BytesMut::new(), Vec::new());
    framing.hello(&mut out);
    loop {
        if !out.is_empty() {
            writer.write_all(&out).await?;
            writer.flush().await?;
            out.clear();
        }
        tokio::select! {
            piece = stream.next() => match piece {
                Some(Ok(piece)) if !piece.is_empty() => framing.put(&piece, &mut rest, &mut out),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
            ping = wait.recv() => match ping {
                Some(payload) => frame(&mut out, PONG, &payload),
                None => break,
            },
        }
    }
    listening.abort();
    // 1000: done.
    frame(&mut out, CLOSE, &1000u16.to_be_bytes());
    writer.write_all(&out).await?;
    writer.shutdown().await
}

/// Reads what the client sends, keeps nothing of it but pings, and returns when it closes.
async fn listen(
    mut reader: impl AsyncRead + Unpin,
    pings: mpsc::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    loop {
        let mut head = [0u8; 2];
        reader.read_exact(&mut head).await?;
        let (opcode, masked) = (head[0] & 0x0f, head[1] & 0x80 != 0);
        let length = match head[1] & 0x7f {
            126 => u64::from(reader.read_u16().await?),
            127 => reader.read_u64().await?,
            length => u64::from(length),
        };
        let mut mask = [0u8; 4];
        if masked {
            reader.read_exact(&mut mask).await?;
        }
        if opcode == CLOSE || (opcode >= CLOSE && length > MAX_CONTROL) {
            return Ok(());
        }
        if opcode == PING {
            let mut payload = vec![0u8; length as usize];
            reader.read_exact(&mut payload).await?;
            for (at, byte) in payload.iter_mut().enumerate() {
                *byte ^= mask[at % 4];
            }
            let _ = pings.try_send(payload);
            continue;
        }
        let mut sink = tokio::io::sink();
        let copied = tokio::io::copy(&mut (&mut reader).take(length), &mut sink).await?;
        if copied < length {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", "keep-alive, Upgrade".parse().unwrap());
        headers.insert("upgrade", "WebSocket".parse().unwrap());
        headers.insert(
            "sec-websocket-key",
            "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap(),
        );
        assert!(is_wanted(&headers));
        let (response, agreed) = accept(&headers, &["binary.k8s.io"]).unwrap();
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(agreed, None);
        headers.insert(
            "sec-websocket-protocol",
            "x, binary.k8s.io".parse().unwrap(),
        );
        let (response, agreed) = accept(&headers, &["binary.k8s.io"]).unwrap();
        assert_eq!(agreed, Some("binary.k8s.io"));
        assert_eq!(
            response.headers()["sec-websocket-protocol"],
            "binary.k8s.io"
        );
        headers.insert("sec-websocket-protocol", "x".parse().unwrap());
        assert_eq!(accept(&headers, &["y"]).err().unwrap().code, 403);
    }

    #[tokio::test]
    async fn pieces_become_messages_and_pings_are_answered() {
        let (server, mut client) = tokio::io::duplex(4096);
        let (pieces, wait) = mpsc::channel::<Result<Bytes, BoxError>>(4);
        let stream = tokio_stream::wrappers::ReceiverStream::new(wait);
        let task = tokio::spawn(pump(server, stream, Framing::Base64));
        let mut frame = [0u8; 2];
        client.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame, [0x81, 0]);
        pieces.send(Ok(Bytes::from_static(b"hi"))).await.unwrap();
        let mut message = [0u8; 6];
        client.read_exact(&mut message).await.unwrap();
        assert_eq!(&message, b"\x81\x04aGk=");
        client
            .write_all(&[0x89, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2])
            .await
            .unwrap();
        let mut pong = [0u8; 4];
        client.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x02ab");
        drop(pieces);
        let mut end = Vec::new();
        client.read_to_end(&mut end).await.unwrap();
        assert_eq!(end, b"\x88\x02\x03\xe8");
        task.await.unwrap().unwrap();
    }

    #[test]
    fn lines_are_messages_whatever_pieces_they_come_in() {
        let (mut rest, mut out) = (Vec::new(), BytesMut::new());
        for piece in ["{\"a\":", "1}\n{}\n{", "}\n"] {
            Framing::Lines.put(piece.as_bytes(), &mut rest, &mut out);
        }
        assert_eq!(&out[..], b"\x81\x08{\"a\":1}\n\x81\x03{}\n\x81\x03{}\n");
        let mut long = BytesMut::new();
        frame(&mut long, BINARY, &[0; 70_000]);
        assert_eq!(long[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }
}
