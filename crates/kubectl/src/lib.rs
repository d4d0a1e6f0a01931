//! `corten kubectl`: the commands most used, in kubectl's own syntax and output, for machines that
//! have no kubectl yet.
//!
//! Floor: an API client like any other. [`flags`] says what can be asked, [`session`] how the cluster
//! is reached, [`mapping`] what the words for kinds mean, [`manifest`] what files say; each command
//! stands in a file of its own under [`commands`] and prints through [`output`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod commands;
pub mod describe;
pub mod error;
pub mod flags;
pub mod manifest;
pub mod mapping;
pub mod object;
pub mod output;
pub mod session;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

/// Runs kubectl with these arguments (the first is the program's name).
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let flags = match flags::Kubectl::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            eprintln!("{}", error.render().ansi());
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(flags)) {
        Ok(code) => ExitCode::from(code),
        Err(error::Error::Silent(code)) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
