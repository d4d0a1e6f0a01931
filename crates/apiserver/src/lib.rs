//! The API server: one request path for every kind and every client.
//!
//! ```text
//! socket ─ TLS ─┐
//!               ├▶ request info ▶ authenticate ▶ audit ▶ impersonate ▶ flow-control ▶ authorize
//! in-process ───┘      ▶ decode ▶ admit ▶ validate ▶ store ▶ encode
//! ```
//!
//! | module | room |
//! | --- | --- |
//! | [`http`] | sockets, the in-process transport, bodies |
//! | [`request`] | what is asked, and the one order in which it is dealt with |
//! | [`authentication`], [`authorization`], [`admission`] | who, may they, and shall it be so |
//! | [`registry`] | the generic operations on objects, and the subresources |
//! | [`aggregation`] | groups that other servers serve |
//! | [`discovery`] | what is served |
//! | [`extensions`] | what definitions of custom resources add to it |
//! | [`proxy`] | to kubelets, pods, services |
//! | [`outbound`] | to webhooks and other API servers |
//! | [`bootstrap`] | objects a cluster has from its first start |
//! | [`pki`] | keys and certificates |
//!
//! Only this crate opens the store; everything else is a client of it.

#![cfg_attr(test, allow(clippy::unwrap_used))]
// A `Status` is the answer of the rare path and is moved once or twice; a box at every place
// where one is made would cost more reading than it saves.
#![allow(clippy::result_large_err)]

pub mod admission;
pub mod aggregation;
pub mod audit;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod config;
pub mod discovery;
pub mod endpoint;
pub mod extensions;
pub mod flow;
pub mod http;
pub mod metrics;
pub mod objects;
pub mod outbound;
pub mod pki;
pub mod proxy;
pub mod registry;
pub mod request;
pub mod seal;
pub mod server;
pub mod service_addresses;

pub use self::http::local::LocalTransport;
pub use authentication::UserInfo;
pub use config::Config;
pub use request::accept::WITHOUT_MANAGERS;
pub use server::{ApiServer, StartError};
