//! The kernel calls that no safe crate offers, each behind a safe function.
//!
//! This is the runtime's only home for `unsafe`. Nothing here decides anything: callers in
//! `shim` plan, these functions execute.

pub mod mount;
pub mod process;
pub mod watch;
