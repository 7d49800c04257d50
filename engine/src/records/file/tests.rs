use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn lines(of: impl IntoIterator<Item = u32>) -> Vec<String> {
    of.into_iter().map(|n| format!("{{\"n\":{n:04}}}\n")).collect()
}

/// Bytes of one of [`lines`].
const LINE: u64 = 11;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.jsonl");
    (directory, path)
}

fn all(journal: &mut Journal, lines: &[String]) {
    let (count, result) = journal.write(lines);
    result.expect("room");
    assert_eq!(count, lines.len());
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The files that there are, and the numbers in each.
fn found(directory: &Path) -> Vec<(String, Vec<u32>)> {
    let mut files: Vec<_> = fs::read_dir(directory).expect("there").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let number = |line: &str| line[5..9].parse().expect("a whole line");
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), read(path).lines().map(number).collect())).collect()
}

#[test]
fn it_is_put_aside_before_it_is_too_long_and_so_many_are_kept() {
    let (directory, path) = place();
    let mut journal = Journal::new(&path, 3 * LINE + 1, 2);
    all(&mut journal, &lines(0..3));
    assert_eq!(found(directory.path()), [("records.jsonl".to_owned(), vec![0, 1, 2])]);
    // many at once
    all(&mut journal, &lines(3..14));
    let expected =
        [("records.jsonl", vec![12, 13]), ("records.jsonl.1", vec![9, 10, 11]), ("records.jsonl.2", vec![6, 7, 8])];
    assert_eq!(found(directory.path()), expected.map(|(name, lines)| (name.to_owned(), lines)));
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, MODE);
    // fewer are kept from now on
    journal.set_bounds(3 * LINE + 1, 1);
    assert_eq!(found(directory.path()).len(), 2);
    all(&mut journal, &lines(14..17));
    assert_eq!(
        found(directory.path()),
        [("records.jsonl", vec![15, 16]), ("records.jsonl.1", vec![12, 13, 14])]
            .map(|(name, lines)| (name.to_owned(), lines))
    );
    let mut none = Journal::new(&path, 3 * LINE + 1, 0);
    all(&mut none, &lines(17..20));
    assert_eq!(found(directory.path()), [("records.jsonl".to_owned(), vec![18, 19])]);
}

#[test]
fn disk_use_is_the_product_that_is_promised() {
    let (directory, path) = place();
    let (max, keep) = (200, 3);
    let mut journal = Journal::new(&path, max, keep);
    for n in 0..1_000 {
        let long = [format!("{}\n", "x".repeat(n % 190))];
        all(&mut journal, &long);
        let used: u64 =
            fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(used <= max * u64::from(keep + 1), "{used}");
    }
    // what would never fit is refused, and nothing else with it
    let (count, result) = journal.write(&[format!("{}\n", "x".repeat(200))]);
    assert_eq!((count, result.is_err()), (0, true));
    all(&mut journal, &lines(0..1));
}

#[test]
fn half_a_line_of_a_crash_spoils_no_other() {
    let (_directory, path) = place();
    fs::write(&path, "{\"n\":0000}\n{\"n\":00").expect("written");
    let mut journal = Journal::new(&path, 1_000, 1);
    all(&mut journal, &lines(1..3));
    all(&mut journal, &lines(3..4));
    let expected = "{\"n\":0000}\n{\"n\":00\n{\"n\":0001}\n{\"n\":0002}\n{\"n\":0003}\n";
    assert_eq!(read(&path), expected);
    // and a whole one needs nothing
    let mut again = Journal::new(&path, 1_000, 1);
    all(&mut again, &lines(4..5));
    assert_eq!(read(&path), format!("{expected}{{\"n\":0004}}\n"));
}

#[test]
fn what_others_move_or_cut_is_followed() {
    let (directory, path) = place();
    let mut journal = Journal::new(&path, 1_000, 1);
    all(&mut journal, &lines(0..1));
    fs::rename(&path, directory.path().join("moved")).expect("moved");
    all(&mut journal, &lines(1..2));
    assert_eq!(read(&path), "{\"n\":0001}\n");
    File::create(&path).expect("cut");
    all(&mut journal, &lines(2..3));
    assert_eq!(read(&path), "{\"n\":0002}\n");
    fs::remove_file(&path).expect("removed");
    all(&mut journal, &lines(3..4));
    assert_eq!(read(&path), "{\"n\":0003}\n");
}

#[test]
fn a_folder_that_is_not_there_loses_lines_until_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path().join("later");
    let mut journal = Journal::new(&folder.join("records.jsonl"), 1_000, 1);
    let (count, result) = journal.write(&lines(0..2));
    assert_eq!((count, result.expect_err("no folder").kind()), (0, io::ErrorKind::NotFound));
    fs::create_dir(&folder).expect("made");
    all(&mut journal, &lines(2..3));
    assert_eq!(read(&folder.join("records.jsonl")), "{\"n\":0002}\n");
}

/// A limit on the size of files stands in for a disk without room: the kernel writes what fits, and then refuses. The limit
/// is the process' own, so a child does it.
#[test]
fn a_full_disk_leaves_whole_lines_and_goes_on_when_there_is_room() {
    use nix::sys::resource::{Resource, setrlimit};

    const CHILD: &str = "VOS_RECORDS_FULL";
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else {
        let (_directory, path) = place();
        let name = "records::file::tests::a_full_disk_leaves_whole_lines_and_goes_on_when_there_is_room";
        // What is ignored stays so in who is begun.
        let mut child = std::process::Command::new("sh");
        child.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(std::env::current_exe().expect("this test"));
        let done = child.args(["--exact", name, "--nocapture"]).env(CHILD, &path).output().expect("it runs");
        assert!(
            done.status.success(),
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        return assert!(path.exists(), "the child has run no test");
    };
    let limit = |bytes| setrlimit(Resource::RLIMIT_FSIZE, bytes, 1 << 30).expect("a limit");
    let mut journal = Journal::new(&path, 1_000, 1);
    limit(2 * LINE + 5);
    let (count, result) = journal.write(&lines(0..5));
    assert_eq!((count, result.is_err()), (2, true));
    assert_eq!(read(&path), lines(0..2).concat());
    assert_eq!(journal.write(&lines(5..6)).0, 0);
    limit(1 << 30);
    all(&mut journal, &lines(6..8));
    assert_eq!(read(&path), lines([0, 1, 6, 7]).concat());
}
