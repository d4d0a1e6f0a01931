//! What a command can fail with, worded as kubectl words it.

use std::io;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with a Status.
    #[error("Error from server ({reason}): {message}", reason = reason(.0), message = .0.message)]
    Server(Box<kube::core::Status>),
    /// The server could not be reached or did not speak as expected.
    #[error("Unable to connect to the server: {0}")]
    Connect(String),
    /// The command's own words are off, or what it asks for makes no sense.
    #[error("error: {0}")]
    Usage(String),
    /// A file or stream failed.
    #[error("error: {what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// How.
        source: io::Error,
    },
    /// Everything has been said; only the exit code is left.
    #[error("")]
    Silent(u8),
}

/// What every command answers.
pub type Result<T> = std::result::Result<T, Error>;

fn reason(status: &kube::core::Status) -> &str {
    if status.reason.is_empty() {
        "Unknown"
    } else {
        &status.reason
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Error {
        match error {
            kube::Error::Api(status) => Error::Server(status),
            other => Error::Connect(chain(&other)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

impl Error {
    /// With words before what the server said.
    pub fn during(self, what: &str) -> Error {
        match self {
            Error::Server(mut status) => {
                status.message = format!("{what}: {}", status.message);
                Error::Server(status)
            }
            other => other,
        }
    }
}

/// An [`Error::Usage`].
pub fn usage(message: impl Into<String>) -> Error {
    Error::Usage(message.into())
}

/// For `map_err` on IO.
pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
