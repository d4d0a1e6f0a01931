//! What Kubernetes puts around a protobuf message: four magic bytes and a `runtime.Unknown` that
//! names the type.

use super::{
    ProtoError,
    wire::{Content, Reader, put_bytes, put_message},
};

/// Every enveloped message begins so.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// A message taken out of its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `Deployment`.
    pub kind: &'a str,
    /// The message; JSON where `content_type` says so.
    pub raw: &'a [u8],
    /// What `raw` is, where it is not the type's message.
    pub content_type: &'a str,
}

/// Puts a message into an envelope.
pub fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 24);
    out.extend_from_slice(&MAGIC);
    let written: Result<(), ProtoError> = put_message(&mut out, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
        Ok(())
    });
    debug_assert!(written.is_ok());
    put_bytes(&mut out, 2, raw);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

/// Takes a message out of its envelope.
pub fn unwrap(bytes: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    let body = bytes.strip_prefix(&MAGIC).ok_or(ProtoError::NoEnvelope)?;
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(body);
    while let Some((tag, content)) = reader.field()? {
        let Content::Bytes(bytes) = content else {
            continue;
        };
        match tag {
            1 => {
                let mut meta = Reader::new(bytes);
                while let Some((tag, content)) = meta.field()? {
                    match (tag, content) {
                        (1, Content::Bytes(bytes)) => envelope.api_version = text(bytes)?,
                        (2, Content::Bytes(bytes)) => envelope.kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = bytes,
            4 => envelope.content_type = text(bytes)?,
            _ => {}
        }
    }
    Ok(envelope)
}

fn text(bytes: &[u8]) -> Result<&str, ProtoError> {
    std::str::from_utf8(bytes).map_err(|_| ProtoError::Illegal)
}

/// An enveloped `WatchEvent` (`ADDED`, …) around an enveloped object.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(object.len() + kind.len() + 16);
    put_bytes(&mut event, 1, kind.as_bytes());
    let written: Result<(), ProtoError> = put_message(&mut event, 2, |out| {
        put_bytes(out, 1, object);
        Ok(())
    });
    debug_assert!(written.is_ok());
    wrap("v1", "WatchEvent", &event)
}
