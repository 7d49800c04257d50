//! The token that whoever speaks to the API over TCP shows.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use subtle::ConstantTimeEq;
use thiserror::Error;

/// The shortest token, characters. Shorter ones are guessed.
pub const TOKEN_MIN: usize = 16;
/// The longest token, characters: it fits a header.
pub const TOKEN_MAX: usize = 1_024;

/// A token that is no good. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Everybody on this host may read it, or write it.
    #[error("{path} is open to everybody on this host (mode {mode:03o}): chmod 640 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no token.
    #[error(
        "the first line of {path} is no token: write {TOKEN_MIN} to {TOKEN_MAX} characters of visible ASCII there, such as `openssl rand -hex 32` prints"
    )]
    Bad {
        /// The file.
        path: PathBuf,
    },
}

/// A secret that is shown to nobody.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The first line of the file, without white space around it.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.into(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        // to open a pipe is to wait for its writer
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is no file")));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(TokenError::Open { path: path.into(), mode });
        }
        let mut text = Vec::new();
        let room = TOKEN_MAX as u64 + 256;
        File::open(path).and_then(|file| file.take(room).read_to_end(&mut text)).map_err(unreadable)?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let sound = (TOKEN_MIN..=TOKEN_MAX).contains(&line.len()) && line.iter().all(u8::is_ascii_graphic);
        if sound { Ok(Self(line.to_vec())) } else { Err(TokenError::Bad { path: path.into() }) }
    }

    /// Is it this one? Takes as long for a wrong one as for the right one of the same length.
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }
}

/// By this it shows that a file has been written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    file: (u64, u64),
    changed: (i64, i64),
    modified: Option<SystemTime>,
    length: u64,
}

impl Version {
    /// Of the file as it is now; `None`: it is not there.
    pub fn of(path: &Path) -> Option<Self> {
        let is = fs::metadata(path).ok()?;
        Some(Self {
            file: (is.dev(), is.ino()),
            changed: (is.ctime(), is.ctime_nsec()),
            modified: is.modified().ok(),
            length: is.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "0123456789abcdef";

    #[test]
    fn only_a_line_that_is_hard_to_guess_is_a_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let long = "x".repeat(TOKEN_MAX);
        let table = [
            (GOOD.to_owned(), true),
            (format!("  {GOOD}\t\r\nsecond line\n"), true),
            (long.clone(), true),
            (format!("{long}y"), false),
            ("0123456789abcde".to_owned(), false),
            ("0123456789 abcdef".to_owned(), false),
            ("0123456789abcdé".to_owned(), false),
            (String::new(), false),
            (format!("\n{GOOD}"), false),
        ];
        for (text, good) in table {
            fs::write(&path, &text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
            let read = Token::read(&path);
            assert_eq!(read.is_ok(), good, "{text:?}");
            match read {
                Ok(token) => assert_eq!(format!("{token:?}"), "Token"),
                Err(error) => assert!(error.to_string().contains("openssl rand"), "{error}"),
            }
        }
    }

    #[test]
    fn what_everybody_may_read_or_write_is_refused_with_the_fix() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        fs::write(&path, GOOD).expect("written");
        for (mode, good) in
            [(0o400, true), (0o640, true), (0o660, true), (0o644, false), (0o602, false), (0o601, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own file");
            let read = Token::read(&path);
            assert_eq!(read.is_ok(), good, "{mode:o}");
            assert!(read.err().is_none_or(|error| error.to_string().contains("chmod 640")));
        }
        for other in [directory.path().to_owned(), directory.path().join("none")] {
            assert!(matches!(Token::read(&other), Err(TokenError::Unreadable { .. })));
        }
    }

    #[test]
    fn it_is_itself_and_nothing_else() {
        let token = Token(GOOD.into());
        assert!(token.is(GOOD.as_bytes()));
        for other in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_file_that_is_written_or_replaced_is_another_version() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, other) = (directory.path().join("token"), directory.path().join("other"));
        assert_eq!(Version::of(&path), None);
        fs::write(&path, GOOD).expect("written");
        let first = Version::of(&path);
        assert_eq!(first, Version::of(&path));
        fs::write(&other, GOOD).expect("written");
        fs::rename(&other, &path).expect("the same directory");
        assert_ne!(first, Version::of(&path));
    }
}
