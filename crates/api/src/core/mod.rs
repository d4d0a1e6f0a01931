//! The core group.

mod claim_sources;
pub mod config;
pub mod endpoints;
pub mod event;
pub mod limits;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod resource_names;
pub mod service;
pub mod small;
pub mod source;
pub mod storage;
