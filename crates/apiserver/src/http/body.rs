//! Bodies. Answers are whole bytes, a list's shared pieces, or a stream; requests are boxed and
//! read with a bound.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

/// Pieces are put together up to about this size.
const FRAME: usize = 64 * 1024;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way in.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// A stream of pieces of an answer.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// An answer's body.
pub enum Body {
    /// Known whole.
    Full(Option<Bytes>),
    /// Known whole, in pieces that others hold as well: a list is sent without being put together.
    Shared(Shared),
    /// Comes over time.
    Stream(Pieces),
}

/// Pieces, sent in order.
pub struct Shared {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
}

impl Shared {
    /// The next pieces, put together: a frame of its own for each object, and for each comma
    /// between them, costs the HTTP/2 layer more than copying their bytes.
    fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.next()?;
        self.left -= piece.len() as u64;
        if piece.len() >= FRAME || self.pieces.len() == 0 {
            return Some(piece);
        }
        let mut frame = BytesMut::with_capacity((2 * FRAME).min(piece.len() + self.left as usize));
        frame.extend_from_slice(&piece);
        while frame.len() < FRAME
            && let Some(piece) = self.pieces.next()
        {
            self.left -= piece.len() as u64;
            frame.extend_from_slice(&piece);
        }
        Some(frame.freeze())
    }
}

impl Body {
    /// Nothing.
    pub fn empty() -> Body {
        Body::Full(None)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body::Full(Some(bytes.into()))
    }

    /// These pieces, one after another.
    pub fn pieces(pieces: Vec<Bytes>) -> Body {
        let left = pieces.iter().map(|p| p.len() as u64).sum();
        Body::Shared(Shared {
            pieces: pieces.into_iter(),
            left,
        })
    }

    /// What is left of it, where that is known whole.
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Body::Full(bytes) => bytes.clone(),
            Body::Shared(shared) => Some(shared.pieces.as_slice().concat().into()),
            Body::Stream(_) => None,
        }
    }

    /// A stream.
    pub fn stream(stream: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Shared(shared) => Poll::Ready(shared.next().map(|piece| Ok(Frame::data(piece)))),
            Body::Stream(stream) => stream
                .as_mut()
                .poll_next(cx)
                .map(|piece| piece.map(|p| p.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Shared(shared) => shared.left == 0,
            Body::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::Shared(shared) => SizeHint::with_exact(shared.left),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}

/// Why a body could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// More than the bound.
    TooLarge,
    /// The peer went away or broke the protocol.
    Broken(BoxError),
}

/// Reads a body of at most `limit` bytes.
pub async fn read(mut body: RequestBody, limit: usize) -> Result<Bytes, ReadError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLarge);
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() else {
            continue;
        };
        let have = rest.len() + first.as_ref().map_or(0, Bytes::len);
        if have + data.len() > limit {
            return Err(ReadError::TooLarge);
        }
        match (&first, rest.is_empty()) {
            (None, true) => first = Some(data),
            (Some(head), true) => {
                rest.reserve(head.len() + data.len());
                rest.extend_from_slice(head);
                rest.extend_from_slice(&data);
                first = None;
            }
            _ => rest.extend_from_slice(&data),
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// Boxes any body.
pub fn boxed<B>(body: B) -> RequestBody
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Bodies smaller than this are sent as they are.
const ZIP_FROM: u64 = 128 * 1024;

/// Compresses an answer that is known whole and large.
pub fn zip(response: http::Response<Body>) -> http::Response<Body> {
    use std::io::Write;
    if response
        .body()
        .size_hint()
        .exact()
        .is_none_or(|size| size < ZIP_FROM)
    {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing into memory does not fail.
    match body {
        Body::Full(bytes) => {
            let _ = encoder.write_all(&bytes.unwrap_or_default());
        }
        Body::Shared(shared) => {
            for piece in shared.pieces {
                let _ = encoder.write_all(&piece);
            }
        }
        stream @ Body::Stream(_) => return http::Response::from_parts(parts, stream),
    }
    let zipped = encoder.finish().unwrap_or_default();
    let headers = &mut parts.headers;
    headers.insert(
        http::header::CONTENT_ENCODING,
        http::HeaderValue::from_static("gzip"),
    );
    headers.append(
        http::header::VARY,
        http::HeaderValue::from_static("Accept-Encoding"),
    );
    http::Response::from_parts(parts, Body::full(zipped))
}
