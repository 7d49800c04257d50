use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::KEEP_MAX;

/// Its owner writes, its group reads: there are names and numbers in it.
const MODE: u32 = 0o640;

/// The file, and those that were put aside: `FILE.1` is the youngest of them.
///
/// Together they never have more than `max` times (`keep` + 1) bytes. What is not written stays with whoever wanted it to be.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    max: u64,
    keep: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// Does it end within a line, as a crash or a full disk leaves it?
    torn: bool,
}

impl Journal {
    /// Nothing is opened before there is something to write; what was kept beyond `keep` goes.
    pub(super) fn new(path: &Path, max: u64, keep: u32) -> Self {
        let journal = Self { path: path.to_owned(), max, keep, open: None };
        journal.drop_beyond();
        journal
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }

    /// From now on it may grow so long, and so many are kept.
    pub(super) fn set_bounds(&mut self, max: u64, keep: u32) {
        if (max, keep) != (self.max, self.keep) {
            (self.max, self.keep) = (max, keep);
            self.drop_beyond();
        }
    }

    /// Writes lines, each with its end. How many of them stand there now, and why not all do.
    pub(super) fn write(&mut self, lines: &[String]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < lines.len() {
            match self.write_some(&lines[done..]) {
                Ok((count, Ok(()))) => done += count,
                Ok((count, Err(error))) => return (done + count, Err(error)),
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Writes as many of the lines, at least one, as the file has room for before it is put aside.
    fn write_some(&mut self, lines: &[String]) -> io::Result<(usize, io::Result<()>)> {
        self.look()?;
        let (max, first) = (self.max, lines.first().map_or(0, String::len) as u64);
        let Open { length, .. } = *self.opened()?;
        // One more for the end of a line that was torn.
        if length > 0 && length + 1 + first > max {
            self.put_aside()?;
        }
        let open = self.opened()?;
        let mut text = String::from(if open.torn { "\n" } else { "" });
        let mut ends = Vec::with_capacity(lines.len());
        for line in lines {
            if open.length + (text.len() + line.len()) as u64 > max {
                break;
            }
            text.push_str(line);
            ends.push(text.len());
        }
        if ends.is_empty() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than records.max_mib at once"));
        }
        let (written, result) = write(&mut open.file, text.as_bytes());
        let count = ends.iter().filter(|end| **end <= written).count();
        open.torn = false;
        if result.is_err() {
            let whole = count.checked_sub(1).map_or(0, |last| ends[last]);
            if written > whole {
                // If that fails too, the next line begins behind an end of its own.
                let _half_a_line_goes = open.file.set_len(open.length + whole as u64);
            }
            // It is opened anew: the folder may be another by then.
            self.open = None;
        }
        Ok((count, result))
    }

    /// What is written so far is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| open.file.sync_data())
    }

    /// Somebody else may have put it aside, or cut it.
    fn look(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let (own, there) = (open.file.metadata()?, fs::metadata(&self.path));
        open.length = own.len();
        let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()));
        if !same {
            self.open = None;
        }
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut options = OpenOptions::new();
                let file = options.read(true).append(true).create(true).mode(MODE).open(&self.path)?;
                let length = file.metadata()?.len();
                Open { torn: length > 0 && !ends_a_line(&file, length)?, file, length }
            }
        };
        Ok(self.open.insert(open))
    }

    /// The file becomes `FILE.1`, and so on; the oldest goes.
    fn put_aside(&mut self) -> io::Result<()> {
        self.open = None;
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for n in (1..self.keep).rev() {
            match fs::rename(self.aside(n), self.aside(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.aside(1))
    }

    /// Fewer are kept than before.
    fn drop_beyond(&self) {
        for n in self.keep + 1..=KEEP_MAX {
            let _it_is_not_there = fs::remove_file(self.aside(n));
        }
    }

    fn aside(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }
}

/// How much of it was written.
fn write(file: &mut File, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match file.write(&text[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Is the last of so many bytes a line's end?
fn ends_a_line(mut file: &File, length: u64) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests;
