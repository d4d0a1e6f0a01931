//! The built-in CRI runtime: images, snapshots, sandboxes, containers, and the shim that holds them.

pub mod network;
