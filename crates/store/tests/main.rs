//! The store from outside: what a writer was told, what readers and watchers see, and what is
//! still there after a crash.

#![allow(clippy::unwrap_used)]

mod crash;
mod fixture;
mod list;
mod open;
mod past;
mod stress;
mod watch;
mod write;
