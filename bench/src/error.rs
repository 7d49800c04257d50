//! What can go wrong, said together with the remedy.

use std::io;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that names its remedy where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Namespaces and interfaces are root's business.
    #[error("needs root: run with sudo")]
    NotRoot,
    /// A program that this one calls is not installed.
    #[error("`{program}` not found: {remedy}")]
    ProgramMissing {
        /// What was to be run.
        program: String,
        /// How to get it.
        remedy: String,
    },
    /// A program that this one called ended with an error.
    #[error("`{command}` failed: {said}")]
    CommandFailed {
        /// The command line.
        command: String,
        /// What it wrote to stderr, or how it ended.
        said: String,
    },
    /// The system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// Options that do not go together, or output that cannot be read.
    #[error("{0}")]
    Other(String),
    /// A signal asked for the end.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Turns a system error into one that says what was being done: `.map_err(Error::io("bind 192.0.2.1:5060"))`.
    pub fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }
}
