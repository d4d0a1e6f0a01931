//! Protobuf's wire format: varints, tags, length-delimited fields.

use super::ProtoError;

pub(crate) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const FIXED32: u8 = 5;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_tag(out: &mut Vec<u8>, tag: u32, wire_type: u8) {
    put_varint(out, u64::from(tag) << 3 | u64::from(wire_type));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_tag(out, tag, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_int(out: &mut Vec<u8>, tag: u32, value: i64) {
    put_tag(out, tag, VARINT);
    put_varint(out, value as u64);
}

/// Writes a nested message, whose length is known only after it is written.
pub(super) fn put_message<E>(
    out: &mut Vec<u8>,
    tag: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(out, tag, BYTES);
    let start = out.len();
    out.push(0);
    write(out)?;
    let len = out.len() - start - 1;
    if len < 0x80 {
        out[start] = len as u8;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(5);
    put_varint(&mut prefix, len as u64);
    let extra = prefix.len() - 1;
    let end = out.len();
    out.resize(end + extra, 0);
    out.copy_within(start + 1..end, start + 1 + extra);
    out[start..=start + extra].copy_from_slice(&prefix);
    Ok(())
}

/// One field's content as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl Content<'_> {
    pub(super) fn wire_type(&self) -> u8 {
        match self {
            Content::Varint(_) => VARINT,
            Content::Fixed64(_) => FIXED64,
            Content::Bytes(_) => BYTES,
            Content::Fixed32 => FIXED32,
        }
    }
}

/// Reads the fields of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            ProtoError::Truncated
        } else {
            ProtoError::Illegal
        })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ProtoError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(ProtoError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        self.take(N)?.try_into().map_err(|_| ProtoError::Truncated)
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, ProtoError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next field; none at the end of the message.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Content<'a>)>, ProtoError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| ProtoError::Illegal)?;
        if tag == 0 {
            return Err(ProtoError::Illegal);
        }
        let content = match key as u8 & 7 {
            VARINT => Content::Varint(self.varint()?),
            FIXED64 => Content::Fixed64(self.fixed64()?),
            FIXED32 => {
                self.take(4)?;
                Content::Fixed32
            }
            BYTES => {
                let len = usize::try_from(self.varint()?).map_err(|_| ProtoError::Illegal)?;
                Content::Bytes(self.take(len)?)
            }
            _ => return Err(ProtoError::Illegal),
        };
        Ok(Some((tag, content)))
    }
}
