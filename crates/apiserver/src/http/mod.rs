//! The way in: sockets with TLS ([`listen`]) and the in-process transport ([`local`]). Both end in
//! the same request path ([`crate::request::chain`]).

pub mod body;
pub mod listen;
pub mod local;
pub mod websocket;
