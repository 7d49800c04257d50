use super::nonce::LIFE;
use super::trap::{LONGER_MAX, Outcome as Seen};
use super::*;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_000 * SECOND;
const PORT: u16 = 5062;

fn from(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 5_061)
}

fn request(method: &str, more: &str) -> String {
    format!(
        "{method} sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7:5061;branch=z9hG4bK1;rport\r\n\
         From: <sip:100@192.0.2.1>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\nCall-ID: 1@x\r\nCSeq: 1 {method}\r\n\
         User-Agent: friendly-scanner\r\n{more}\r\n"
    )
}

fn look(trap: &mut Trap, datagram: &[u8], ip: &str, now: u64) -> Seen {
    trap.look(datagram, from(ip), "192.0.2.1".parse().expect("an address"), PORT, now)
}

fn answer_to(trap: &mut Trap, text: &str, ip: &str, now: u64) -> String {
    let length = look(trap, text.as_bytes(), ip, now).answer.expect("an answer");
    String::from_utf8(trap.answer[..length].to_vec()).expect("text")
}

/// The nonce in an answer, as a scanner reads it.
fn nonce_of(answer: &str) -> &str {
    answer.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce")
}

fn credentials(nonce: &str) -> String {
    let digest = "response=\"0123456789abcdef0123456789abcdef\",uri=\"sip:192.0.2.1\"";
    format!("Authorization: Digest username=\"100\",realm=\"sip\",nonce=\"{nonce}\",{digest}\r\n")
}

#[test]
fn each_method_is_answered_as_a_server_does() {
    let mut trap = Trap::new().expect("random");
    for (method, status, header) in [
        ("REGISTER", "401 Unauthorized", Some("WWW-Authenticate")),
        ("INVITE", "407 Proxy Authentication Required", Some("Proxy-Authenticate")),
        ("OPTIONS", "407 Proxy Authentication Required", Some("Proxy-Authenticate")),
        ("BREW", "407 Proxy Authentication Required", Some("Proxy-Authenticate")),
        ("CANCEL", "200 OK", None),
    ] {
        let answer = answer_to(&mut trap, &request(method, ""), "203.0.113.7", NOW);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}\r\n")), "{answer}");
        let challenge = answer.lines().find(|line| line.contains("Digest realm="));
        assert_eq!(challenge.map(|line| line.split(':').next().unwrap_or_default()), header, "{answer}");
        for copied in ["Call-ID: 1@x\r\n", &format!("CSeq: 1 {method}\r\n"), ";received=203.0.113.7;rport=5061\r\n"] {
            assert!(answer.contains(copied), "{copied} in {answer}");
        }
    }
}

#[test]
fn what_wants_no_answer_gets_none() {
    let mut trap = Trap::new().expect("random");
    let ack = look(&mut trap, request("ACK", "").as_bytes(), "203.0.113.7", NOW);
    assert!(ack.is_sip && ack.answer.is_none() && !ack.caught);
    let response = request("OPTIONS", "").replace("OPTIONS sip:100@192.0.2.1 SIP/2.0", "SIP/2.0 200 OK");
    let no_via = request("OPTIONS", "").replace("Via", "Vie");
    for text in [&response[..], "", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\0\u{1}\u{2}"] {
        let seen = look(&mut trap, text.as_bytes(), "203.0.113.7", NOW);
        assert!(!seen.is_sip && seen.answer.is_none() && !seen.caught && seen.report.is_none(), "{text:?}");
    }
    assert!(look(&mut trap, no_via.as_bytes(), "203.0.113.7", NOW).answer.is_none(), "nobody could match it");
}

#[test]
fn only_who_has_read_the_challenge_is_caught() {
    let mut trap = Trap::new().expect("random");
    let answer = answer_to(&mut trap, &request("REGISTER", ""), "203.0.113.7", NOW);
    let good = nonce_of(&answer).to_owned();
    let caught = |trap: &mut Trap, nonce: &str, ip: &str, now: u64| {
        look(trap, request("REGISTER", &credentials(nonce)).as_bytes(), ip, now).caught
    };
    let life = u64::from(LIFE) * SECOND;
    for (nonce, ip, now, what) in [
        (&good[..], "203.0.113.8", NOW, "of another address"),
        (&good, "2001:db8::7", NOW, "of another family"),
        (&good, "203.0.113.7", NOW + life + SECOND, "too old"),
        (&good, "203.0.113.7", NOW - SECOND, "of the future"),
        (&good[1..], "203.0.113.7", NOW, "cut"),
        ("", "203.0.113.7", NOW, "empty"),
        ("0123456789abcdef", "203.0.113.7", NOW, "made up"),
        ("\u{1b}[2J%n%n", "203.0.113.7", NOW, "garbage"),
    ] {
        assert!(!caught(&mut trap, nonce, ip, now), "{what}");
    }
    assert!(caught(&mut trap, &good, "203.0.113.7", NOW + life));
    assert!(!caught(&mut trap, &good, "203.0.113.7", NOW + life), "once in a while is enough");
    let answer = answer_to(&mut trap, &request("INVITE", ""), "2001:db8::7", NOW);
    let shown = credentials(nonce_of(&answer)).replace("Authorization", "Proxy-Authorization");
    let seen = look(&mut trap, request("INVITE", &shown).as_bytes(), "2001:db8::7", NOW);
    assert!(seen.caught && seen.answer.is_none());
    let report = seen.report.expect("told");
    assert!(report.caught && report.source == "2001:db8::7" && report.method == "INVITE");
}

#[test]
fn no_answer_is_much_longer_than_what_it_answers() {
    let mut trap = Trap::new().expect("random");
    let mut answered = 0;
    for length in 0..1_400 {
        let filled = request("OPTIONS", &format!("X: {}\r\n", "x".repeat(length)));
        let vias = "Via: SIP/2.0/UDP a\r\n".repeat(length % 40);
        for text in [
            filled,
            format!("OPTIONS a: SIP/2.0\r\n{vias}v:SIP/2.0/UDP a\r\nf:a:\r\nt:a:\r\ni:1\r\nCSeq:1 OPTIONS\r\n\r\n"),
        ] {
            let now = NOW + length as u64 * SECOND;
            let Some(answer) = look(&mut trap, text.as_bytes(), "2001:db8::7", now).answer else { continue };
            assert!(answer <= text.len() + LONGER_MAX, "{answer} to {}", text.len());
            answered += 1;
        }
    }
    assert!(answered > 1_000, "{answered}");
}

#[test]
fn a_flood_in_the_name_of_others_is_answered_rarely_and_catches_nobody() {
    let mut trap = Trap::new().expect("random");
    let (mut answers, mut reports) = (0, 0);
    for n in 0..100_000u64 {
        let ip = format!("198.18.{}.{}", n / 256 % 256, n % 256);
        let seen = look(&mut trap, request("REGISTER", &credentials("0123")).as_bytes(), &ip, NOW + n * 10_000);
        assert!(!seen.caught);
        answers += usize::from(seen.answer.is_some());
        reports += usize::from(seen.report.is_some());
    }
    // one second
    assert!((400..=601).contains(&answers), "{answers}");
    assert!((40..=61).contains(&reports), "{reports}");
    let one = (0..1_000).filter(|_| {
        look(&mut trap, request("REGISTER", "").as_bytes(), "203.0.113.9", NOW + 60 * SECOND).answer.is_some()
    });
    assert_eq!(one.count(), 20, "of one source, at once");
}

#[test]
fn what_a_scanner_writes_no_terminal_obeys() {
    let mut trap = Trap::new().expect("random");
    let text =
        request("OPTIONS", "").replace("friendly-scanner", "a\u{1b}[2J\u{202e}b").replace("sip:100@", "sip:\u{9b}@");
    let report = look(&mut trap, text.as_bytes(), "203.0.113.7", NOW).report.expect("told");
    let json = serde_json::to_string(&Event::at(0, What::Decoy(report))).expect("JSON");
    assert!(json.contains("a\\\\u{1b}[2J\\\\u{202e}b") && json.contains("sip:\\\\u{9b}@"), "{json}");
    assert!(!json.contains(|c: char| c.is_control()), "{json}");
}
