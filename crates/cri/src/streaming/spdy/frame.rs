//! SPDY frames, without their headers' compression.

use std::io;

use bytes::{Buf, Bytes, BytesMut};

/// Longest frame taken.
const MAX_FRAME: usize = 4 << 20;

const VERSION: u16 = 3;

/// Flag of the last frame of a stream's direction.
pub const FIN: u8 = 1;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of a stream.
    Data {
        /// Stream.
        stream: u32,
        /// Whether they are the last.
        fin: bool,
        /// The bytes.
        data: Bytes,
    },
    /// A new stream; its headers are compressed.
    SynStream {
        /// Stream.
        stream: u32,
        /// Whether nothing will come on it.
        fin: bool,
        /// Header block.
        block: Bytes,
    },
    /// The answer to a new stream.
    SynReply {
        /// Stream.
        stream: u32,
        /// Header block.
        block: Bytes,
    },
    /// More headers.
    Headers {
        /// Stream.
        stream: u32,
        /// Whether nothing more will come on it.
        fin: bool,
        /// Header block.
        block: Bytes,
    },
    /// The end of a stream, at once.
    Reset {
        /// Stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// To be sent back.
    Ping(u32),
    /// No new streams.
    GoAway,
    /// What does not matter here: settings, window updates.
    Other,
}

fn violation(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("spdy: {what}"))
}

/// Takes the first whole frame out of what has arrived.
pub fn decode(buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
    let Some(head) = buffer.first_chunk::<8>() else {
        return Ok(None);
    };
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let flags = head[4];
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    if length > MAX_FRAME {
        return Err(violation("frame is too long"));
    }
    if buffer.len() < 8 + length {
        return Ok(None);
    }
    buffer.advance(8);
    let mut body = buffer.split_to(length).freeze();
    let fin = flags & FIN != 0;
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data {
            stream: first,
            fin,
            data: body,
        }));
    }
    if (first >> 16 & 0x7fff) as u16 != VERSION {
        return Err(violation("version is not 3"));
    }
    let need = |body: &Bytes, count: usize| {
        if body.len() < count {
            Err(violation("frame is too short"))
        } else {
            Ok(())
        }
    };
    let number = |body: &mut Bytes| body.get_u32() & 0x7fff_ffff;
    Ok(Some(match first & 0xffff {
        1 => {
            need(&body, 10)?;
            let stream = number(&mut body);
            body.advance(6);
            Frame::SynStream {
                stream,
                fin,
                block: body,
            }
        }
        kind @ (2 | 8) => {
            need(&body, 4)?;
            let stream = number(&mut body);
            match kind {
                2 => Frame::SynReply {
                    stream,
                    block: body,
                },
                _ => Frame::Headers {
                    stream,
                    fin,
                    block: body,
                },
            }
        }
        3 => {
            need(&body, 8)?;
            let stream = number(&mut body);
            Frame::Reset {
                stream,
                status: body.get_u32(),
            }
        }
        6 => {
            need(&body, 4)?;
            Frame::Ping(body.get_u32())
        }
        7 => Frame::GoAway,
        _ => Frame::Other,
    }))
}

/// Writes a frame.
pub fn encode(frame: &Frame) -> Vec<u8> {
    let control = |kind: u16, flags: u8, parts: &[&[u8]]| {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        let mut out = Vec::with_capacity(8 + length);
        out.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
        out.extend_from_slice(&kind.to_be_bytes());
        out.push(flags);
        out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        for part in parts {
            out.extend_from_slice(part);
        }
        out
    };
    let flag = |fin: bool| if fin { FIN } else { 0 };
    match frame {
        Frame::Data { stream, fin, data } => {
            let mut out = Vec::with_capacity(8 + data.len());
            out.extend_from_slice(&stream.to_be_bytes());
            out.push(flag(*fin));
            out.extend_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
            out.extend_from_slice(data);
            out
        }
        Frame::SynStream { stream, fin, block } => {
            control(1, flag(*fin), &[&stream.to_be_bytes(), &[0; 6], block])
        }
        Frame::SynReply { stream, block } => control(2, 0, &[&stream.to_be_bytes(), block]),
        Frame::Headers { stream, fin, block } => {
            control(8, flag(*fin), &[&stream.to_be_bytes(), block])
        }
        Frame::Reset { stream, status } => {
            control(3, 0, &[&stream.to_be_bytes(), &status.to_be_bytes()])
        }
        Frame::Ping(id) => control(6, 0, &[&id.to_be_bytes()]),
        Frame::GoAway => control(7, 0, &[&[0; 8]]),
        Frame::Other => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let stream = 1_u32..0x7fff_ffff;
        let data = prop::collection::vec(any::<u8>(), 0..2000).prop_map(Bytes::from);
        prop_oneof![
            (stream.clone(), any::<bool>(), data.clone())
                .prop_map(|(stream, fin, data)| Frame::Data { stream, fin, data }),
            (stream.clone(), any::<bool>(), data.clone())
                .prop_map(|(stream, fin, block)| Frame::SynStream { stream, fin, block }),
            (stream.clone(), data.clone())
                .prop_map(|(stream, block)| Frame::SynReply { stream, block }),
            (stream.clone(), any::<bool>(), data).prop_map(|(stream, fin, block)| Frame::Headers {
                stream,
                fin,
                block
            }),
            (stream, any::<u32>()).prop_map(|(stream, status)| Frame::Reset { stream, status }),
            any::<u32>().prop_map(Frame::Ping),
            Just(Frame::GoAway),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive(list in prop::collection::vec(frames(), 1..5)) {
            let mut buffer = BytesMut::new();
            for frame in &list {
                buffer.extend_from_slice(&encode(frame));
            }
            for frame in list {
                prop_assert_eq!(decode(&mut buffer).unwrap(), Some(frame));
            }
            prop_assert_eq!(decode(&mut buffer).unwrap(), None);
        }

        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buffer) {}
        }
    }
}
