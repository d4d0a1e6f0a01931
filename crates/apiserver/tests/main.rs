//! A whole API server over a temporary directory, in process and over TLS.

#![allow(clippy::unwrap_used, missing_docs, unused_crate_dependencies)]

mod access;
mod admission;
mod aggregation;
mod audit;
mod custom_resources;
mod harness;
mod hook;
mod objects;
mod outbound;
mod policies;
mod proxy;
mod request_path;
mod runtime_config;
mod semantics;
mod service_addresses;
mod tls;
mod walk;
mod webhooks;
