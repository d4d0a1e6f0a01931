//! Encryption at rest: a store opened with a [`Seal`] passes the values of chosen prefixes through
//! it, so that only sealed bytes reach the disk while the cache holds plain ones.

use crate::key::Key;

/// Turns values into what may be written to disk, and back.
pub trait Seal: Send + Sync + 'static {
    /// Seals a value; `key` is to be bound to it, so that sealed values cannot be exchanged.
    fn seal(&self, key: &Key, plain: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Opens what `seal` made for the same key.
    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealError>;
}

/// Why a value could not be sealed or opened; must not contain any of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub String);
