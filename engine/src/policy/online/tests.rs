//! With a clock of their own: who is asked when, and what silence and answers mean.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sip_parse::{Index, Message, Mode, StartLine};

use super::*;

const SECOND: u64 = 1_000_000_000;
const INTERVAL: u64 = 60 * SECOND;
const PACE: Pace = Pace { interval: INTERVAL, misses: 3, rate: Limit::NONE };

fn end(n: u16) -> End {
    End { addr: Addr::v4([198, 51, (n >> 8) as u8, n as u8]), port: 5_060 }
}

fn all(count: u16) -> impl Iterator<Item = (End, Option<End>)> {
    (0..count).map(|n| (end(n), None))
}

fn online() -> Online {
    Online::new(Secret::default())
}

/// What is asked behind the second `from` and until `to`, each with the second.
fn asked(online: &Online, pace: &Pace, from: u64, to: u64) -> Vec<(u64, Ask)> {
    (from + 1..=to)
        .flat_map(|second| online.due(pace, second * SECOND).into_iter().map(move |ask| (second, ask)))
        .collect()
}

fn answer(online: &Online, ask: &Ask) {
    online.heard(Heard { key: ask.key });
}

#[test]
fn each_is_asked_once_an_interval_and_not_all_at_once() {
    const ENDS: u16 = 1_200;
    let online = online();
    online.follow(all(ENDS), INTERVAL, 0);
    let mut before: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..3 {
        let asks = asked(&online, &PACE, round * 60, (round + 1) * 60);
        let mut in_second = [0u32; 60];
        for (second, ask) in &asks {
            in_second[(second % 60) as usize] += 1;
            assert!(before.insert(ask.key, *second).is_none_or(|before| before + 60 == *second));
            assert_eq!(u64::from(ask.number), round + 1);
        }
        assert_eq!((asks.len(), before.len()), (usize::from(ENDS), usize::from(ENDS)));
        // 20 a second are expected of a binomial: 60 would be 9 standard deviations.
        assert!(in_second.iter().all(|asks| *asks < 60), "{in_second:?}");
    }
}

#[test]
fn all_together_are_asked_as_often_as_may_be_and_each_has_its_turn() {
    const ENDS: u16 = 1_000;
    // 5 a second are 300 an interval
    let pace = Pace { rate: Limit { every: SECOND / 5, ahead: 4 * SECOND / 5 }, ..PACE };
    let online = online();
    online.follow(all(ENDS), INTERVAL, 0);
    let asks = asked(&online, &pace, 0, 400);
    assert!((1_950..=2_005).contains(&asks.len()), "{}", asks.len());
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    asks.iter().for_each(|(_, ask)| *times.entry(ask.key).or_default() += 1);
    // 2,000 questions for 1,000: nobody waits for others' third.
    assert!(times.len() == usize::from(ENDS) && times.values().all(|times| (1..=3).contains(times)), "{times:?}");
}

#[test]
fn three_silences_in_a_row_are_absence_and_one_answer_is_presence() {
    let online = online();
    online.follow(all(2), INTERVAL, 0);
    let states = |online: &Online| [online.state(&end(0)), online.state(&end(1))];
    let round = |n: u64, answers: &dyn Fn(&Ask) -> bool| {
        for (_, ask) in asked(&online, &PACE, n * 60, (n + 1) * 60) {
            if answers(&ask) {
                answer(&online, &ask);
            }
        }
        online.take_news().iter().map(|news| (news.end, news.state, news.silent_here)).collect::<Vec<_>>()
    };
    let first = |ask: &Ask| ask.to == end(0);
    assert_eq!(round(0, &first), []);
    assert_eq!(states(&online), [EndpointState::Online, EndpointState::Unknown]);
    // The one that has never answered: told when its fourth question goes, and the third is known to have had no answer.
    assert_eq!((round(1, &first), round(2, &first)), (vec![], vec![]));
    assert_eq!(round(3, &first), [(end(1), EndpointState::Silent, 1)]);
    assert_eq!((online.never_answered(&end(1).addr), online.never_answered(&end(0).addr)), (1, 0));
    assert_eq!(online.counts(), [0, 1, 0, 1]);
    // It begins to; the other falls silent, is excused once, and is away after three more.
    assert_eq!(round(4, &|ask| !first(ask)), [(end(1), EndpointState::Online, 0)]);
    assert_eq!(online.never_answered(&end(1).addr), 0);
    online.excuse();
    assert_eq!((round(5, &|ask| !first(ask)), round(6, &|ask| !first(ask))), (vec![], vec![]));
    assert_eq!(
        (round(7, &|ask| !first(ask)), round(8, &|ask| !first(ask))),
        (vec![], vec![(end(0), EndpointState::Offline, 0)])
    );
    assert_eq!(round(9, &|_| true), [(end(0), EndpointState::Online, 0)]);
    // What could not leave is nobody's silence.
    for n in 10..20 {
        asked(&online, &PACE, n * 60, (n + 1) * 60).iter().for_each(|(_, ask)| online.unasked(ask));
    }
    assert_eq!((online.take_news(), states(&online)), (vec![], [EndpointState::Online; 2]));
}

#[test]
fn who_is_no_longer_registered_is_asked_no_more() {
    let online = online();
    online.follow(all(10), INTERVAL, 0);
    asked(&online, &PACE, 0, 300);
    assert_eq!(online.counts(), [0, 0, 0, 10]);
    online.follow(all(4), INTERVAL, 300 * SECOND);
    assert_eq!((asked(&online, &PACE, 300, 360).len(), online.counts()), (4, [0, 0, 0, 4]));
    assert_eq!((online.never_answered(&end(1).addr), online.never_answered(&end(5).addr)), (1, 0));
    assert_eq!(online.state(&end(5)), EndpointState::Unknown);
    online.follow([], INTERVAL, 360 * SECOND);
    assert!(asked(&online, &PACE, 360, 500).is_empty() && online.held.lock().due.is_empty());
    assert!(online.held.lock().silent.is_empty());
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let online = online();
    let hour = Pace { interval: 3_600 * SECOND, ..PACE };
    online.follow(all(100), hour.interval, 0);
    online.follow(all(100), INTERVAL, SECOND);
    let mut keys: Vec<u64> = asked(&online, &PACE, 0, 61).iter().map(|(_, ask)| ask.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 100);
}

fn read<T>(text: &[u8], ask: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut index: Index = Index::new();
    ask(&index.parse(text, Mode::Strict).expect("the engine's own message parses"))
}

/// A response to this request, of somebody who copies what must be copied (RFC 3261 §8.2.6.2).
fn response(status: &str, request: &[u8]) -> String {
    let request = String::from_utf8_lossy(request);
    let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines = request.lines().filter(|line| kept.iter().any(|name| line.starts_with(&format!("{name}:"))));
    format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.collect::<Vec<_>>().join("\r\n"))
}

#[test]
fn the_question_is_sip_and_only_its_answer_from_where_it_went_is_one() {
    let v6 = End { addr: Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]), port: 5_061 };
    let server = End { addr: Addr::v4([192, 0, 2, 1]), port: 5_060 };
    for (to, from, uri) in
        [(end(7), server, "sip:198.51.0.7:5060"), (v6, End { addr: v6.addr, port: 5_060 }, "sip:[2001:db8::7]:5061")]
    {
        let (online, other) = (online(), online());
        online.follow([(to, None)], INTERVAL, 0);
        let [ask] = online.due(&PACE, INTERVAL)[..] else { panic!("one is asked") };
        let question = ask.text(&from, &online.secret);
        read(&question, |message| {
            assert!(matches!(message.start_line(), StartLine::Request { .. }) && message.core().is_ok());
            assert!(String::from_utf8_lossy(&question).starts_with(&format!("OPTIONS {uri} SIP/2.0\r\n")));
            assert_eq!(message.max_forwards(), Ok(Some(70)));
        });
        let heard =
            |text: &str, src: &Addr, secret: &Secret| read(text.as_bytes(), |message| Heard::of(message, src, secret));
        for status in ["200 OK", "404 Not Found", "180 Ringing", "603 Decline"] {
            assert_eq!(heard(&response(status, &question), &to.addr, &online.secret), Some(Heard { key: ask.key }));
        }
        let answer = response("200 OK", &question);
        // From elsewhere; of another engine's; with a digit changed; with one less; without.
        assert_eq!(heard(&answer, &end(8).addr, &online.secret), None);
        assert_eq!(heard(&answer, &to.addr, &other.secret), None);
        let at = answer.find("z9hG4bKvosfp").expect("its branch") + "z9hG4bKvosfp".len();
        for digit in 0..super::ask::DIGITS {
            let mut changed = answer.clone().into_bytes();
            changed[at + digit] = if changed[at + digit] == b'0' { b'1' } else { b'0' };
            assert_eq!(heard(&String::from_utf8_lossy(&changed), &to.addr, &online.secret), None, "{digit}");
        }
        assert_eq!(heard(&(answer[..at].to_owned() + &answer[at + 1..]), &to.addr, &online.secret), None);
        assert_eq!(heard(&answer.replace("z9hG4bKvosfp", "z9hG4bKx"), &to.addr, &online.secret), None);
    }
}

proptest! {
    /// Against a model that counts silences one by one.
    #[test]
    fn any_order_of_answers_and_departures(steps in prop::collection::vec((0u16..6, 0u8..4), 1..120), misses in 1u32..5) {
        let (online, pace) = (online(), Pace { misses, ..PACE });
        // Of each: is it waiting, silences in a row, has it ever answered, its state.
        let mut model: BTreeMap<u16, (bool, u32, bool, EndpointState)> = BTreeMap::new();
        let mut now = 0;
        for (n, what) in steps {
            match what {
                0 => {
                    // Comes or goes.
                    if model.remove(&n).is_none() {
                        model.insert(n, (false, 0, false, EndpointState::Unknown));
                    }
                    online.follow(model.keys().map(|n| (end(*n), None)), INTERVAL, now);
                }
                1 => {
                    let key = online.secret.end(&end(n));
                    online.heard(Heard { key });
                    if let Some(one) = model.get_mut(&n) {
                        *one = (false, 0, true, EndpointState::Online);
                    }
                }
                _ => {
                    // All are asked, each as often as is its turn.
                    now += INTERVAL;
                    for ask in online.due(&pace, now) {
                        let (_, one) = model.iter_mut().find(|(n, _)| end(**n) == ask.to).expect("it is wanted");
                        one.1 += u32::from(one.0);
                        one.0 = true;
                        if one.1 >= misses && !one.3.is_absent() {
                            one.3 = if one.2 { EndpointState::Offline } else { EndpointState::Silent };
                        }
                    }
                }
            }
            for n in 0..6 {
                let expected = model.get(&n).map_or(EndpointState::Unknown, |one| one.3);
                prop_assert_eq!(online.state(&end(n)), expected);
                let silent = u32::from(expected == EndpointState::Silent);
                prop_assert_eq!(online.never_answered(&end(n).addr), silent);
            }
            let held = online.held.lock();
            prop_assert_eq!((held.endpoints.len(), held.due.len()), (model.len(), model.len()));
        }
    }
}
