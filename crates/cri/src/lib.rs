//! The Container Runtime Interface: the seam between the kubelet and whatever runs containers.
//!
//! `v1` holds the generated messages, client and server of the protocol's version 1. The kubelet
//! uses the client whether the runtime is Corten's own or containerd; `runtime` implements the
//! server. `streaming` holds the channel protocols (WebSocket, SPDY) of exec, attach and
//! port-forward: the only place in Corten that terminates them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
pub mod streaming;

/// Messages, client and server of `runtime.v1`, generated from the interface definition.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    include!("generated/runtime_v1.rs");
}

/// The wire form of the messages, for those who keep them in files.
pub mod message {
    pub use prost::Message;
}
