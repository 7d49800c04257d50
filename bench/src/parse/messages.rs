use std::path::{Path, PathBuf};
use std::{env, fs};

use vos_bench::{Error, Result};

use super::is_http;

/// A message of the corpus.
pub(super) struct Message {
    /// Folder and file name without its ending: `bench/invite`.
    pub(super) name: String,
    pub(super) sip: PathBuf,
    /// The same lines under an HTTP start line, where there is such a file.
    pub(super) http: Option<PathBuf>,
}

/// The folders that are read: messages chosen for timing, then what SIP servers and phones sent in tests.
const FOLDERS: [&str; 2] = ["bench", "real"];

/// All messages, folder by folder in the order of their names.
pub(super) fn all(corpus: Option<&Path>) -> Result<Vec<Message>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let corpus = corpus.map_or_else(|| env::var_os("VOS_CORPUS").map_or_else(beside, PathBuf::from), Path::to_owned);
    if !corpus.join(FOLDERS[0]).is_dir() {
        return Err(Error::Other(format!(
            "no messages in {}: set VOS_CORPUS to the corpus, the folder that holds `bench` and `real`",
            corpus.display()
        )));
    }
    FOLDERS.iter().try_fold(Vec::new(), |mut found, folder| {
        found.append(&mut of_folder(&corpus, folder)?);
        Ok(found)
    })
}

fn of_folder(corpus: &Path, folder: &str) -> Result<Vec<Message>> {
    let doing = || Error::io(format!("read {}", corpus.join(folder).display()));
    let entries = fs::read_dir(corpus.join(folder)).map_err(doing())?;
    let mut paths: Vec<_> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>().map_err(doing())?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "sip"));
    paths.sort();
    Ok(paths.into_iter().map(|sip| Message::at(folder, sip)).collect())
}

impl Message {
    fn at(folder: &str, sip: PathBuf) -> Self {
        let name = format!("{folder}/{}", sip.file_stem().unwrap_or_default().to_string_lossy());
        let http = Some(sip.with_extension("http")).filter(|twin| twin.is_file());
        Self { name, sip, http }
    }

    /// The file that this parser reads.
    pub(super) fn file(&self, parser: &str) -> Option<&Path> {
        if is_http(parser) { self.http.as_deref() } else { Some(&self.sip) }
    }
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(Error::io(format!("read {}", file.display())))
}
