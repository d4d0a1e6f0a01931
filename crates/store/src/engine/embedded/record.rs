//! How a change is written down in `values`.
//!
//! ```text
//! flags u8 · rv_at u32 · created u64 · previous u64 · expires_at i64 · key length u16 · key · value
//! ```
//! All little-endian. `previous` is the revision of the version the change replaced, 0 for none.

use bytes::Bytes;

use crate::engine::{Change, Payload, RawValue, Record};
use crate::key::{Key, Revision};

const PUT: u8 = 1;
const SEALED: u8 = 2;
const HEADER: usize = 31;

/// A change as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The value; `None` for a deletion.
    pub(super) value: Option<&'a [u8]>,
    pub(super) sealed: bool,
    pub(super) rv_at: u32,
    pub(super) created: Revision,
    pub(super) previous: Option<Revision>,
    pub(super) expires_at: Option<i64>,
    pub(super) key: &'a str,
}

impl<'a> Line<'a> {
    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        HEADER + self.key.len() + self.value.map_or(0, <[u8]>::len)
    }

    /// Writes it into `out`, which is `len` long.
    pub(super) fn write(&self, out: &mut [u8]) {
        let put = if self.value.is_some() { PUT } else { 0 };
        out[0] = put | if self.sealed { SEALED } else { 0 };
        out[1..5].copy_from_slice(&self.rv_at.to_le_bytes());
        out[5..13].copy_from_slice(&self.created.0.to_le_bytes());
        out[13..21].copy_from_slice(&self.previous.map_or(0, |p| p.0).to_le_bytes());
        out[21..29].copy_from_slice(&self.expires_at.unwrap_or(0).to_le_bytes());
        // Keys are at most Key::MAX_LEN long
        out[29..31].copy_from_slice(&(self.key.len() as u16).to_le_bytes());
        let (key, value) = out[HEADER..].split_at_mut(self.key.len());
        key.copy_from_slice(self.key.as_bytes());
        value.copy_from_slice(self.value.unwrap_or_default());
    }

    /// Reads one; `None` where it is none.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let (header, rest) = line.split_at_checked(HEADER)?;
        let flags = header[0];
        let key_len = u16::from_le_bytes(header[29..31].try_into().ok()?);
        let (key, value) = rest.split_at_checked(key_len.into())?;
        let previous = u64::from_le_bytes(header[13..21].try_into().ok()?);
        let expires_at = i64::from_le_bytes(header[21..29].try_into().ok()?);
        Some(Line {
            value: (flags & PUT != 0).then_some(value),
            sealed: flags & SEALED != 0,
            rv_at: u32::from_le_bytes(header[1..5].try_into().ok()?),
            created: Revision(u64::from_le_bytes(header[5..13].try_into().ok()?)),
            previous: (previous != 0).then_some(Revision(previous)),
            expires_at: (expires_at != 0).then_some(expires_at),
            key: std::str::from_utf8(key).ok()?,
        })
    }

    pub(super) fn raw(&self) -> Option<RawValue> {
        let bytes = Bytes::copy_from_slice(self.value?);
        Some(RawValue {
            bytes,
            sealed: self.sealed,
            rv_at: self.rv_at,
        })
    }

    pub(super) fn change(&self, revision: Revision) -> Change {
        let (key, created) = (Key::new(self.key), self.created);
        Change {
            key,
            revision,
            created,
            value: self.raw().map(Payload::Raw),
        }
    }

    pub(super) fn record(&self, revision: Revision) -> Option<Record<'a>> {
        Some(Record {
            key: self.key,
            revision,
            created: self.created,
            bytes: self.value?,
            sealed: self.sealed,
            rv_at: self.rv_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_reads_back_as_written(
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            sealed: bool,
            rv_at: u32,
            created: u64,
            previous in proptest::option::of(1u64..),
            expires_at in proptest::option::of(1i64..),
            key in "[a-z/.-]{0,60}",
        ) {
            let line = Line {
                value: value.as_deref(),
                sealed,
                rv_at,
                created: Revision(created),
                previous: previous.map(Revision),
                expires_at,
                key: &key,
            };
            let mut bytes = vec![0xff; line.len()];
            line.write(&mut bytes);
            prop_assert_eq!(Line::read(&bytes), Some(line));
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Line::read(&bytes);
        }
    }
}
