//! Small files that outlive the engine: there as a whole, or not at all.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use tracing::warn;

/// What `file` holds; `None`: there is none. One that cannot be read, or that `is_sound` refuses, is put aside, and it is
/// said that `lost`: nobody is kept from starting by it.
pub(crate) fn read<T: DeserializeOwned>(file: &Path, is_sound: impl FnOnce(&T) -> bool, lost: &str) -> Option<T> {
    let read = match fs::read(file) {
        Ok(bytes) => serde_json::from_slice::<T>(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    let senseless = || Err(io::Error::other("it makes no sense"));
    match read.and_then(|read| if is_sound(&read) { Ok(read) } else { senseless() }) {
        Ok(read) => Some(read),
        Err(error) => {
            let aside = file.with_extension("unreadable");
            let moved =
                fs::rename(file, &aside).map_or_else(|error| error.to_string(), |()| "it lies beside".to_owned());
            warn!("{}: {error}: {lost}; {} ({moved})", file.display(), aside.display());
            None
        }
    }
}

/// All of it in the place of what is there, or nothing, whenever the power fails. May wait for the disk.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("json.new");
    let mut new = fs::File::create(&beside)?;
    io::Write::write_all(&mut new, bytes)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    match file.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
