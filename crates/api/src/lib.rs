//! The kinds of Kubernetes 1.36 as data (tables), and what each of them does specially.

pub mod clock;
pub mod resource;
pub mod strategy;
