use super::*;
use crate::events::Wanted;

/// Longer than anything takes here; this machine may be very busy.
const PATIENCE: Duration = Duration::from_secs(15);
const PACE: config::Health = config::Health { interval: Duration::from_millis(100), failures: 2, target: None };

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A softswitch: its socket, and how it is asked.
fn softswitch(proxy_line: bool) -> (UdpSocket, Target) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let target = Target { name: "a".into(), address: socket.local_addr().expect("an address"), proxy_line };
    (socket, target)
}

/// The next question, as text, and who asks.
fn question(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 2_048];
    let (length, from) = socket.recv_from(&mut buffer).expect("a question");
    (String::from_utf8(buffer[..length].to_vec()).expect("UTF-8"), from)
}

/// Its header of this name.
fn header<'a>(question: &'a str, name: &str) -> &'a str {
    let line = question.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {question}"))
}

fn answer(socket: &UdpSocket, status: &str, call_id: Option<&str>) {
    let (question, from) = question(socket);
    let copied: String =
        ["Via", "From", "To", "CSeq"].map(|name| format!("{name}: {}\r\n", header(&question, name))).concat();
    let call_id = call_id.unwrap_or_else(|| header(&question, "Call-ID"));
    let text = format!("SIP/2.0 {status}\r\n{copied}Call-ID: {call_id}\r\nContent-Length: 0\r\n\r\n");
    socket.send_to(text.as_bytes(), from).expect("sent");
}

/// Has these watched while `work` lasts; gives what was published.
fn watched(targets: &[Option<Target>], work: impl FnOnce(&Health)) -> Vec<SoftswitchChange> {
    let (health, events, stop) = (Health::default(), Events::default(), AtomicBool::new(false));
    health.watch(targets, &PACE);
    std::thread::scope(|scope| {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Relaxed);
            }
        }
        let _even_after_a_panic = Stop(&stop);
        scope.spawn(|| health.run(&events, &stop));
        work(&health);
    });
    let what = events.recent(&Wanted::default()).into_iter().map(|event| event.what);
    what.map(|what| if let What::Softswitch(change) = what { change } else { panic!("{what:?}") }).collect()
}

fn change(state: SoftswitchState) -> SoftswitchChange {
    SoftswitchChange { name: "a".into(), state }
}

#[test]
fn who_is_gone_is_dead_and_who_is_back_is_alive() {
    let (socket, target) = softswitch(false);
    let address = target.address;
    let published = watched(&[None, Some(target)], |health| {
        // whatever it says, it is alive
        answer(&socket, "403 Forbidden", None);
        assert!(!health.is_dead(1) && health.alive());
        drop(socket);
        wait_until("port unreachable is heard", || health.is_dead(1));
        assert!(!health.alive() && !health.is_dead(0) && !health.is_dead(64));
        let mut back = None;
        // a program that another test is just starting may still have the last one
        wait_until("the port is free", || {
            back = UdpSocket::bind(address).ok();
            back.is_some()
        });
        let socket = back.expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        answer(&socket, "200 OK", None);
        wait_until("the answer is heard", || !health.is_dead(1));
        assert!(health.alive());
    });
    // Once, or on a machine that stands still meanwhile more than once: always in turns.
    assert!(published.len() >= 2, "{published:?}");
    let states = [SoftswitchState::Dead, SoftswitchState::Alive].into_iter().cycle();
    assert!(published.iter().zip(states).all(|(told, state)| *told == change(state)), "{published:?}");
}

#[test]
fn who_never_answers_is_not_dead() {
    let (socket, target) = softswitch(false);
    let published = watched(&[Some(target)], |health| {
        for _ in 0..PACE.failures + 4 {
            question(&socket);
            assert!(!health.is_dead(0));
        }
    });
    assert_eq!(published, []);
}

#[test]
fn who_answers_no_more_is_dead() {
    let (socket, target) = softswitch(false);
    let published = watched(&[Some(target)], |health| {
        answer(&socket, "200 OK", None);
        wait_until("the silence is heard", || health.is_dead(0));
    });
    assert_eq!(published, [change(SoftswitchState::Dead)]);
}

#[test]
fn what_others_say_in_its_name_does_not_count() {
    let (socket, target) = softswitch(false);
    watched(&[Some(target)], |health| {
        answer(&socket, "200 OK", None);
        let end = Instant::now() + PATIENCE;
        while !health.is_dead(0) {
            assert!(Instant::now() < end, "alive by another's answers");
            answer(&socket, "200 OK", Some("another"));
        }
    });
}

#[test]
fn the_line_says_who_asks() {
    let (socket, target) = softswitch(true);
    watched(&[Some(target.clone())], |_| {
        let (question, from) = question(&socket);
        let (line, sip) = question.split_once("\r\n").expect("a line");
        let (port, to) = (from.port(), target.address.port());
        assert_eq!(line, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {to}"));
        assert!(sip.starts_with(&format!("OPTIONS sip:127.0.0.1:{to} SIP/2.0\r\n")));
        assert!(Index::<64>::new().parse(sip.as_bytes(), Mode::Strict).expect("SIP").validate().is_ok());
    });
}

#[test]
fn who_stays_stays_dead_and_who_takes_its_place_is_not() {
    let ((socket, a), (_other, b)) = (softswitch(false), softswitch(false));
    let c = Target { name: "c".into(), ..b.clone() };
    watched(&[Some(a.clone()), Some(b)], |health| {
        answer(&socket, "200 OK", None);
        wait_until("it is silent", || health.is_dead(0));
        health.watch(&[Some(a.clone()), Some(c.clone())], &PACE);
        assert!(health.is_dead(0) && !health.is_dead(1));
        health.watch(&[Some(c)], &PACE);
        assert!(!health.is_dead(0));
    });
}

#[test]
fn a_host_that_is_gone_is_dead_even_if_it_never_answered() {
    let gone = io::Error::from_raw_os_error(libc::EHOSTUNREACH);
    let mut signs = Signs::default();
    for _ in 0..3 {
        signs.asked();
        signs.failed(&gone);
    }
    let is_dead = |signs: &Signs, failures| signs.is_dead(failures, Silence::Life);
    assert!(is_dead(&signs, 2) && !is_dead(&signs, 3));
    // There again, and as silent as ever.
    (0..UNREACHABLE_FOR).for_each(|_| signs.asked());
    assert!(!is_dead(&signs, 2));
}

#[test]
fn refused_once_and_silent_again_only_the_one_on_this_host_is_not_dead() {
    let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
    let all = [Silence::Life, Silence::Nothing, Silence::Death];
    let is_dead = |signs: &Signs| all.map(|silence| signs.is_dead(2, silence));
    let mut signs = Signs::default();
    signs.asked();
    signs.failed(&refused);
    assert_eq!(is_dead(&signs), [true; 3]);
    // a backend's host may have been powered off meanwhile
    (0..3).for_each(|_| signs.asked());
    assert_eq!(is_dead(&signs), [false, true, true]);
    // but if it had answered before, silence is not its habit
    signs.answered();
    assert_eq!(is_dead(&signs), [false; 3]);
    signs.failed(&refused);
    (0..3).for_each(|_| signs.asked());
    assert_eq!(is_dead(&signs), [true; 3]);
}

#[test]
fn where_one_backend_answers_the_silent_one_is_dead() {
    let (socket, answering) = softswitch(true);
    let (quiet, silent) = softswitch(true);
    let silent = Target { name: "silent".into(), ..silent };
    let published = watched(&[Some(answering), Some(silent)], |health| {
        // As long as nobody answers, nobody is dead.
        for _ in 0..PACE.failures + 2 {
            question(&quiet);
            assert!(health.alive() && !health.is_dead(1));
        }
        let end = Instant::now() + PATIENCE;
        while !health.is_dead(1) {
            assert!(Instant::now() < end, "silent and alive");
            answer(&socket, "404 Not Found", None);
        }
        // It says one word.
        while health.is_dead(1) {
            assert!(Instant::now() < end, "it answers and is dead");
            answer(&quiet, "200 OK", None);
        }
    });
    let silent = |state| SoftswitchChange { name: "silent".into(), state };
    let of_silent: Vec<_> = published.into_iter().filter(|change| change.name == "silent").collect();
    assert_eq!(of_silent[..2], [silent(SoftswitchState::Dead), silent(SoftswitchState::Alive)]);
}
