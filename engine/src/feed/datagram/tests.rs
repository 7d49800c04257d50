use std::net::UdpSocket as Sender;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::control::Control;
use crate::control::clock::Clock;
use crate::control::decide::Filter;
use crate::control::fake_kernel::FakeKernel;
use crate::feed::{State, Tallies, View};

/// Runs `test` beside a feed that listens there.
fn beside<F: Future<Output = ()>>(listen: Listen, test: impl FnOnce(Arc<Control>, Arc<Tallies>) -> F) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    let control = Control::open(&path, Box::new(FakeKernel::default()), None, Clock::now).expect("a sound store");
    let (control, tallies) = (Arc::new(control), Arc::new(Tallies::default()));
    let datagrams = Datagrams { listen, group: String::new(), ttl: Duration::from_secs(60) };
    let tally = tallies.of(&datagrams.tally_name());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let feed = tokio::spawn(datagrams.follow(Arc::clone(&control), tally));
        test(control, tallies).await;
        feed.abort();
        assert!(feed.await.expect_err("it never ends by itself").is_cancelled());
    });
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_up(tallies: &Tallies) -> bool {
    tallies.views()[0].state == State::Up
}

fn blocked(control: &Control) -> Vec<String> {
    control.list(&Filter::default()).into_iter().map(|listed| listed.decision.net.to_string()).collect()
}

#[test]
fn a_unix_socket_takes_events_of_owner_and_group_and_goes_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("events.sock");
    beside(Listen::Unix(path.clone()), |control, tallies| async move {
        until("it listens", || is_up(&tallies)).await;
        let mode = fs::metadata(&path).expect("made").permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        let sender = Probe::unbound().expect("a socket");
        sender.connect(&path).expect("it listens");
        // event_datagram's own, new and old
        sender.send(br#"{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"203.0.113.7"}}"#).expect("sent");
        sender.send(b"E_PIKE_BLOCKED\nip::203.0.113.8\n\n").expect("sent");
        sender.send(b"nonsense").expect("sent");
        sender.send(b"").expect("sent");
        let settled = |view: &View| view.applied + view.bad;
        until("all are settled", || settled(&tallies.views()[0]) == 4).await;
        assert_eq!(blocked(&control), ["203.0.113.7/32", "203.0.113.8/32"]);
        let view = tallies.views().remove(0);
        assert_eq!((view.applied, view.bad), (2, 2));
        assert!(view.error.contains("empty") || view.error.contains("not an address"), "{}", view.error);
    });
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 0, "socket and private folder are gone");
}

#[test]
fn a_udp_port_takes_a_burst_and_the_longest_datagram() {
    let port = Sender::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    beside(Listen::Udp(port), |control, tallies| async move {
        until("it listens", || is_up(&tallies)).await;
        let sender = Sender::bind("127.0.0.1:0").expect("a port");
        for n in 0..=255 {
            sender.send_to(format!("10.0.0.{n}").as_bytes(), port).expect("sent");
        }
        let lines: String = (0..4_000).map(|n| format!("10.1.{}.{}\n", n >> 8, n & 255)).collect();
        assert!(lines.len() > 40_000);
        sender.send_to(lines.as_bytes(), port).expect("sent");
        until("all are in force", || blocked(&control).len() == 4_256).await;
        assert_eq!(tallies.views()[0].read, 257);
    });
}

#[test]
fn more_than_may_wait_is_taken_one_after_the_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("events.sock");
    beside(Listen::Unix(path.clone()), |control, tallies| async move {
        until("it listens", || is_up(&tallies)).await;
        let lines: String = (0..4_000).map(|n| format!("10.1.{}.{}\n", n >> 8, n & 255)).collect();
        let count = 2 * WAITING_MAX / lines.len();
        let sender = std::thread::spawn(move || {
            let sender = Probe::unbound().expect("a socket");
            sender.connect(&path).expect("it listens");
            // one that finds no room waits, as nothing that is sent to a socket file is lost
            (0..count).for_each(|_| assert_eq!(sender.send(lines.as_bytes()).expect("sent"), lines.len()));
        });
        until("all are settled", || {
            let View { applied, already, .. } = tallies.views().remove(0);
            applied + already == 4_000 * count as u64
        })
        .await;
        sender.join().expect("all are sent");
        assert_eq!(blocked(&control).len(), 4_000);
    });
}

#[test]
fn what_is_there_is_replaced_only_if_nobody_reads_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("events.sock");
    let stale = Probe::bind(&path).expect("a socket");
    beside(Listen::Unix(path.clone()), |_, tallies| async move {
        until("it says why", || tallies.views()[0].error.contains("somebody reads")).await;
        drop(stale);
        until("it listens in place of the dead", || is_up(&tallies)).await;
    });
    fs::write(&path, "").expect("written");
    beside(Listen::Unix(path.clone()), |_, tallies| async move {
        until("it says why", || tallies.views()[0].error.contains("is there and is no socket")).await;
    });
    let missing = directory.path().join("missing").join("events.sock");
    beside(Listen::Unix(missing), |_, tallies| async move {
        until("it says why", || tallies.views()[0].error.contains("its folder must be there")).await;
    });
}
