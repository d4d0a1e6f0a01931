//! The kinds of Kubernetes 1.36 as data (tables), and what each of them does specially.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apps;
pub mod batch;
pub mod catalog;
pub mod clock;
pub mod columns;
pub mod convert;
pub mod core;
pub mod custom;
pub mod defaulting;
pub mod deprecation;
pub mod discovery;
pub mod duration;
pub mod fields;
pub mod groups;
pub mod jsonpath;
pub mod labels;
pub mod meta;
pub mod names;
pub mod object;
pub mod openapi;
pub mod prepare;
pub mod quantity;
pub mod quota;
pub mod registry;
pub mod resource;
pub mod serving;
pub mod status;
pub mod strategy;
pub mod validation;

/// The release of Kubernetes whose API this is.
pub const KUBERNETES_VERSION: &str = "1.36.0";
