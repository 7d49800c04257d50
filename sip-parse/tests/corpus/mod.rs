//! The messages the tests read: `$VOS_CORPUS`, or `shared/corpus` beside the workspace.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::{env, fs};

pub(crate) struct Sample {
    /// The file's name without its ending.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The samples of a folder of the corpus in the order of their names, or nothing if there is no
/// corpus here. With `VOS_REQUIRE_ALL=1` that is a failure.
pub(crate) fn samples(folder: &str, ending: &str) -> Vec<Sample> {
    let Some(folder) = root().map(|root| root.join(folder)) else {
        return Vec::new();
    };
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut samples: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| Sample {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            bytes: fs::read(&path).unwrap(),
        })
        .collect();
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!samples.is_empty(), "{} holds no .{ending} file", folder.display());
    samples
}

/// Every message of the corpus.
pub(crate) fn all() -> Vec<Sample> {
    [
        ("real", "sip"),
        ("bench", "sip"),
        ("rfc4475", "dat"),
        ("rfc4475-extra", "dat"),
        ("rfc5118", "dat"),
        ("rfc5118/rfc-archive-lf", "dat"),
    ]
    .iter()
    .flat_map(|(folder, ending)| samples(folder, ending))
    .collect()
}

/// The rows of a table of the corpus without its heading, each split at its tabs.
pub(crate) fn table(file: &str) -> Vec<Vec<String>> {
    let Some(root) = root() else {
        return Vec::new();
    };
    let text = fs::read_to_string(root.join(file)).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn root() -> Option<PathBuf> {
    let root = env::var_os("VOS_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    if root.is_dir() {
        return Some(root);
    }
    let missing = format!("no corpus at {}: set VOS_CORPUS to its folder", root.display());
    assert!(env::var_os("VOS_REQUIRE_ALL").is_none_or(|all| all != "1"), "{missing}");
    eprintln!("skipped: {missing}");
    None
}
