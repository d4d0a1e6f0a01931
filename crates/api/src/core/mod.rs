//! The core group.

pub mod config;
pub mod event;
pub mod limits;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod service;
pub mod small;
pub mod storage;
