//! Load and latency tools. Those that speak to an API take any Kubernetes endpoint, so that peers
//! run the same work; every one is bounded in count and time, and prints its figures beside the
//! budgets they are held against.

mod proc;
mod store;
mod table;

use clap::{Parser, Subcommand};

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
    /// The store alone: durable writes, reads, and memory of many objects
    Store(store::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().program {
        Program::Store(arguments) => store::run(&arguments),
    }
}
