use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian keeps the programs of root, which are not in everybody's `PATH`.
const OF_ROOT: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The file of a program, in `PATH` or where Debian keeps those of root; `None` where there is none.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    find_in(&std::env::var_os("PATH").unwrap_or_default(), &OF_ROOT, name)
}

fn find_in(path: &OsStr, more: &[&str], name: &str) -> Option<PathBuf> {
    let directories = std::env::split_paths(path).chain(more.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| Path::is_file(file))
}

/// A command of this program. To start one that is not there fails with `NotFound`.
pub(crate) fn command(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_root_are_found_whatever_the_path_is() {
        let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let name = "vos-some-program";
        let sbin = second.path().to_str().expect("UTF-8");
        let found = |more: &[&str]| find_in(first.path().as_os_str(), more, name);
        std::fs::create_dir(first.path().join(name)).expect("room");
        std::fs::write(second.path().join(name), "").expect("room");
        assert_eq!(found(&[]), None, "a folder is no program");
        assert_eq!(found(&[sbin]), Some(second.path().join(name)));
        std::fs::remove_dir(first.path().join(name)).expect("ours");
        std::fs::write(first.path().join(name), "").expect("room");
        assert_eq!(found(&[sbin]), Some(first.path().join(name)), "the path goes first");
        assert!(find("sh").is_some() && find(name).is_none());
        assert!(command(name).output().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
    }
}
