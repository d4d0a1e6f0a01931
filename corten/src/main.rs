//! Corten's one binary: reads settings and wires the floors, nothing else.
//!
//! Three things are looked for before anything is set up, because they must stay small or
//! single-threaded: the shim that holds a pod's containers, the programs of the built-in image, and
//! being called by the name `kubectl`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod facts;
mod images;
mod introspection;
mod join;
mod lock;
mod networks;
mod node_sim;
mod parts;
mod reset;
mod server;
mod settings;
mod tokens;
mod tools;

use std::{ffi::OsString, path::Path, process::ExitCode};

use settings::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or_default()
        .to_string_lossy();
    let first = arguments.get(1).map(|a| a.to_string_lossy());
    match first.as_deref() {
        _ if called == "kubectl" => return kubectl(arguments),
        _ if tools::PROGRAMS.contains(&called.as_ref()) => {
            return tools::main(
                std::iter::once(OsString::from(called.as_ref()))
                    .chain(arguments.into_iter().skip(1)),
            );
        }
        Some("shim") => runtime::shim::main(arguments.into_iter().skip(2)),
        Some("tools") => return tools::main(arguments.into_iter().skip(2)),
        Some("kubectl") => return kubectl(arguments.into_iter().skip(1).collect()),
        _ => {}
    }
    let cli = settings::read(arguments);
    let filter = tracing_subscriber::EnvFilter::try_new(&cli.log);
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("corten: --log {}: {error}", cli.log);
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let outcome = match cli.command {
        Command::Server(settings) => run(server::run(*settings)),
        Command::Agent(settings) => run(agent::run(*settings)),
        Command::Token(settings) => run(tokens::run(settings)),
        Command::Apiserver(settings) => run(server::apiserver(*settings)),
        Command::Kubelet(settings) => run(agent::kubelet(*settings)),
        Command::Proxy(settings) => run(agent::proxy(settings)),
        Command::Scheduler(settings) => run(parts::scheduler(settings)),
        Command::ControllerManager(settings) => run(parts::controller_manager(settings)),
        Command::NodeSim(settings) => run(node_sim::run(*settings)),
        Command::Image(settings) => run(images::run(settings)),
        Command::Reset(settings) => run(reset::run(settings)),
        Command::Kubectl { arguments } => {
            return kubectl(std::iter::once("kubectl".into()).chain(arguments).collect());
        }
        Command::Tools { arguments } => return tools::main(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // The only process-wide choice of a cryptography provider; a second one cannot have been made.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(64)
        .build()?
        .block_on(work)
}

fn kubectl(arguments: Vec<OsString>) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    kubectl::main(arguments)
}
