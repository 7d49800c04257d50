//! A disk that is full: a clear error, the old state in force and on the disk, and on it goes when there is room.

use std::fs;

use vos_bench::SmallDisk;

use super::*;

/// Of the file system that will be full, bytes.
const SIZE: usize = 16 << 20;

fn address(n: u32) -> IpNet {
    IpNet::from(std::net::IpAddr::from((0x0a00_0000 + n).to_be_bytes()))
}

/// Imports until the disk refuses one; how many were taken.
fn import_until_full(control: &Control, mut next: u32) -> (u32, Refusal) {
    loop {
        let outcome =
            control.submit(&root(), (next..next + 500).map(|n| block(address(n))).collect(), Some("x".into()));
        match outcome.results.into_iter().find_map(Result::err) {
            None => next += 500,
            Some(refusal) => return (next, refusal),
        }
    }
}

#[test]
fn a_full_disk_is_named_changes_nothing_and_does_not_matter_when_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path(), SIZE).unwrap();
    let [path, reserve, ballast] = ["eth0.redb", "reserve", "ballast"].map(|name| directory.path().join(name));
    fs::write(&reserve, vec![7; SIZE / 2]).unwrap();
    let kernel = Table::default();
    let control = open(&path, &kernel).unwrap();
    let (taken, _) = import_until_full(&control, 0);
    disk.fill("ballast").unwrap();
    let there: Vec<IpNet> = (0..taken).map(address).collect();
    let is_as_it_was = |control: &Control| {
        assert_eq!(listed(control), there);
        assert_eq!(kernel.nets(), there);
    };
    is_as_it_was(&control);
    // all or nothing of each, again and again
    for _ in 0..3 {
        let many = (taken..taken + 2_000).map(|n| block(address(n))).collect();
        let outcome = control.submit(&root(), many, Some("import".to_owned()));
        let told = outcome.results.iter().filter_map(|result| result.as_ref().err()).count();
        assert_eq!((told, outcome.set), (2_000, None));
        let refusal = outcome.results.into_iter().find_map(Result::err).expect("full").to_string();
        assert!(refusal.contains("eth0.redb cannot be written, so the change was not made"), "{refusal}");
        assert!(refusal.contains("free some space"), "{refusal}");
        is_as_it_was(&control);
    }
    drop(control);
    // a start on a full disk goes well, or says why not
    if let Err(refusal) = open(&path, &kernel).map(|control| is_as_it_was(&control)) {
        assert!(refusal.to_string().contains("eth0.redb"), "{refusal}");
    }
    fs::remove_file(&ballast).unwrap();
    fs::write(&reserve, vec![7; SIZE / 4]).unwrap();
    let control = open(&path, &kernel).unwrap();
    is_as_it_was(&control);
    assert_eq!(control.history().len(), taken as usize / 500);

    // full once more, and this time there is room before anybody restarts
    let (taken, _) = import_until_full(&control, taken);
    disk.fill("ballast").unwrap();
    fs::remove_file(&ballast).unwrap();
    fs::remove_file(&reserve).unwrap();
    let outcome = control.submit(&root(), vec![block(address(taken))], Some("block".to_owned()));
    assert!(outcome.results.iter().all(Result::is_ok), "{outcome:?}");
    assert_eq!(listed(&control).len(), taken as usize + 1);
    assert_eq!(control.undo(None, &root()).unwrap().restored, 1);
    let verified = control.verify(false).unwrap();
    assert_eq!((verified.decisions, verified.on_disk()), (u64::from(taken), 0), "{verified:?}");
    drop(control);
    assert_eq!(listed(&open(&path, &kernel).unwrap()).len(), taken as usize);
}
