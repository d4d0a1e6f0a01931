//! The steps of a pod's life, one file each. A step does one thing with the world and answers
//! how it went; the worker alone decides what follows.

pub mod cleanup;
pub mod image;
pub mod lifecycle;
pub mod observe;
pub mod pull_secrets;
pub mod resize;
pub mod sandbox;
pub mod start;
pub mod stop;
pub mod volumes;
