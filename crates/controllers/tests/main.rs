//! The controllers against a whole API server in this process, with a fake kubelet that patches pod
//! status. Every wait is for a condition, by watch.

#![allow(clippy::unwrap_used, missing_docs, unused_crate_dependencies)]

mod autoscaling;
mod calm;
mod cleanup;
mod cluster;
mod election;
mod endpoints;
mod migration;
mod mortal;
mod nodes;
mod policy;
mod restarts;
mod services;
mod storage;
mod workloads;
