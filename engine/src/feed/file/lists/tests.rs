//! Files come and go, operators decide, time passes: through a control plane whose clock the test turns.

use tempfile::TempDir;

use super::*;
use crate::control::clock::Clock;
use crate::control::decide::Member;
use crate::control::fake_kernel::FakeKernel;

/// More than one node has the file.
mod nodes;

const NS: u64 = 1_000_000_000;
const BEGIN: u64 = 1_000_000;

struct Bench {
    directory: TempDir,
    kernel: FakeKernel,
    seconds: Arc<AtomicU64>,
    node: Option<&'static str>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, kernel: FakeKernel::default(), seconds: Arc::default(), node: None }
    }

    /// The engine starts.
    fn open(&self) -> Lists {
        let seconds = Arc::clone(&self.seconds);
        let clock = move || {
            let now = seconds.load(Ordering::Relaxed) * NS;
            Clock::at(BEGIN * NS + now, NS + now)
        };
        let path = self.directory.path().join("eth0.redb");
        let member = self.node.map(|node| Member { node: node.into(), log: "log".into() });
        Lists::new(Arc::new(Control::open(&path, Box::new(self.kernel.clone()), member, clock).expect("a sound store")))
    }

    fn pass(&self, lists: &Lists, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
        lists.control.sweep().expect("swept");
    }
}

fn net(text: &str) -> IpNet {
    crate::control::address::parse(text).expect(text)
}

/// Reads `ADDRESS [TTL]` lines as the file of this name, written just now.
fn apply(lists: &Lists, path: &str, lines: &[&str]) -> Report {
    apply_written(lists, path, lines, lists.now())
}

fn apply_written(lists: &Lists, path: &str, lines: &[&str], written: u64) -> Report {
    let line = |(at, line): (usize, &&str)| {
        let (address, ttl) = line.split_once(' ').unwrap_or((line, ""));
        let end = if ttl.is_empty() { End::Never } else { End::After(ttl.parse().expect("seconds")) };
        (at + 1, net(address), Wish { end, reason: Arc::default() })
    };
    let turn = lists.next_turn();
    lists.apply(&path.into(), turn, lines.iter().enumerate().map(line).collect(), written).expect("its turn")
}

/// Prefix and end of everything that is blocked, with whose it is.
fn blocked(lists: &Lists) -> Vec<String> {
    let told = |made: &Decision| {
        let end = made.until.map_or(String::new(), |until| format!(" {}", until - BEGIN));
        format!("{} {}{end}", crate::control::address::show(made.net), made.who)
    };
    lists.control.list(&Filter::default()).iter().map(|listed| told(&listed.decision)).collect()
}

fn operator(lists: &Lists, ask: Ask) {
    let by = By { origin: Origin::Cli, who: "op".into(), force: false, operator: None };
    lists.control.ask(&by, ask).expect("done");
}

fn unblock(lists: &Lists, address: &str) {
    operator(lists, Ask::Remove { net: net(address), kind: Kind::Block });
}

fn told(report: &Report) -> (u64, u64, u64, usize) {
    (report.made, report.lifted, report.already, report.refused.len())
}

#[test]
fn what_is_in_the_file_is_blocked_and_what_left_it_is_not() {
    let bench = Bench::new();
    let lists = bench.open();
    assert_eq!(told(&apply(&lists, "/a", &["192.0.2.1", "198.51.100.0/24", "192.0.2.1"])), (2, 0, 1, 0));
    assert_eq!(blocked(&lists), ["192.0.2.1 /a", "198.51.100.0/24 /a"]);
    assert_eq!(told(&apply(&lists, "/a", &["192.0.2.1", "2001:db8::1"])), (1, 1, 1, 0));
    assert_eq!(blocked(&lists), ["192.0.2.1 /a", "2001:db8::1 /a"]);
    assert_eq!(told(&apply(&lists, "/a", &[])), (0, 2, 0, 0));
    assert!(blocked(&lists).is_empty() && bench.kernel.maps().entries.is_empty());
}

#[test]
fn what_left_while_the_engine_was_away_is_unblocked_at_its_start() {
    let bench = Bench::new();
    apply(&bench.open(), "/a", &["192.0.2.1", "192.0.2.2"]);
    let lists = bench.open();
    assert_eq!(told(&apply(&lists, "/a", &["192.0.2.2", "192.0.2.3"])), (1, 1, 1, 0));
    assert_eq!(blocked(&lists), ["192.0.2.2 /a", "192.0.2.3 /a"]);
}

#[test]
fn an_operators_decision_is_left_alone() {
    let bench = Bench::new();
    let lists = bench.open();
    operator(&lists, Ask::block(net("192.0.2.1"), End::Never, "by hand"));
    apply(&lists, "/a", &["192.0.2.1", "192.0.2.2"]);
    operator(&lists, Ask::block(net("192.0.2.2"), End::After(50), "by hand"));
    assert_eq!(told(&apply(&lists, "/a", &[])), (0, 0, 0, 0));
    assert_eq!(blocked(&lists), ["192.0.2.1 op", "192.0.2.2 op 50"]);
}

#[test]
fn an_operators_block_that_ends_first_is_followed_by_the_lines() {
    let bench = Bench::new();
    let lists = bench.open();
    operator(&lists, Ask::block(net("192.0.2.1"), End::After(50), "by hand"));
    assert_eq!(told(&apply(&lists, "/a", &["192.0.2.1"])), (0, 0, 1, 0));
    bench.pass(&lists, 49);
    assert_eq!(told(&lists.again(&"/a".into(), 1)), (0, 0, 0, 0));
    bench.pass(&lists, 1);
    assert_eq!(told(&lists.again(&"/a".into(), 1)), (1, 0, 0, 0));
    assert_eq!(blocked(&lists), ["192.0.2.1 /a"]);
}

#[test]
fn what_an_operator_unblocks_stays_so_until_the_line_comes_back_or_changes() {
    let bench = Bench::new();
    let lists = bench.open();
    apply(&lists, "/a", &["192.0.2.1", "192.0.2.2"]);
    unblock(&lists, "192.0.2.1");
    unblock(&lists, "192.0.2.2");
    assert_eq!(told(&apply(&lists, "/a", &["192.0.2.1", "192.0.2.2", "192.0.2.3"])), (1, 0, 2, 0));
    assert_eq!(blocked(&lists), ["192.0.2.3 /a"]);
    apply(&lists, "/a", &["192.0.2.2 500"]);
    assert_eq!(blocked(&lists), ["192.0.2.2 /a 500"]);
    apply(&lists, "/a", &["192.0.2.1", "192.0.2.2 500"]);
    assert_eq!(blocked(&lists), ["192.0.2.1 /a", "192.0.2.2 /a 500"]);
}

#[test]
fn a_ttl_counts_from_when_the_line_was_first_seen_and_is_not_renewed() {
    let bench = Bench::new();
    let lists = bench.open();
    apply(&lists, "/a", &["192.0.2.1 1000"]);
    bench.pass(&lists, 400);
    apply(&lists, "/a", &["192.0.2.1 1000", "192.0.2.2 1000"]);
    assert_eq!(blocked(&lists), ["192.0.2.1 /a 1000", "192.0.2.2 /a 1400"]);
    // another ttl is another end, from the same beginning; it may be shorter
    apply(&lists, "/a", &["192.0.2.1 2000", "192.0.2.2 500"]);
    assert_eq!(blocked(&lists), ["192.0.2.1 /a 2000", "192.0.2.2 /a 900"]);
    apply(&lists, "/a", &["192.0.2.1 300", "192.0.2.2 500"]);
    assert_eq!(blocked(&lists), ["192.0.2.2 /a 900"]);
    bench.pass(&lists, 500);
    assert_eq!(told(&apply(&lists, "/a", &["192.0.2.1 300", "192.0.2.2 500", "192.0.2.3"])), (1, 0, 2, 0));
    assert_eq!(blocked(&lists), ["192.0.2.3 /a"]);
}

#[test]
fn at_a_start_a_ttl_counts_from_the_block_that_stands_or_from_the_files_own_time() {
    let bench = Bench::new();
    apply(&bench.open(), "/a", &["192.0.2.1 1000", "192.0.2.2 100"]);
    bench.seconds.fetch_add(400, Ordering::Relaxed);
    let lists = bench.open();
    // the second has ended meanwhile, and is not begun anew: the file is as old as that
    let lines = ["192.0.2.1 1000", "192.0.2.2 100", "192.0.2.3 600", "192.0.2.4"];
    assert_eq!(told(&apply_written(&lists, "/a", &lines, BEGIN + 100)), (2, 0, 2, 0));
    assert_eq!(blocked(&lists), ["192.0.2.1 /a 1000", "192.0.2.3 /a 700", "192.0.2.4 /a"]);
    drop(lists);
    // a file from the future is one of now
    assert_eq!(told(&apply_written(&bench.open(), "/b", &["192.0.2.9 600"], BEGIN + 9_999)), (1, 0, 0, 0));
    assert!(blocked(&bench.open()).contains(&"192.0.2.9 /b 1000".to_owned()));
}

#[test]
fn what_the_guard_refuses_is_told_by_number_and_asked_again() {
    let bench = Bench::new();
    let lists = bench.open();
    lists.control.set_guarded(vec![(net("192.0.2.5"), "the default gateway".to_owned())]);
    operator(&lists, Ask::Put { net: net("192.0.2.7"), kind: Kind::Trust, end: End::Never, reason: Arc::default() });
    let report = apply(&lists, "/a", &["192.0.2.1", "192.0.2.0/29", "10.0.0.0/8", "192.0.2.7"]);
    let numbers: Vec<usize> = report.refused.iter().map(|(number, _)| *number).collect();
    assert_eq!((report.made, report.already, numbers), (1, 0, vec![2, 3, 4]));
    assert!(report.refused[0].1.to_string().contains("the default gateway"), "{}", report.refused[0].1);
    operator(&lists, Ask::Remove { net: net("192.0.2.7"), kind: Kind::Trust });
    bench.pass(&lists, AGAIN - 1);
    assert_eq!(told(&lists.again(&"/a".into(), 1)), (0, 0, 0, 0));
    bench.pass(&lists, 1);
    assert_eq!(told(&lists.again(&"/a".into(), 1)), (1, 0, 0, 2));
    assert_eq!(blocked(&lists), ["192.0.2.1 /a", "192.0.2.7 /a", "192.0.2.7 op"][..2]);
}

#[test]
fn a_full_kernel_takes_what_fits_and_the_rest_when_there_is_room() {
    let bench = Bench::new();
    let lists = bench.open();
    bench.kernel.maps().capacity = Some(2);
    let report = apply(&lists, "/a", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!((report.made, report.refused.len()), (2, 1));
    bench.kernel.maps().capacity = None;
    bench.pass(&lists, AGAIN);
    assert_eq!(told(&lists.again(&"/a".into(), 1)), (1, 0, 0, 0));
    assert_eq!(blocked(&lists).len(), 3);
}

#[test]
fn what_cannot_be_taken_back_is_tried_again_unless_it_is_wanted_again() {
    let bench = Bench::new();
    let lists = bench.open();
    apply(&lists, "/a", &["192.0.2.1", "192.0.2.2"]);
    bench.kernel.maps().writes_left = Some(0);
    assert_eq!(told(&apply(&lists, "/a", &[])), (0, 0, 0, 0));
    assert_eq!(blocked(&lists), ["192.0.2.1 /a", "192.0.2.2 /a"]);
    bench.kernel.maps().writes_left = None;
    assert_eq!(told(&apply(&lists, "/a", &["192.0.2.1"])), (0, 1, 1, 0));
    assert_eq!(told(&lists.again(&"/a".into(), 3)), (0, 0, 0, 0));
    assert_eq!(blocked(&lists), ["192.0.2.1 /a"]);
    bench.kernel.maps().writes_left = Some(0);
    apply(&lists, "/a", &[]);
    bench.kernel.maps().writes_left = None;
    assert_eq!(told(&lists.again(&"/a".into(), 4)), (0, 1, 0, 0));
    assert!(blocked(&lists).is_empty());
}

#[test]
fn an_address_of_two_files_is_blocked_as_long_as_it_is_in_one() {
    let bench = Bench::new();
    let lists = bench.open();
    apply(&lists, "/a", &["192.0.2.1"]);
    assert_eq!(told(&apply(&lists, "/b", &["192.0.2.1"])), (0, 0, 1, 0));
    apply(&lists, "/a", &[]);
    assert_eq!(blocked(&lists), ["192.0.2.1 /b"]);
    apply(&lists, "/b", &[]);
    assert!(blocked(&lists).is_empty());
}

#[test]
fn a_file_that_is_no_longer_watched_takes_its_blocks_with_it() {
    let bench = Bench::new();
    let lists = bench.open();
    apply(&lists, "/a", &["192.0.2.1", "192.0.2.2"]);
    apply(&lists, "/b", &["192.0.2.2", "192.0.2.3"]);
    operator(&lists, Ask::block(net("192.0.2.4"), End::Never, ""));
    let only = |path: &str| BTreeSet::from([Arc::from(path)]);
    let late = lists.next_turn();
    lists.keep_only(only("/b"), lists.next_turn());
    assert_eq!(blocked(&lists), ["192.0.2.2 /b", "192.0.2.3 /b", "192.0.2.4 op"]);
    // who had begun to read before comes too late
    assert!(lists.apply(&"/a".into(), late, Vec::new(), 0).is_none());
    assert!(lists.apply(&"/never-read".into(), late, Vec::new(), 0).is_none());
    // and so it is when the engine was away
    drop(lists);
    let lists = bench.open();
    lists.keep_only(only("/a"), lists.next_turn());
    assert_eq!(blocked(&lists), ["192.0.2.4 op"]);
    // one that is watched again meanwhile is not meant
    let before = lists.next_turn();
    apply(&lists, "/c", &["192.0.2.5"]);
    lists.keep_only(only("/a"), before);
    assert_eq!(blocked(&lists), ["192.0.2.4 op", "192.0.2.5 /c"]);
}
