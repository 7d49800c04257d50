//! What the engine answers itself: keep-alives taken, OPTIONS answered, 503 while the softswitch is dead.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sip_parse::{Index, Mode, StartLine};
use vos_bench::process::output;

use crate::site::{
    CALLER, CALLER6, OTHER, OTHER6, PATIENCE, SERVER4, SERVER6, Site, Stats, dumped, request, server_of, wait_until,
};

const FAMILIES: [(IpAddr, IpAddr); 2] = [(IpAddr::V4(CALLER), SERVER4), (IpAddr::V6(CALLER6), SERVER6)];
/// Answers on, no limit to who may ask, and the softswitch's death found soon.
const ANSWERING: &str = "[answer]\noptions = true\n[health]\ninterval = \"200ms\"\nfailures = 2\n\
                         [rates.verified]\nall = \"none\"\noptions = \"none\"\ninvite = \"none\"\n";

/// Answers, and both callers allowed.
fn answering(more: &str) -> Site {
    let site = Site::builder().config(&format!("{more}{ANSWERING}")).start();
    site.told(&["allow", &CALLER.to_string(), &CALLER6.to_string()]);
    site
}

fn uri(server: IpAddr) -> String {
    if server.is_ipv6() { format!("sip:[{server}]") } else { format!("sip:{server}") }
}

/// OPTIONS that ask the server itself, as carriers do.
fn ping(server: IpAddr, from: SocketAddr, call: &str) -> String {
    request("OPTIONS", from, call).replace("sip:2@e.com", &uri(server)).replace(";branch", ";rport;branch")
}

/// What Kamailio was asked by others than the engine.
fn asked_by_callers(site: &Site) -> usize {
    site.seen().iter().filter(|seen| ![SERVER4, SERVER6].contains(&seen.source.ip())).count()
}

/// A counter of answers, since `before`.
#[track_caller]
fn answers(site: &Site, before: &Stats, why: &str) -> u64 {
    site.stats().ended("answered", why) - before.ended("answered", why)
}

/// A scenario of sipp's: its own parser finds Call-ID and CSeq, and the rest is compared with what stands here.
fn pings(from: IpAddr) -> String {
    let (uri, from) =
        ("sip:[remote_ip]", if from.is_ipv6() { format!("\\[{from}\\]|{from}") } else { from.to_string() });
    let check = |header: &str, expected: &str| {
        format!(
            "<ereg regexp=\"{expected}\" search_in=\"hdr\" header=\"{header}\" check_it=\"true\" \
             assign_to=\"{}\"/>",
            header.to_lowercase().trim_end_matches(':').replace('-', "")
        )
    };
    let checks = [
        check("Via:", &format!("SIP/2.0/UDP .*;received=({from});rport=5062")),
        check("To:", ";tag=[0-9a-f]{16}$"),
        check("From:", ";tag=[0-9]+"),
        check("CSeq:", "^ ?7 OPTIONS$"),
        check("Allow:", "INVITE, ACK, CANCEL, BYE, OPTIONS"),
        check("Accept:", "application/sdp"),
        check("Content-Length:", "^ ?0$"),
    ];
    format!(
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"ping\">\n<send>\n<![CDATA[\n\n\
         OPTIONS {uri} SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n\
         Max-Forwards: 70\nFrom: <sip:ping@[local_ip]>;tag=[call_number]\nTo: <{uri}>\nCall-ID: [call_id]\n\
         CSeq: 7 OPTIONS\nContact: <sip:ping@[local_ip]:[local_port]>\nContent-Length: 0\n\n]]>\n</send>\n\
         <recv response=\"200\"><action>{}</action></recv>\n\
         <Reference variables=\"via,to,from,cseq,allow,accept,contentlength\"/>\n</scenario>\n",
        checks.concat()
    )
}

/// Runs a scenario so often; each must succeed.
#[track_caller]
fn sipp(site: &Site, scenario: &str, (from, server): (IpAddr, IpAddr), calls: u64, rate: u64) {
    let file = site.path("scenario.xml");
    std::fs::write(&file, scenario).unwrap();
    let mut sipp = site.caller.command("sipp");
    sipp.arg("-sf").arg(&file).args(["-i", &from.to_string(), "-p", "5062", "-m", &calls.to_string()]);
    // exit code 0: all calls succeeded; -nr: nothing is sent twice, so sipp has to have room where it is kept waiting
    sipp.args(["-r", &rate.to_string(), "-nr", "-nostdin", "-timeout", "60s", "-timeout_error"]);
    sipp.args(["-buff_size", "200000"]);
    sipp.arg(SocketAddr::new(server, 5060).to_string()).current_dir(site.path(""));
    output(&mut sipp).unwrap();
}

#[test]
fn ten_thousand_options_are_answered_and_the_softswitch_sees_none() {
    const EACH: u64 = 5_000;
    if !vos_bench::ready(&["kamailio", "sipp", "sipsak"]) {
        return;
    }
    let site = answering("");
    let before = site.stats();
    for (from, server) in FAMILIES {
        sipp(&site, &pings(from), (from, server), EACH, 500);
    }
    assert_eq!(answers(&site, &before, "answered"), 2 * EACH);
    site.counted(&before, "redirected", 2 * EACH);
    // A client of another make; of addresses it speaks IPv4 alone. Exit code 0: a 200.
    output(site.caller.command("sipsak").args(["-s", &uri(SERVER4)])).unwrap();
    assert_eq!(answers(&site, &before, "answered"), 2 * EACH + 1);
    // The control: who is not allowed is seen by the softswitch.
    site.afterwards("pings");
    assert_eq!(asked_by_callers(&site), 2, "{:?}", site.seen().last());
    let said = site.vosctl(&["stats"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("  answered ("), "{said:?}");
}

#[test]
fn answers_are_whole_at_every_length_with_tags_and_without() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    let site = answering("");
    // What the engine sends from its own port to the port that sip_frame has, tags in front or none.
    let from_server = "udp src port 5060 and dst port 5061";
    let tagged = format!("vlan and ({from_server} or (vlan and {from_server}))");
    let tcpdump = site.tcpdump_in_full(&format!("({from_server}) or ({tagged})"));
    let before = site.stats();
    let mut frames = Vec::new();
    for (from, server) in FAMILIES {
        for more in 0..40 {
            let ask = ping(server, SocketAddr::new(from, 5061), &format!("length-{}", "x".repeat(more)));
            let frame = site.sip_frame_of(from, ask.as_bytes());
            frames.extend([frame.clone().build(), frame.clone().vlan(0x8100, 0x6007).build()]);
            frames.push(frame.vlan(0x88a8, 9).vlan(0x8100, 7).build());
        }
    }
    site.send(&frames);
    wait_until("all are answered", PATIENCE, || answers(&site, &before, "answered") == frames.len() as u64);
    let seen = || tcpdump.log().matches("SIP/2.0 200 OK").count();
    wait_until("all answers are seen", PATIENCE, || seen() == frames.len());
    let log = tcpdump.log();
    // tcpdump works them out anew.
    assert_eq!(log.matches("[udp sum ok]").count(), frames.len(), "{log}");
    assert!(!log.contains("bad udp cksum") && !log.contains("bad cksum"), "{log}");
    let of = |tags: &str| log.lines().filter(|line| line.contains(tags)).count();
    assert_eq!(of("vlan 7, p 3"), frames.len() / 3);
    assert_eq!(of("vlan 9, p 0"), frames.len() / 3);
    assert_eq!(asked_by_callers(&site), 0);
}

#[test]
fn what_only_the_softswitch_knows_is_its_to_answer() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = answering("[xdp]\nstealth = \"off\"\n");
    let before = site.stats();
    let mut asked = 0;
    for (from, server) in FAMILIES {
        let phone = site.phone(from);
        let plain = |call: &str| ping(server, phone.local_addr().unwrap(), &format!("{call}-{}", from.is_ipv6()));
        let itself = uri(server);
        for (call, text) in [
            ("dialog", plain("dialog").replace(&format!("To: <{itself}>"), &format!("To: <{itself}>;tag=there"))),
            ("user", plain("user").replace(&format!("OPTIONS {itself}"), &itself.replace("sip:", "OPTIONS sip:100@"))),
            ("elsewhere", plain("elsewhere").replace(&format!("OPTIONS {itself}"), "OPTIONS sip:203.0.113.200")),
            ("require", plain("require").replace("CSeq:", "Require: 100rel\r\nCSeq:")),
        ] {
            assert_eq!(site.exchange(&phone, text.as_bytes()), 200, "{call}");
            assert_eq!(site.seen_calls(&format!("{call}-{}", from.is_ipv6())), 1, "{call}");
            asked += 1;
        }
        // The control: the same without any of that.
        assert_eq!(site.exchange(&phone, plain("plain").as_bytes()), 200);
        assert_eq!(site.seen_calls(&format!("plain-{}", from.is_ipv6())), 0);
    }
    // Neither do strangers get an answer of the engine's.
    for (from, server) in [(IpAddr::V4(OTHER), SERVER4), (IpAddr::V6(OTHER6), SERVER6)] {
        let phone = site.phone(from);
        let call = format!("stranger-{}", from.is_ipv6());
        let text = ping(server, phone.local_addr().unwrap(), &call);
        assert_eq!(site.exchange(&phone, text.as_bytes()), 200);
        assert_eq!(site.seen_calls(&call), 1);
        asked += 1;
    }
    assert_eq!(asked_by_callers(&site), asked);
    assert_eq!(answers(&site, &before, "answered"), 2);
}

#[test]
fn a_wrong_checksum_gets_no_answer() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    let site = answering("");
    let tcpdump = site.tcpdump_outside("udp src port 5060 and dst port 5061");
    let before = site.stats();
    for (number, (from, server)) in (1..).zip(FAMILIES) {
        let frame = |call: &str| {
            let ask = ping(server, SocketAddr::new(from, 5061), call);
            let mut frame = site.sip_frame_of(from, ask.as_bytes()).build();
            let at = if from.is_ipv6() { 60 } else { 40 };
            // of IPv4 there is none, and 1 is not it
            frame[at + 1] ^= u8::from(call == "wrong");
            frame
        };
        site.send(&[frame("wrong"), frame("right")]);
        wait_until("the right one is answered", PATIENCE, || answers(&site, &before, "answered") == number);
        wait_until("its answer is seen", PATIENCE, || dumped(&tcpdump) as u64 == number);
        site.afterwards(&format!("checksum-{number}"));
        assert_eq!((site.seen_calls("wrong"), dumped(&tcpdump) as u64), (0, number));
    }
    site.counted(&before, "redirected", 8);
}

#[test]
fn one_in_so_many_goes_on_and_a_reload_changes_it() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let every = |every: u32| ANSWERING.replace("[health]", &format!("options_pass_every = {every}\n[health]"));
    let site = Site::builder().config(&every(3)).start();
    site.told(&["allow", &CALLER.to_string()]);
    // One socket, one queue.
    let phone = site.phone(CALLER);
    let pings = |name: &str| {
        for number in 0..9 {
            let text = ping(SERVER4, phone.local_addr().unwrap(), &format!("{name}-{number}"));
            assert_eq!(site.exchange(&phone, text.as_bytes()), 200);
        }
        site.seen_calls(name)
    };
    assert_eq!(pings("third"), 3);
    site.reconfigure(&every(1));
    assert_eq!(pings("all"), 9);
    site.reconfigure(&every(0));
    assert_eq!(pings("none"), 0);
    site.reconfigure(&ANSWERING.replace("options = true", "options = false"));
    assert_eq!(pings("off"), 9);
}

#[test]
fn keep_alives_are_taken_unless_the_softswitch_is_to_have_them() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().config("").start();
    let keep_alives: [&[u8]; 4] = [b"\r\n\r\n", b"\r\n", b"\0\0\0\0", b""];
    let before = site.stats();
    let send_all = || {
        for (from, _) in FAMILIES {
            let phone = site.phone(from);
            keep_alives
                .iter()
                .for_each(|bytes| assert_eq!(phone.send_to(bytes, server_of(&phone)).unwrap(), bytes.len()));
        }
    };
    let taken = |stats: &Stats| stats.ended("taken", "keep_alive") - before.ended("taken", "keep_alive");
    let relayed = |stats: &Stats| stats.workers("relayed").iter().sum::<u64>();
    send_all();
    wait_until("all are taken", PATIENCE, || taken(&site.stats()) == 8);
    assert_eq!(relayed(&site.stats()), relayed(&before));
    site.reconfigure("[answer]\nkeep_alives = false\n");
    send_all();
    wait_until("all are relayed", PATIENCE, || relayed(&site.stats()) == relayed(&before) + 8);
    assert_eq!(taken(&site.stats()), 8);
}

/// Asks until the answer is `status`; every answer until then is `before`. How long that took.
#[track_caller]
fn until_answered(site: &Site, status: u16, (from, server): (IpAddr, IpAddr), while_waiting: &[u16]) -> Duration {
    let (phone, began, mut number) = (site.phone(from), Instant::now(), 0);
    // A softswitch that does not answer: the next one is asked.
    phone.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    wait_until(&format!("OPTIONS gets {status}"), PATIENCE, || {
        number += 1;
        let text = ping(server, phone.local_addr().unwrap(), &format!("until-{status}-{number}"));
        phone.send_to(text.as_bytes(), server_of(&phone)).unwrap();
        let Some(answer) = status_in(&phone) else { return false };
        assert!(answer == status || while_waiting.contains(&answer), "{answer}");
        answer == status
    });
    began.elapsed()
}

/// The status of the next answer, if one comes.
fn status_in(phone: &UdpSocket) -> Option<u16> {
    let mut reply = [0; 2_048];
    let length = phone.recv(&mut reply).ok()?;
    let mut index: Index = Index::new();
    match index.parse(&reply[..length], Mode::Strict).expect("SIP in reply").start_line() {
        StartLine::Response { code, .. } => Some(code),
        StartLine::Request { .. } => panic!("a request in reply"),
    }
}

/// A call that is to be refused at once, and acknowledged.
fn refused() -> String {
    let headers = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\nMax-Forwards: 70\n\
                   From: <sip:1@[local_ip]>;tag=[call_number]\nCall-ID: [call_id]\nContent-Length: 0\n";
    format!(
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"refused\">\n<send>\n<![CDATA[\n\n\
         INVITE sip:200@[remote_ip] SIP/2.0\n{headers}To: <sip:200@[remote_ip]>\nCSeq: 1 INVITE\n\
         Contact: <sip:1@[local_ip]:[local_port]>\n\n]]>\n</send>\n<recv response=\"503\"/>\n\
         <send>\n<![CDATA[\n\n\
         ACK sip:200@[remote_ip] SIP/2.0\n{headers}To: <sip:200@[remote_ip]>[peer_tag_param]\nCSeq: 1 ACK\n\n\
         ]]>\n</send>\n</scenario>\n"
    )
}

#[test]
fn while_the_softswitch_is_dead_its_peers_are_sent_elsewhere() {
    const CALLS: u64 = 50;
    if !vos_bench::ready(&["kamailio", "sipp", "tcpdump"]) {
        return;
    }
    let refusing = ANSWERING.replace("[health]", "refuse_calls = true\n[health]");
    let mut site = Site::builder().config(&format!("[xdp]\nstealth = \"off\"\n{refusing}")).start();
    site.told(&["allow", &CALLER.to_string(), &CALLER6.to_string()]);
    let state = |site: &Site| site.json(&["status"])["softswitch"].clone();
    assert_eq!(state(&site), "alive");
    site.kill_server();
    for family in FAMILIES {
        println!("503 to {} after {:?}", family.0, until_answered(&site, 503, family, &[200]));
    }
    assert_eq!((state(&site), site.stats().0["softswitch"].clone()), ("dead".into(), "dead".into()));
    let before = site.stats();
    for family in FAMILIES {
        sipp(&site, &refused(), family, CALLS, 50);
    }
    assert_eq!(answers(&site, &before, "unavailable"), 2 * CALLS);
    let taken = |stats: &Stats| stats.ended("taken", "acknowledged");
    wait_until("each ACK is taken", PATIENCE, || taken(&site.stats()) == taken(&before) + 2 * CALLS);
    site.counted(&before, "redirected", 4 * CALLS);

    // Calls for help, calls that are there and strangers are not refused: nobody is there to answer them.
    let relayed = |stats: &Stats| stats.workers("relayed").iter().sum::<u64>();
    let answered = site.tcpdump_outside("udp src port 5060");
    let before = site.stats();
    let help = site.sip_frame_of(
        CALLER.into(),
        request("INVITE", SocketAddr::new(CALLER.into(), 5061), "help").replace("sip:2@", "sip:112@").as_bytes(),
    );
    let inside = request("INVITE", SocketAddr::new(CALLER.into(), 5061), "inside")
        .replace("To: <sip:2@e.com>", "To: <sip:2@e.com>;tag=x");
    let stranger = ping(SERVER4, SocketAddr::new(OTHER.into(), 5061), "stranger");
    let inside = site.sip_frame_of(CALLER.into(), inside.as_bytes());
    site.send(&[help.build(), inside.build(), site.sip_frame_of(OTHER.into(), stranger.as_bytes()).build()]);
    wait_until("all three are relayed", PATIENCE, || relayed(&site.stats()) == relayed(&before) + 3);
    // The control: the same port hears what the engine refuses.
    site.send(&[site.sip_frame(CALLER, "INVITE", "refused").build()]);
    wait_until("the fourth is refused", PATIENCE, || dumped(&answered) > 0);
    assert_eq!((dumped(&answered), answers(&site, &before, "unavailable")), (1, 1));

    site.start_server();
    for family in FAMILIES {
        println!("200 to {} after {:?}", family.0, until_answered(&site, 200, family, &[503]));
    }
    assert_eq!(state(&site), "alive");
    assert_eq!(site.asks(&site.phone(CALLER), "INVITE", "again"), 200);
    assert_eq!(site.seen_calls("again"), 1);
    let said = String::from_utf8_lossy(&site.vosctl(&["events"]).stdout).into_owned();
    let told = |state: &str| said.lines().filter(|line| line.ends_with(&format!("local is {state}"))).count();
    assert_eq!((told("dead"), told("alive")), (1, 1), "{said}");
}

#[test]
fn a_softswitch_that_hangs_is_found_dead_by_its_silence() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = answering("");
    wait_until("it has answered once", PATIENCE, || site.seen().iter().any(|seen| seen.source.ip() == SERVER4));
    site.signal_server(Signal::SIGSTOP);
    println!("503 after {:?}", until_answered(&site, 503, FAMILIES[0], &[200]));
    site.signal_server(Signal::SIGCONT);
    println!("200 after {:?}", until_answered(&site, 200, FAMILIES[0], &[503]));
    // A reload of [health] takes effect: nobody is there.
    site.reconfigure(&ANSWERING.replace("[health]", "[health]\ntarget = \"192.0.2.1:5099\""));
    until_answered(&site, 503, FAMILIES[0], &[200]);
    site.reconfigure(ANSWERING);
    until_answered(&site, 200, FAMILIES[0], &[503]);
}
