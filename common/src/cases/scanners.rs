//! Scanners' signatures: where tools write them, and where the same text means nothing.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::{SURVIVES, Table, caller, caller6, dropped, known, message, request};
use crate::reason::Reason;
use crate::signature::SUSPECTS_MAX;

const SCANNER: super::Verdict = dropped(Reason::Scanner);

pub(super) fn add(t: &mut Table) {
    fields(t);
    other_places(t);
    positions(t);
    patterns(t);
    decoys(t);
    sources_and_methods(t);
}

/// An INVITE with these lines.
fn with(lines: &str) -> Vec<u8> {
    message("INVITE", lines, "")
}

/// A session description with this line.
fn session(line: &str) -> Vec<u8> {
    let body = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.4\r\n{line}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n");
    message("INVITE", "Content-Type: application/sdp\r\n", &body)
}

/// The same, with another From or To line.
fn with_address(line: &str) -> Vec<u8> {
    let (from, to) = ("From: <sip:100@example.com>;tag=1", "To: <sip:200@example.com>");
    let replaced = if line.starts_with(['F', 'f']) { from } else { to };
    let text = String::from_utf8_lossy(&request("INVITE")).replace(replaced, line);
    text.into_bytes()
}

fn fields(t: &mut Table) {
    let why = "svmap, svwar and svcrack sign with it";
    for line in [
        "User-Agent: friendly-scanner",
        "User-Agent:friendly-scanner",
        "User-Agent : friendly-scanner",
        "User-Agent\t:\tfriendly-scanner",
        "user-agent: friendly-scanner",
        "USER-AGENT: FRIENDLY-SCANNER",
        "User-Agent: Friendly-Scanner",
        "User-Agent: not so friendly-scanner/1.0 (really)",
    ] {
        t.add(&format!("{line:?}"), why, &caller().sip(&with(&format!("{line}\r\n"))), SCANNER);
        t.add(&format!("{line:?}, IPv6"), why, &caller6().sip(&with(&format!("{line}\r\n"))), SCANNER);
    }
    let why = "svmap writes \"sipvicious\" into From and To: a changed User-Agent does not hide it";
    for line in [
        "From: \"sipvicious\"<sip:100@1.1.1.1>;tag=1",
        "From:\"sipvicious\" <sip:100@1.1.1.1>;tag=1",
        "From : sipvicious <sip:100@1.1.1.1>;tag=1",
        "FROM: \"SIPVICIOUS\"<sip:100@1.1.1.1>;tag=1",
        "from: <sip:SipVicious@1.1.1.1>;tag=1",
        "f: \"sipvicious\"<sip:100@1.1.1.1>;tag=1",
        "F:\"sipvicious\"<sip:100@1.1.1.1>;tag=1",
        "f : \"sipvicious\"<sip:100@1.1.1.1>;tag=1",
        "To: \"sipvicious\"<sip:100@1.1.1.1>",
        "TO: \"SIPVICIOUS\"<sip:100@1.1.1.1>",
        "to\t: \"sipvicious\"<sip:100@1.1.1.1>",
        "t: \"sipvicious\"<sip:100@1.1.1.1>",
        "T: \"sipvicious\"<sip:100@1.1.1.1>",
    ] {
        t.add(&format!("{line:?}"), why, &caller().sip(&with_address(line)), SCANNER);
    }
    let why = "RFC 3261 §7.3.1: a line may be folded; who folds a scanner's name means to hide it";
    for line in [
        "User-Agent:\r\n friendly-scanner",
        "User-Agent: a\r\n\tfriendly-scanner",
        "User-Agent:\r\n \r\n friendly-scanner",
    ] {
        t.add(&format!("{line:?}"), why, &caller().sip(&with(&format!("{line}\r\n"))), SCANNER);
    }
    let why = "OpenSIPS takes lines that end with LF";
    t.add(
        "User-Agent of a line that ends with LF",
        why,
        &caller().sip(&with("X: y\nUser-Agent: friendly-scanner\n")),
        SCANNER,
    );
    let why = "tools that send a session name themselves in it";
    t.add("s=sipvicious", why, &caller().sip(&session("s=sipvicious")), SCANNER);
    t.add("s=SIPVICIOUS", why, &caller().sip(&session("s=SIPVICIOUS")), SCANNER);
    t.add("s=my friendly-scanner", why, &caller().sip(&session("s=my friendly-scanner")), SCANNER);
}

fn other_places(t: &mut Table) {
    let why = "no tool signs there: a caller may be called so, or look for it";
    for line in [
        "Subject: friendly-scanner",
        "s: friendly-scanner",
        "S: sipvicious",
        "Contact: \"sipvicious\" <sip:100@192.0.2.4>",
        "m: <sip:sipvicious@192.0.2.4>",
        "Via: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bKsipvicious",
        "v: SIP/2.0/UDP sipvicious.example.org;branch=z9hG4bK2",
        "X-User-Agent: friendly-scanner",
        "Server: friendly-scanner",
        "Organization: sipvicious",
        "Route: <sip:sipvicious.example.org;lr>",
        "P-Asserted-Identity: <sip:sipvicious@example.org>",
        "Referred-By: <sip:sipvicious@example.org>",
        "Reply-To: <sip:sipvicious@example.org>",
        "Refer-To: <sip:sipvicious@example.org>",
        "Fromage: sipvicious",
        "Token: sipvicious",
        "Tomato: sipvicious",
        "Timestamp: sipvicious",
        "friendly-scanner: 1",
    ] {
        t.add(&format!("{line:?}"), why, &caller().sip(&with(&format!("{line}\r\n"))), SURVIVES);
    }
    let id = String::from_utf8_lossy(&request("INVITE")).replace("Call-ID: 1@x", "Call-ID: sipvicious@x");
    t.add("Call-ID: sipvicious@x", why, &caller().sip(id.as_bytes()), SURVIVES);
    for uri in ["sip:sipvicious@example.com", "sip:friendly-scanner@example.com", "sip:a@sipvicious.example.com"] {
        let message = String::from_utf8_lossy(&request("INVITE")).replacen("sip:200@example.com", uri, 1);
        t.add(&format!("Request-URI {uri}"), why, &caller().sip(message.as_bytes()), SURVIVES);
    }
    for line in
        ["o=sipvicious 1 1 IN IP4 192.0.2.4", "i=sipvicious", "u=sipvicious", "S=sipvicious", "a=tool:friendly-scanner"]
    {
        t.add(line, why, &caller().sip(&session(line)), SURVIVES);
    }
    let body = message("MESSAGE", "Content-Type: text/plain\r\n", "what is a friendly-scanner?");
    t.add("a message about it", why, &caller().sip(&body), SURVIVES);
}

fn positions(t: &mut Table) {
    let padded = |n: usize| format!("X: {}\r\n", "y".repeat(n));
    for n in 0..16 {
        let why = "4-grams are looked up at multiples of four, sixteen bytes at a time";
        let lines = padded(n) + "User-Agent: friendly-scanner\r\n";
        t.add(&format!("a signature moved on by {n} bytes"), why, &caller().sip(&with(&lines)), SCANNER);
        let lines = padded(n) + "User-Agent: sipcli/1.8\r\n";
        t.add(&format!("a signature of seven bytes moved on by {n}"), why, &caller().sip(&with(&lines)), SCANNER);
        let why = "the last bytes are looked at, too";
        let text = String::from_utf8_lossy(&with(&padded(n))).into_owned();
        for (name, last) in [("friendly-scanner", "User-Agent: friendly-scanner"), ("sipcli/", "s=sipcli/")] {
            let packet = caller().sip((text.clone() + last).as_bytes());
            t.add(&format!("{name} at the packet's end, moved on by {n}"), why, &packet, SCANNER);
            t.add(&format!("{name} at the payload's end, moved on by {n}"), why, &packet.clone().padding(7), SCANNER);
            let cut = caller().sip(&(text.clone() + last).as_bytes()[..text.len() + last.len() - 1]);
            let why = "one byte less is another text";
            t.add(&format!("{name} without its last byte, moved on by {n}"), why, &cut, SURVIVES);
        }
    }
    let why = "padding is not read";
    let cut = String::from_utf8_lossy(&with("")).into_owned() + "s=sipcli/";
    let packet = caller().sip(cut.as_bytes()).udp_length(cut.len() as u16 + 8 - 1);
    t.add("a signature that ends behind the payload", why, &packet, SURVIVES);
    for length in [500, 1_000, 1_400] {
        let why = "whoever writes a lot in front";
        let lines = padded(length) + "User-Agent: friendly-scanner\r\n";
        t.add(&format!("a signature behind {length} bytes"), why, &caller().sip(&with(&lines)), SCANNER);
        let lines = "Route: <sip:a;lr>\r\n".repeat(length / 19) + "User-Agent: friendly-scanner\r\n";
        t.add(&format!("a signature behind {} lines", length / 19), why, &caller().sip(&with(&lines)), SCANNER);
    }
    for n in [1, 100, 200] {
        let why = "whoever writes a lot in front of it on its line";
        let line = format!("User-Agent: {} friendly-scanner\r\n", "y".repeat(n));
        t.add(&format!("a signature behind {n} bytes of its line"), why, &caller().sip(&with(&line)), SCANNER);
    }
    let why = "RFC 3261 §7.5: CRLFs in front are skipped";
    let shifted = [b"\r\n\r\n", &with("User-Agent: friendly-scanner\r\n")[..]].concat();
    t.add("a signature behind CRLFs in front of all", why, &caller().sip(&shifted), SCANNER);
    let first = "INVITE sip:200@example.com SIP/2.0\r\nt:sipvicious\r\n\r\n";
    t.add("a signature in the second line", "nearest to the front", &caller().sip(first.as_bytes()), SCANNER);
}

fn patterns(t: &mut Table) {
    for (name, line, expect) in [
        ("VaxSIPUserAgent", "User-Agent: VaxSIPUserAgent/3.1", SCANNER),
        ("vaxsipuseragent", "User-Agent: vaxsipuseragent/3.1", SCANNER),
        ("sipcli", "User-Agent: sipcli/v1.8", SCANNER),
        ("sipcli without its slash", "User-Agent: sipcli v1.8", SURVIVES),
        ("smap", "User-Agent: smap 0.6.0", SCANNER),
        ("smap in other case", "user-agent: SMAP 0.6.0", SCANNER),
        ("smap and two blanks", "User-Agent:  smap 0.6.0", SURVIVES),
        ("smap in From", "P: smap", SURVIVES),
        ("friendly scanner", "User-Agent: friendly scanner", SURVIVES),
        ("half of it", "User-Agent: friendly-", SURVIVES),
        ("its end", "User-Agent: scanner", SURVIVES),
        ("an ordinary phone", "User-Agent: Yealink SIP-T46S 66.85.0.5", SURVIVES),
        ("another one", "User-Agent: Grandstream GXP2170 1.0.11.48", SURVIVES),
        ("a trunk", "User-Agent: OpenSIPS (3.4.5 (x86_64/linux))", SURVIVES),
        ("sipp", "User-Agent: SIPp/v3.6.1", SURVIVES),
    ] {
        let why = "a pattern is found as it is written, in any case";
        t.add(&format!("the pattern of {name}"), why, &caller().sip(&with(&format!("{line}\r\n"))), expect);
    }
}

fn decoys(t: &mut Table) {
    let strewn = |n: usize| {
        (0..n).map(|n| format!("X-{n}: {}sipvicious{}\r\n", "y".repeat(n % 4), "z".repeat(9))).collect::<String>()
    };
    let real = "User-Agent: friendly-scanner\r\n";
    for n in 1..=SUSPECTS_MAX {
        let why = "what looks like a signature is looked at, and is none";
        t.add(&format!("{n} decoys"), why, &caller().sip(&with(&strewn(n))), SURVIVES);
    }
    for n in 1..=SUSPECTS_MAX + 20 {
        let why = "decoys in front: whoever strews them wants to be overlooked";
        t.add(&format!("{n} decoys and a signature"), why, &caller().sip(&with(&(strewn(n) + real))), SCANNER);
    }
}

fn sources_and_methods(t: &mut Table) {
    let real = "User-Agent: friendly-scanner\r\n";
    for method in ["REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "SUBSCRIBE", "MESSAGE", "NEWMETHOD"] {
        let why = "svwar registers, svcrack answers challenges, and both call";
        t.add(&format!("a signature in {method}"), why, &caller().sip(&message(method, real, "")), SCANNER);
    }
    for method in ["REGISTER", "BYE"] {
        for (who, packet) in known() {
            let why = "signatures are looked for in what unknown sources send";
            let packet = packet.sip(&message(method, real, ""));
            t.add(&format!("a signature in {method} from {who}"), why, &packet, SURVIVES);
        }
    }
    let why = "a response answers what we asked";
    let response = "SIP/2.0 200 OK\r\nVia: x\r\nTo: sipvicious\r\nUser-Agent: friendly-scanner\r\n\r\n";
    t.add("a signature in a response", why, &caller().sip(response.as_bytes()), SURVIVES);
    let why = "stealth comes first";
    let options = message("OPTIONS", real, "");
    t.add("a signature in OPTIONS", why, &caller().sip(&options), dropped(Reason::Stealth));
}
