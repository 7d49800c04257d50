//! Many who ask at once, and who asks for many.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::control::decide::RUN_MAX;

const THREADS: u32 = 64;
const EACH: u32 = 40;

#[test]
fn many_at_once_are_written_together_and_each_is_there_when_it_is_acknowledged() {
    let bench = Bench::new();
    let control = bench.open();
    let begin = Barrier::new(THREADS as usize);
    let before = control.lock().store.commits().0;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (control, begin, bench) = (&control, &begin, &bench);
            scope.spawn(move || {
                begin.wait();
                for n in 0..EACH {
                    let source = format!("10.0.{thread}.{n}");
                    let result = control.ask(&root(), block(&source));
                    assert!(matches!(result, Ok(Done::Made { .. })), "{source}: {result:?}");
                    assert_eq!(bench.kind(&source), 1, "acknowledged and not in force: {source}");
                }
            });
        }
    });
    let commits = control.lock().store.commits().0 - before;
    assert!(commits < u64::from(THREADS * EACH) / 4, "{commits} commits for {} decisions", THREADS * EACH);
    drop(control);
    assert_eq!(listed(&bench.open()).len(), (THREADS * EACH) as usize);
}

#[test]
fn each_gets_the_answers_to_what_they_asked() {
    let bench = Bench::new();
    let control = bench.open();
    let begin = Barrier::new(16);
    thread::scope(|scope| {
        for thread in 0..16 {
            let (control, begin) = (&control, &begin);
            scope.spawn(move || {
                let own = format!("10.{thread}.0.1");
                begin.wait();
                let by = By { who: format!("user {thread}").into(), ..root() };
                for _ in 0..20 {
                    let asks = vec![block(&own), block(&own), unblock(&own), unblock(&own)];
                    let (set, results) = command(control, &by, asks);
                    match &results[..] {
                        [Ok(Done::Made { decision, .. }), Ok(Done::Already(_)), Ok(Done::Removed { .. }), Err(_)] => {
                            assert_eq!((decision.net, &*decision.who), (net(&own), &*by.who));
                        }
                        other => panic!("{other:?}"),
                    }
                    let set = set.expect("it has changed something");
                    let history = control.history();
                    let found = history.iter().find(|found| found.number == set);
                    assert!(found.is_none_or(|found| found.who == by.who), "another's set: {found:?}");
                }
            });
        }
    });
    let mut numbers: Vec<u64> = control.history().iter().map(|set| set.number).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 16 * 20, "each command is a set of its own");
}

#[test]
fn an_import_of_many_is_one_set_and_one_undo() {
    let bench = Bench::new();
    let control = bench.open();
    let count = 2 * RUN_MAX + 10;
    let source = |n: usize| IpNet::from(std::net::IpAddr::from((0x0a00_0000 + n as u32).to_be_bytes()));
    let asks = (0..count).map(|n| Ask::block(source(n), End::Never, "import")).collect();
    let (set, results) = command(&control, &root(), asks);
    assert!(results.len() == count && results.iter().all(|result| matches!(result, Ok(Done::Made { .. }))));
    let history = control.history();
    assert_eq!(history.iter().map(|set| (Some(set.number), set.count)).collect::<Vec<_>>(), [(set, count as u64)]);
    let undone = control.undo(None, &root()).expect("there");
    assert_eq!((undone.restored, undone.left.len(), listed(&control).len()), (count as u64, 0, 0));
    assert!(bench.kernel.maps().entries.is_empty());
    let history = control.history();
    assert_eq!(history.iter().map(|set| set.count).collect::<Vec<_>>(), [count as u64; 2]);
}

#[test]
fn what_there_is_room_for_is_done_of_what_there_is_no_room_for() {
    let bench = Bench::new();
    let control = bench.open();
    bench.kernel.maps().capacity = Some(700);
    let source =
        |n: u32| Ask::block(IpNet::from(std::net::IpAddr::from((0x0a00_0000 + n).to_be_bytes())), End::Never, "");
    let (_, results) = command(&control, &root(), (0..1_000).map(source).collect());
    let made = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!((made, listed(&control).len(), bench.kernel.maps().entries.len()), (700, 700, 700));
    drop(control);
    assert_eq!(listed(&bench.open()).len(), 700);
}
