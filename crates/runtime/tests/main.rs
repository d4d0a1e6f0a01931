//! Tests with real containers. They need root; the test program is itself the shim and the
//! program inside the images, so nothing has to be downloaded.

#![allow(clippy::unwrap_used, missing_docs)]

mod cases;
mod guest;
mod harness;

fn main() {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == "shim" => runtime::shim::main(args),
        Some(word) if word == "server" => harness::server(args),
        Some(word) if word == "guest" => guest::main(args),
        _ => harness::main(cases::all()),
    }
}
