//! Repository chores: `cargo xtask tidy` checks what the compiler does not.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod tidy;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let command = std::env::args().nth(1);
    match command.as_deref() {
        Some("tidy") => {
            let complaints = tidy::check()?;
            for complaint in &complaints {
                eprintln!("{complaint}");
            }
            if complaints.is_empty() {
                println!("tidy: nothing to complain about");
                return Ok(ExitCode::SUCCESS);
            }
            eprintln!("tidy: {} complaint(s)", complaints.len());
            Ok(ExitCode::FAILURE)
        }
        _ => {
            eprintln!(
                "usage: cargo xtask tidy    check sizes, names, module docs, unsafe, unfinished marks and floors"
            );
            Ok(ExitCode::from(2))
        }
    }
}
