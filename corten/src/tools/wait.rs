//! `sleep` and `exit`.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Outcome, number, options};

/// Waits, and ends at once with 143 on SIGTERM and 130 on SIGINT also as PID 1, where the kernel
/// ignores signals nobody has asked for.
pub fn sleep(arguments: &[String]) -> Outcome {
    let seconds = match arguments.first().map(String::as_str) {
        None | Some("infinity") => None,
        Some(text) => Some(
            text.trim_end_matches('s')
                .parse::<f64>()
                .map_err(|_| format!("not a number of seconds: {text}"))?,
        ),
    };
    signalled_within(seconds.map(Duration::from_secs_f64))
        .map(|signal| signal.map_or(0, |n| 128 + n))
}

/// Ends with a code.
pub fn exit(arguments: &[String]) -> Outcome {
    let ([after], rest) = options(arguments, ["after"])?;
    let code = number(rest.first().cloned(), 0_u8)?;
    let after = Duration::from_secs_f64(number(after, 0.0)?);
    if let Some(signal) = signalled_within(Some(after))? {
        return Ok(128 + signal);
    }
    println!("exiting with {code}");
    Ok(code)
}

/// Waits for a signal that asks to end, at most this long.
fn signalled_within(limit: Option<Duration>) -> Result<Option<u8>, String> {
    let mut watched = Vec::new();
    for signal in [SIGTERM, SIGINT] {
        let (reader, writer) = UnixStream::pair().map_err(|e| e.to_string())?;
        signal_hook::low_level::pipe::register(signal, writer).map_err(|e| e.to_string())?;
        watched.push((signal, reader));
    }
    let deadline = limit.map(|l| Instant::now() + l);
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.map(|l| Timespec {
            tv_sec: i64::try_from(l.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: l.subsec_nanos().into(),
        });
        let mut polled: Vec<_> = watched
            .iter()
            .map(|(_, reader)| PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN))
            .collect();
        match poll(&mut polled, left.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => {
                let came = polled.iter().position(|p| !p.revents().is_empty());
                return Ok(came.and_then(|at| u8::try_from(watched[at].0).ok()));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
