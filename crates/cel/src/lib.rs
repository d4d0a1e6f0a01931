//! The Common Expression Language as Kubernetes speaks it.
//!
//! An [`Environment`] says which variables and libraries an expression may use;
//! [`Program::compile`] parses and checks a text against it, with cel-go's messages; an
//! [`Activation`] gives the variables their values, read lazily out of JSON; [`Program::evaluate`]
//! runs the program and counts its cost against a [`Budget`], as the API server does.
//! [`rules`] does all that for the `x-kubernetes-validations` of a custom resource's schema.
//!
//! Text → [`lexer`] → [`parse`] (macros expanded) → [`check`] (types, overloads) → [`plan`]
//! (constants folded, regular expressions compiled) → [`eval`]. [`cost`] estimates what a checked
//! expression can cost at most. Knows no Kubernetes kind. No IO.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activation;
mod ast;
pub mod authorizer;
mod check;
mod cost;
mod declared;
mod deep;
mod environment;
mod escape;
mod eval;
mod functions;
mod lexer;
pub mod limits;
mod parse;
mod plan;
mod program;
pub mod rules;
mod source;
mod types;
mod value;

pub use activation::{Activation, Budget};
pub use cost::{CostRange, SizeHints};
pub use declared::Declared;
pub use environment::{Environment, Library};
pub use escape::{escape, unescape};
pub use program::{EvalError, Program};
pub use source::{CompileError, Issue};
pub use types::{Fields, Object, Opaque, Type};
pub use value::{Duration, Key, List, Map, OpaqueValue, Struct, Text, Timestamp, Value};
