//! Load and latency tools. Those that speak to an API take any Kubernetes endpoint, so that peers
//! run the same work; every one is bounded in count and time, and prints its figures beside the
//! budgets they are held against.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod endpoint;
mod pods;
mod proc;
mod schedule;
mod start;
mod store;
mod table;

use clap::{Parser, Subcommand};

/// What runs in this process is measured as it runs in Corten's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "bench",
    about = "Figures of a Kubernetes endpoint beside Corten's budgets"
)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// The API operations of the budgets, against any server
    Api(api::Arguments),
    /// A whole cluster's start, and what it uses while idle
    Start(start::Arguments),
    /// Pods from creation to Ready, and their memory
    Pods(pods::Arguments),
    /// Pods bound to nodes per second, in several variants
    Schedule(schedule::Arguments),
    /// The store alone: durable writes, reads, and memory of many objects
    Store(store::Arguments),
}

fn main() -> anyhow::Result<()> {
    // Only fails where one is installed already
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().program {
        Program::Api(arguments) => api::run(&arguments),
        Program::Start(arguments) => start::run(&arguments),
        Program::Pods(arguments) => pods::run(&arguments),
        Program::Schedule(arguments) => schedule::run(&arguments),
        Program::Store(arguments) => store::run(&arguments),
    }
}
