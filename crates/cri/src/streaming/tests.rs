//! The streaming server against clients of every protocol, with a fake runtime behind it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

use super::{
    Duplex, Process, StreamingServer, Streams,
    spdy::{Encoder, Frame, decode_frame, encode_frame},
    websocket::{self, Opcode},
};
use crate::v1;

/// Echoes: standard input comes back on standard output, its end is the end, with the exit code
/// named by the command.
struct Echo;

fn echo(code: i32) -> Process {
    let (stdin, mut inside) = tokio::io::duplex(1 << 16);
    let (mut out, stdout) = tokio::io::duplex(1 << 16);
    let (mut err, stderr) = tokio::io::duplex(1 << 16);
    let (done, exit) = oneshot::channel();
    tokio::spawn(async move {
        err.write_all(b"hello").await.unwrap();
        tokio::io::copy(&mut inside, &mut out).await.unwrap();
        done.send(code).unwrap();
    });
    Process {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: Some(Box::new(stderr)),
        resize: None,
        exit: Box::pin(async { exit.await.map_err(|e| e.to_string()) }),
    }
}

#[async_trait]
impl Streams for Echo {
    async fn exec(&self, request: &v1::ExecRequest) -> Result<Process, String> {
        match request.cmd[0].parse() {
            Ok(code) => Ok(echo(code)),
            Err(_) => Err("no such command".into()),
        }
    }

    async fn attach(&self, _: &v1::AttachRequest) -> Result<Process, String> {
        Ok(echo(0))
    }

    async fn port_forward(&self, _: &str, port: u16) -> Result<Box<dyn Duplex>, String> {
        if port == 1 {
            return Err("connection refused".into());
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(far);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        });
        Ok(Box::new(near))
    }
}

async fn server() -> (Arc<StreamingServer>, CancellationToken) {
    let shutdown = CancellationToken::new();
    (
        StreamingServer::start(Arc::new(Echo), shutdown.clone())
            .await
            .unwrap(),
        shutdown,
    )
}

fn exec(code: &str) -> v1::ExecRequest {
    v1::ExecRequest {
        container_id: "c".into(),
        cmd: vec![code.into()],
        tty: false,
        stdin: true,
        stdout: true,
        stderr: true,
    }
}

/// Upgrades a connection and gives it with the response's head.
async fn upgrade(url: &str, headers: &str) -> (TcpStream, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (
        stream,
        String::from_utf8(head).unwrap().to_ascii_lowercase(),
    )
}

const WEBSOCKET: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);

/// Reads messages to the end: what came on each channel.
async fn channels(stream: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    let mut channels = vec![Vec::new(); count];
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = websocket::decode(&mut buffer, false).unwrap() {
            match frame.opcode {
                Opcode::Binary => {
                    channels[usize::from(frame.payload[0])].extend(&frame.payload[1..])
                }
                Opcode::Close => return channels,
                _ => {}
            }
        }
        if stream.read_buf(&mut buffer).await.unwrap() == 0 {
            return channels;
        }
    }
}

#[tokio::test]
async fn exec_over_websocket_closes_its_input_and_tells_the_code() {
    let (server, _stop) = server().await;
    let url = server.exec_url(exec("7")).unwrap();
    let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n");
    let (mut stream, head) = upgrade(&url, &headers).await;
    assert!(
        head.starts_with("http/1.1 101")
            && head.contains("sec-websocket-protocol: v5.channel.k8s.io")
    );
    stream
        .write_all(&websocket::encode(Opcode::Binary, &[&[0], b"typed"], MASK))
        .await
        .unwrap();
    stream
        .write_all(&websocket::encode(Opcode::Binary, &[&[255, 0]], MASK))
        .await
        .unwrap();
    let channels = channels(&mut stream, 4).await;
    assert_eq!(
        (channels[1].as_slice(), channels[2].as_slice()),
        (&b"typed"[..], &b"hello"[..])
    );
    let status: serde_json::Value = serde_json::from_slice(&channels[3]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "7");
    // The token is spent.
    let (_, head) = upgrade(&url, &headers).await;
    assert!(head.starts_with("http/1.1 404"));
}

#[tokio::test]
async fn a_command_that_cannot_start_is_told_on_the_error_channel() {
    let (server, _stop) = server().await;
    let url = server.exec_url(exec("none")).unwrap();
    let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n");
    let (mut stream, _) = upgrade(&url, &headers).await;
    let channels = channels(&mut stream, 4).await;
    let status: serde_json::Value = serde_json::from_slice(&channels[3]).unwrap();
    assert_eq!(
        status["message"],
        "Internal error occurred: no such command"
    );
}

/// A client's side of SPDY.
struct Client<S> {
    stream: S,
    encoder: Encoder,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            encoder: Encoder::new(),
            buffer: BytesMut::new(),
        }
    }

    async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let block = self.encoder.encode(&headers).unwrap().into();
        let frame = Frame::SynStream {
            stream,
            fin: false,
            block,
        };
        self.stream.write_all(&encode_frame(&frame)).await.unwrap();
    }

    async fn data(&mut self, stream: u32, data: &'static [u8], fin: bool) {
        let data = Bytes::from_static(data);
        let frame = Frame::Data { stream, fin, data };
        self.stream.write_all(&encode_frame(&frame)).await.unwrap();
    }

    /// Reads until the given streams have ended: what came on each.
    async fn until_ended(&mut self, streams: &[u32]) -> Vec<Vec<u8>> {
        let mut got = vec![Vec::new(); streams.len()];
        let mut open = streams.len();
        while open > 0 {
            match decode_frame(&mut self.buffer).unwrap() {
                Some(Frame::Data { stream, fin, data }) => {
                    if let Some(at) = streams.iter().position(|s| *s == stream) {
                        got[at].extend_from_slice(&data);
                        open -= usize::from(fin);
                    }
                }
                Some(_) => {}
                None => assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0),
            }
        }
        got
    }
}

#[tokio::test]
async fn exec_over_spdy_has_a_stream_for_each_channel() {
    let (server, _stop) = server().await;
    let url = server.exec_url(exec("0")).unwrap();
    let headers = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
    let (stream, head) = upgrade(&url, headers).await;
    assert!(
        head.contains("x-stream-protocol-version: v4.channel.k8s.io"),
        "{head}"
    );
    let mut client = Client::new(stream);
    for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        client.open(id, &[("streamType", kind)]).await;
    }
    client.data(3, b"typed", true).await;
    let got = client.until_ended(&[1, 5, 7]).await;
    assert_eq!(
        (got[1].as_slice(), got[2].as_slice()),
        (&b"typed"[..], &b"hello"[..])
    );
    let status: serde_json::Value = serde_json::from_slice(&got[0]).unwrap();
    assert_eq!(status["status"], "Success");
}

async fn forwards<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let mut client = Client::new(stream);
    // Two connections to a good port, one to a bad one.
    for (request, port, error, data) in [("0", "80", 1, 3), ("1", "80", 5, 7), ("2", "1", 9, 11)] {
        let common = [("port", port), ("requestID", request)];
        client
            .open(error, &[("streamType", "error"), common[0], common[1]])
            .await;
        client
            .open(data, &[("streamType", "data"), common[0], common[1]])
            .await;
    }
    client.data(7, b"second", true).await;
    client.data(3, b"first", true).await;
    let got = client.until_ended(&[1, 3, 5, 7, 9]).await;
    assert_eq!(
        (got[1].as_slice(), got[3].as_slice()),
        (&b"first"[..], &b"second"[..])
    );
    assert!(got[0].is_empty() && got[2].is_empty());
    assert!(String::from_utf8_lossy(&got[4]).contains("connection refused"));
}

fn ports() -> v1::PortForwardRequest {
    v1::PortForwardRequest {
        pod_sandbox_id: "s".into(),
        port: vec![80],
    }
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy() {
    let (server, _stop) = server().await;
    let url = server.port_forward_url(ports()).unwrap();
    let headers = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n";
    let (stream, head) = upgrade(&url, headers).await;
    assert!(
        head.contains("x-stream-protocol-version: portforward.k8s.io"),
        "{head}"
    );
    forwards(stream).await;
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy_inside_a_websocket() {
    let (server, _stop) = server().await;
    let url = server.port_forward_url(ports()).unwrap();
    let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n");
    let (stream, _) = upgrade(&url, &headers).await;
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut read, mut write) = stream.into_split();
    let (mut from, mut to) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        while let Ok(count) = from.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            write
                .write_all(&websocket::encode(
                    Opcode::Binary,
                    &[&buffer[..count]],
                    MASK,
                ))
                .await
                .unwrap();
        }
    });
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        while read.read_buf(&mut buffer).await.unwrap_or(0) > 0 {
            while let Some(frame) = websocket::decode(&mut buffer, false).unwrap() {
                if to.write_all(&frame.payload).await.is_err() {
                    return;
                }
            }
        }
    });
    forwards(near).await;
}

#[tokio::test]
async fn a_port_is_forwarded_over_websocket_channels() {
    let (server, _stop) = server().await;
    let url = server.port_forward_url(ports()).unwrap();
    let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n");
    let (mut stream, _) = upgrade(&url, &headers).await;
    stream
        .write_all(&websocket::encode(Opcode::Binary, &[&[0], b"ping"], MASK))
        .await
        .unwrap();
    let mut buffer = BytesMut::new();
    let mut data = Vec::new();
    while !data.ends_with(b"ping") {
        while let Some(frame) = websocket::decode(&mut buffer, false).unwrap() {
            if frame.payload[0] == 0 {
                data.extend_from_slice(&frame.payload[1..]);
            }
        }
        assert_ne!(stream.read_buf(&mut buffer).await.unwrap(), 0);
        while let Some(frame) = websocket::decode(&mut buffer, false).unwrap() {
            if frame.payload[0] == 0 {
                data.extend_from_slice(&frame.payload[1..]);
            }
        }
    }
    assert_eq!(data, [&80_u16.to_le_bytes()[..], b"ping"].concat());
}
