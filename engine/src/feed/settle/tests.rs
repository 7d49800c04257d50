use tempfile::TempDir;

use super::*;
use crate::control::ask::End;
use crate::control::clock::Clock;
use crate::control::decision::{Kind, Origin};
use crate::control::fake_kernel::FakeKernel;
use crate::control::store::StoreError;
use crate::feed::message;
use crate::feed::{Tallies, View};

struct Bench {
    _directory: TempDir,
    control: Arc<Control>,
    tallies: Tallies,
    settler: Settler,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("eth0.redb");
        let control = Control::open(&path, Box::new(FakeKernel::default()), None, Clock::now).expect("a sound store");
        let (control, tallies) = (Arc::new(control), Tallies::default());
        let by = By::feed(Origin::Amqp, "vos.block");
        let settler = Settler::new(Arc::clone(&control), by, tallies.of("amqp"), "amqp".to_owned());
        Self { _directory: directory, control, tallies, settler }
    }

    fn settle(&mut self, messages: &[&str]) -> Vec<Settled> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let read = messages.iter().map(|text| message::read(text.as_bytes(), End::After(60))).collect();
        runtime.block_on(self.settler.settle(read))
    }

    fn view(&self) -> View {
        self.tallies.views().remove(0)
    }

    /// read, applied, already, refused, bad
    fn counts(&self) -> [u64; 5] {
        let View { read, applied, already, refused, bad, .. } = self.view();
        [read, applied, already, refused, bad]
    }
}

#[test]
fn each_message_has_its_fate_and_each_wish_is_counted_once() {
    let mut bench = Bench::new();
    let operator = By { origin: Origin::Cli, who: "root".into(), force: false, operator: None };
    let trusted = "198.51.100.9/32".parse().expect("a net");
    let trust = Ask::Put { net: trusted, kind: Kind::Trust, end: End::Never, reason: Arc::default() };
    bench.control.ask(&operator, trust).expect("trusted");
    let settled =
        bench.settle(&["203.0.113.1\n203.0.113.2", "nonsense", "198.51.100.9", "203.0.113.3\n198.51.100.9\n0.0.0.0/0"]);
    assert_eq!(settled[0], Ok(()));
    for (settled, why) in [(&settled[1], "not an address"), (&settled[2], "is trusted")] {
        assert!(settled.as_ref().is_err_and(|said| said.contains(why)), "{settled:?}");
    }
    let two = settled[3].clone().expect_err("two of three are refused");
    assert!(two.contains("is trusted") && two.ends_with("(and 1 more of its entries are refused)"), "{two}");
    assert_eq!(bench.counts(), [4, 3, 0, 3, 1]);
    assert_eq!(bench.view().error, two, "the last bad one is shown");

    // the same message again, and an end to what is not there: both are as they were asked for
    let unblock = r#"{"action":"unblock","ip":"203.0.113.2"}"#;
    assert_eq!(bench.settle(&[unblock, unblock]), [Ok(()), Ok(())]);
    assert_eq!(bench.counts(), [6, 4, 1, 3, 1]);
    assert_eq!(bench.view().error, "", "until one is good");
}

fn full() -> Result<Done, Refusal> {
    Err(Refusal::from(StoreError::Write { path: "eth0.redb".into(), what: "no space left".to_owned() }))
}

/// What these messages ask for, and nothing settled yet.
fn open(messages: &[&str]) -> (Vec<Open>, Vec<Fate>) {
    let asks = |text: &&str| message::read(text.as_bytes(), End::After(60)).expect("sound");
    (messages.iter().map(asks).enumerate().collect(), vec![None; messages.len()])
}

#[test]
fn what_the_disk_refuses_is_open_and_counted_when_it_is_done() {
    let bench = Bench::new();
    let open = bench.settler.weigh(1, vec![full()]);
    assert!(open.as_ref().is_err_and(|why| why.contains("no space left")), "{open:?}");
    assert!(bench.settler.weigh(1, Vec::new()).is_err(), "no answer is no success");
    let some = bench.settler.weigh(2, vec![Err(Refusal::NothingToUndo)]);
    assert!(some.is_err(), "half an answer neither");
    assert_eq!(bench.counts(), [0; 5]);
}

#[test]
fn no_message_takes_the_answer_to_another_for_its_own() {
    let bench = Bench::new();
    let operator = By { origin: Origin::Cli, who: "root".into(), force: false, operator: None };
    let there = Ask::block("203.0.113.2/32".parse().expect("a net"), End::Never, "");
    bench.control.ask(&operator, there.clone()).expect("blocked");
    let already = bench.control.ask(&operator, there).expect("it is");
    let (mut open, mut settled) = open(&["203.0.113.1\n203.0.113.2", "203.0.113.3"]);
    let all = open.clone();
    let why = bench.settler.take(&mut open, vec![full(), Ok(already), full()], &mut settled);
    assert!(why.is_some_and(|why| why.contains("no space left")));
    assert_eq!((open, settled), (all, vec![None, None]), "nothing of it is done");
    assert_eq!(bench.counts(), [0; 5]);
}

#[test]
fn behind_a_message_that_waits_all_wait_in_their_order() {
    let mut bench = Bench::new();
    let texts = ["203.0.113.9", "203.0.113.1", r#"{"action":"unblock","ip":"203.0.113.1"}"#];
    let (mut open, mut settled) = open(&texts);
    let rest = open[1..].to_vec();
    let none = |net: &str| Refusal::NoSuchRule { net: net.parse().expect("a net"), kind: Kind::Block };
    let results = vec![Err(none("203.0.113.9/32")), full(), Err(none("203.0.113.1/32"))];
    assert!(bench.settler.take(&mut open, results, &mut settled).is_some());
    assert_eq!((open, settled), (rest, vec![Some(Ok(())), None, None]));
    // as they are asked again when there is room
    assert_eq!(bench.settle(&texts[1..]), [Ok(()), Ok(())]);
    let left = bench.control.applies(&"203.0.113.1/32".parse().expect("a net"));
    assert!(left.is_none(), "unblocked after all: {left:?}");
}
