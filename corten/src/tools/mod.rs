//! The programs of the built-in image `corten.local/tools`: small things a tour, a test or a bench
//! needs inside a container, without a registry and without a shell.
//!
//! They run before anything else of Corten is set up, single-threaded where they can, so that a
//! container that only sleeps costs next to nothing. Each is reached as `corten tools NAME` or, in
//! the image, by its own name in `/bin`.

mod archive;
mod files;
mod http;
mod load;
mod net;
mod wait;

use std::{
    ffi::OsString,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag::register_conditional_shutdown,
};

const USAGE: &str = "usage: corten tools PROGRAM [ARGUMENT…]

  echo [--port 8080]        answer HTTP requests with hostname, address, path and headers
  get URL [--header H]      fetch an http:// address and print the body
  tcp-echo [--port 7]       send back what comes over TCP
  udp-echo [--port 7]       send back what comes over UDP
  sleep [SECONDS]           wait, for ever unless told otherwise; ends on SIGTERM
  resolve NAME              look a name up and print its addresses
  cpu [--millis 1000] [--seconds S]
                            use this much of a core
  memory SIZE [--seconds S] hold this much memory: 64Mi
  exit CODE [--after S]     end with this code
  cat, env, ls, hostname, id, printf, tar, true, false
                            as everywhere, with the few options containers need
";

/// The names under which the image has links to the program.
pub const PROGRAMS: &[&str] = &[
    "cat", "cpu", "echo", "env", "exit", "false", "get", "hostname", "id", "ls", "memory",
    "printf", "resolve", "sleep", "tar", "tcp-echo", "true", "udp-echo",
];

/// What went wrong, as one line for standard error.
type Outcome = Result<u8, String>;

/// Runs a program and answers its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let Some((program, rest)) = arguments.split_first() else {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    };
    if !matches!(program.as_str(), "sleep" | "exit") {
        // As PID 1 a program is not ended by signals it has not asked for.
        for signal in [SIGTERM, SIGINT] {
            let always = Arc::new(AtomicBool::new(true));
            if let Err(error) = register_conditional_shutdown(signal, 128 + signal, always) {
                eprintln!("{program}: signals: {error}");
            }
        }
    }
    let outcome = match program.as_str() {
        "echo" => http::echo(rest),
        "get" => http::get(rest),
        "tcp-echo" => net::tcp_echo(rest),
        "udp-echo" => net::udp_echo(rest),
        "resolve" => net::resolve(rest),
        "sleep" => wait::sleep(rest),
        "exit" => wait::exit(rest),
        "cpu" => load::cpu(rest),
        "memory" => load::memory(rest),
        "cat" => files::cat(rest),
        "env" => files::env(),
        "ls" => files::ls(rest),
        "hostname" => files::hostname(),
        "id" => files::id(),
        "printf" => files::printf(rest),
        "tar" => archive::tar(rest),
        "true" => Ok(0),
        "false" => Ok(1),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(0)
        }
        other => Err(format!("no such program: {other}\n\n{USAGE}")),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("{program}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Splits `--name value` and `--name=value` from the other arguments.
fn options<const N: usize>(
    arguments: &[String],
    names: [&str; N],
) -> Result<([Option<String>; N], Vec<String>), String> {
    let mut values = [const { None }; N];
    let mut rest = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(option) = argument.strip_prefix("--").filter(|o| !o.is_empty()) else {
            rest.push(argument.clone());
            continue;
        };
        let (name, inline) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (option, None),
        };
        let place = names
            .iter()
            .position(|n| *n == name)
            .ok_or_else(|| format!("no such option: --{name}"))?;
        let value = inline
            .or_else(|| arguments.next().cloned())
            .ok_or_else(|| format!("--{name} needs a value"))?;
        values[place] = Some(value);
    }
    Ok((values, rest))
}

fn number<T: std::str::FromStr>(given: Option<String>, otherwise: T) -> Result<T, String> {
    match given {
        None => Ok(otherwise),
        Some(text) => text.parse().map_err(|_| format!("not a number: {text}")),
    }
}

#[cfg(test)]
mod tests;
