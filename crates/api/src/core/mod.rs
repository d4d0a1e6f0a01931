//! The core group.

pub mod pod;
pub mod service;
pub mod small;
pub mod storage;
