//! One SPDY connection: hands new streams of the client on, with their data.

use std::{collections::HashMap, io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Mutex, mpsc},
};

use super::{
    frame::{self, Frame},
    headers::{Decoder, Encoder, Headers},
};

/// Frames of one stream that may wait to be taken; then the whole connection waits, as there is
/// no flow control for one stream alone.
const WAITING: usize = 64;
/// New streams that may wait to be taken.
const NEW_STREAMS: usize = 64;
/// Streams at once; further ones are refused.
const MAX_STREAMS: usize = 2048;
/// Longest piece of data sent in one frame.
const MAX_DATA: usize = 32 << 10;

const REFUSED: u32 = 3;
const CANCEL: u32 = 5;

type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

struct Outgoing {
    writer: Option<BoxWrite>,
    encoder: Encoder,
}

/// A stream the client has opened.
pub struct Stream {
    /// Its number.
    pub id: u32,
    headers: Headers,
    /// What the client sends; ends when it does.
    pub incoming: mpsc::Receiver<Bytes>,
    /// The way back.
    pub writer: StreamWriter,
}

impl Stream {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The way back on one stream.
#[derive(Clone)]
pub struct StreamWriter {
    id: u32,
    outgoing: Arc<Mutex<Outgoing>>,
}

impl StreamWriter {
    /// Sends data.
    pub async fn send(&self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(MAX_DATA) {
            let frame = Frame::Data {
                stream: self.id,
                fin: false,
                data: Bytes::copy_from_slice(piece),
            };
            send(&self.outgoing, &frame).await?;
        }
        Ok(())
    }

    /// Says that no more will come.
    pub async fn finish(&self) -> io::Result<()> {
        let frame = Frame::Data {
            stream: self.id,
            fin: true,
            data: Bytes::new(),
        };
        send(&self.outgoing, &frame).await
    }

    /// Ends the stream both ways.
    pub async fn reset(&self) -> io::Result<()> {
        let frame = Frame::Reset {
            stream: self.id,
            status: CANCEL,
        };
        send(&self.outgoing, &frame).await
    }
}

async fn send(outgoing: &Mutex<Outgoing>, frame: &Frame) -> io::Result<()> {
    let mut outgoing = outgoing.lock().await;
    let writer = outgoing.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    writer.write_all(&frame::encode(frame)).await?;
    writer.flush().await
}

/// A connection. Its reading goes on in a task of its own until the connection ends.
pub struct Connection {
    streams: mpsc::Receiver<Stream>,
    outgoing: Arc<Mutex<Outgoing>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Connection {
    /// Takes over an upgraded connection.
    pub fn new<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> Self {
        let (read, write) = tokio::io::split(stream);
        let outgoing = Arc::new(Mutex::new(Outgoing {
            writer: Some(Box::new(write)),
            encoder: Encoder::new(),
        }));
        let (sender, streams) = mpsc::channel(NEW_STREAMS);
        let reader = Reading {
            outgoing: Arc::clone(&outgoing),
            open: HashMap::new(),
            decoder: Decoder::new(),
            new: sender,
        };
        let reading = tokio::spawn(async move {
            if let Err(error) = reader.run(read).await {
                tracing::debug!(%error, "spdy connection ended");
            }
        });
        Self {
            streams,
            outgoing,
            reading,
        }
    }

    /// The next stream the client opens; none when the connection has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }

    /// Ends the connection in order.
    pub async fn close(&self) {
        // A client that has gone needs no good-bye.
        let _ = send(&self.outgoing, &Frame::GoAway).await;
        if let Some(mut writer) = self.outgoing.lock().await.writer.take() {
            let _ = writer.shutdown().await;
        }
    }
}

struct Reading {
    outgoing: Arc<Mutex<Outgoing>>,
    open: HashMap<u32, mpsc::Sender<Bytes>>,
    decoder: Decoder,
    new: mpsc::Sender<Stream>,
}

impl Reading {
    async fn run<R: AsyncRead + Unpin>(mut self, mut read: R) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(16 << 10);
        loop {
            while let Some(frame) = frame::decode(&mut buffer)? {
                if !self.take(frame).await? {
                    return Ok(());
                }
            }
            if read.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> io::Result<bool> {
        match frame {
            Frame::SynStream { stream, fin, block } => self.open(stream, fin, &block).await?,
            Frame::Data { stream, fin, data } => {
                if let Some(sender) = self.open.get(&stream)
                    && !data.is_empty()
                {
                    // Nobody wants it any more: dropped, as after a reset.
                    let _ = sender.send(data).await;
                }
                if fin {
                    self.open.remove(&stream);
                }
            }
            Frame::Headers { stream, fin, block } => {
                // The compression's state needs every block.
                self.decoder.decode(&block)?;
                if fin {
                    self.open.remove(&stream);
                }
            }
            Frame::SynReply { block, .. } => drop(self.decoder.decode(&block)?),
            Frame::Reset { stream, .. } => drop(self.open.remove(&stream)),
            // Even numbers would be answers to our own pings, of which there are none.
            Frame::Ping(id) if id % 2 == 1 => send(&self.outgoing, &Frame::Ping(id)).await?,
            Frame::Ping(_) | Frame::Other => {}
            Frame::GoAway => return Ok(!self.open.is_empty()),
        }
        Ok(true)
    }

    async fn open(&mut self, id: u32, fin: bool, block: &[u8]) -> io::Result<()> {
        let headers = self.decoder.decode(block)?;
        if self.open.len() >= MAX_STREAMS || self.open.contains_key(&id) {
            let frame = Frame::Reset {
                stream: id,
                status: REFUSED,
            };
            return send(&self.outgoing, &frame).await;
        }
        let (sender, incoming) = mpsc::channel(WAITING);
        if !fin {
            self.open.insert(id, sender);
        }
        {
            let mut outgoing = self.outgoing.lock().await;
            let block = outgoing.encoder.encode(&Vec::new())?.into();
            let reply = frame::encode(&Frame::SynReply { stream: id, block });
            let writer = outgoing.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            writer.write_all(&reply).await?;
            writer.flush().await?;
        }
        let stream = Stream {
            id,
            headers,
            incoming,
            writer: StreamWriter {
                id,
                outgoing: Arc::clone(&self.outgoing),
            },
        };
        self.new
            .send(stream)
            .await
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
