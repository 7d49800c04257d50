//! What attackers use, as they find it in Debian, against a telephone system behind the profile `internet-edge`: they
//! find no server and no user and get no answer, while its phones register and call.
//!
//! What stops each is asserted, too. By its User-Agent a tool is known only as long as nobody changes that: whoever
//! does gets an answer to REGISTER, by which phones make themselves known, and is slowed by rates alone, unless
//! `xdp.domains` says under which names the server is asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use vos_bench::Program;
use vos_bench::process::output;

use crate::registrar::{DOMAIN, PASSWORD, Phones, REGISTRAR, USER};
use crate::site::{FAR, PATIENCE, SERVER4, Site, wait_until};

/// Debian's package `sipvicious`.
const SIPVICIOUS: &str = "/usr/share/sipvicious";
const TOOLS: [&str; 8] = ["kamailio", "sipp", "tcpdump", "svmap", "svwar", "svcrack", "sipsak", "nmap"];

/// A telephone system behind the engine. Who does not choose an address is [`FAR`] there: not all tools can choose.
fn telephones(config: &str) -> Site {
    let site = Site::builder().server(REGISTRAR).config(config).start();
    site.caller.ip(&format!("route add {SERVER4}/32 dev {} src {FAR}", site.lan)).unwrap();
    site
}

/// One run of a tool.
struct Scan {
    /// The program, and what it is told.
    words: String,
    /// The rule that it meets.
    stopped_by: &'static str,
    /// What it says when it has found what it looks for.
    finds: &'static str,
}

fn scan(words: &str, stopped_by: &'static str, finds: &'static str) -> Scan {
    Scan { words: words.to_owned(), stopped_by, finds }
}

/// All tools by all methods that they have.
fn scans() -> [Scan; 9] {
    [
        scan("svmap -m OPTIONS", "stealth", "192.0.2.1:5060"),
        scan("svmap -m INVITE", "stealth", "192.0.2.1:5060"),
        scan("svmap -m REGISTER", "scanner", "192.0.2.1:5060"),
        scan("svwar -e 998-1001 -m OPTIONS", "stealth", USER),
        scan("svwar -e 998-1001 -m INVITE", "stealth", USER),
        scan("svwar -e 998-1001 -m REGISTER", "scanner", USER),
        scan("svcrack -u 1000 -d WORDS", "scanner", PASSWORD),
        // its first timer, in ms: it sends again until 64 times as much is over
        scan("sipsak --timer-t1=50 -v -s sip:1000@", "stealth", "SIP/2.0 200"),
        scan("nmap -n -Pn -sU -p 5060 --script sip-methods", "stealth", "INVITE, ACK, BYE"),
    ]
}

/// A run of a tool from [`FAR`] that is over: what it said, and what the wire and the filter know of it.
struct Told<'a> {
    site: &'a Site,
    outside: Program,
    before: BTreeMap<String, u64>,
    said: String,
    took: Duration,
}

impl<'a> Told<'a> {
    /// Its own opinion of how that went, the exit code, does not matter.
    #[track_caller]
    fn by(site: &'a Site, words: &str, sipvicious: Option<&Path>) -> Self {
        // nmap knocks with two empty datagrams, which pass as the keep-alives that they are, and which no server
        // answers.
        let outside = site.tcpdump_outside(&format!("udp and host {FAR} and udp[4:2] > 8"));
        let (before, began) = (site.stats().dropped(), Instant::now());
        let done = command(site, words, sipvicious).output().unwrap();
        let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        Self { site, outside, before, said, took: began.elapsed() }
    }

    fn packets(&self, from: IpAddr) -> u64 {
        let head = format!(" IP {from}.");
        self.outside.log().lines().filter(|line| line.contains(&head)).count() as u64
    }

    fn sent(&self) -> u64 {
        self.packets(FAR.into())
    }

    fn answered(&self) -> u64 {
        self.packets(SERVER4)
    }

    /// What was dropped since it began, by rule; the phones lose nothing.
    fn dropped(&self) -> BTreeMap<String, u64> {
        let mut dropped = self.site.stats().dropped();
        for (reason, count) in &self.before {
            *dropped.entry(reason.clone()).or_default() -= count;
        }
        dropped.retain(|_, count| *count > 0);
        dropped
    }

    /// Waits until each packet that it sent has been answered or dropped.
    #[track_caller]
    fn settle(&self) {
        wait_until("each packet is answered or dropped", PATIENCE, || {
            let sent = self.sent();
            sent > 0 && self.answered() + self.dropped().values().sum::<u64>() == sent
        });
    }
}

fn command(site: &Site, words: &str, sipvicious: Option<&Path>) -> Command {
    let passwords = site.path("words");
    std::fs::write(&passwords, format!("1234\n0000\n1000\n{PASSWORD}\n")).unwrap();
    let words = words.replace("WORDS", passwords.to_str().unwrap());
    let (tool, rest) = words.split_once(' ').unwrap();
    let mut command = match sipvicious {
        None => site.caller.command(tool),
        Some(copy) => {
            let mut python = site.caller.command("python3");
            python.arg("-c").arg(format!("from sipvicious.{tool} import main; main()")).env("PYTHONPATH", copy);
            python
        }
    };
    match tool {
        "sipsak" => command.args(format!("{rest}{SERVER4}").split(' ')),
        _ => command.args(rest.split(' ')).arg(SERVER4.to_string()),
    };
    // SIPVicious keeps its sessions at home.
    command.env("HOME", site.path("")).current_dir(site.path(""));
    command
}

/// The tool says that it has found nothing, no byte came back to it, and all that it sent was dropped by this rule.
#[track_caller]
fn finds_nothing(site: &Site, words: &str, sipvicious: Option<&Path>, finds: &str, rule: &str) {
    let told = Told::by(site, words, sipvicious);
    assert!(!told.said.contains(finds), "{words} has found it:\n{}", told.said);
    told.settle();
    let sent = told.sent();
    assert_eq!(told.dropped(), BTreeMap::from([(rule.to_owned(), sent)]), "{words}:\n{}", told.said);
    assert_eq!(told.answered(), 0, "{words} was answered:\n{}", told.said);
    println!("{words}: {sent} sent, all dropped as {rule}");
}

/// The control: it finds what it looks for.
#[track_caller]
fn finds_it(site: &Site, words: &str, sipvicious: Option<&Path>, finds: &str) {
    let told = Told::by(site, words, sipvicious);
    assert!(told.said.contains(finds), "{words} does not find it:\n{}", told.said);
    wait_until("the answer is seen", PATIENCE, || told.answered() > 0);
}

#[test]
fn no_tool_finds_anything_while_the_phones_call() {
    if !vos_bench::ready(&TOOLS) {
        return;
    }
    let site = telephones("profile = \"internet-edge\"\n");
    let mut phones = Phones::start(&site);
    for Scan { words, stopped_by, finds } in scans() {
        finds_nothing(&site, &words, None, finds, stopped_by);
        phones.call();
    }
    // The control: nothing enforced, each of them finds what it looks for.
    site.told(&["rule", "all", "off"]);
    for Scan { words, finds, .. } in scans() {
        finds_it(&site, &words, None, finds);
    }
    phones.end();
}

/// A copy of SIPVicious that signs as an ordinary phone: its source has the words in one place each.
fn disguised(site: &Site) -> PathBuf {
    let copy = site.path("disguised");
    output(Command::new("cp").arg("-r").arg(SIPVICIOUS).arg(&copy)).unwrap();
    for (file, sign, instead) in [
        ("libs/svhelper.py", "friendly-scanner", "Yealink SIP-T46U 108.86.0.20"),
        ("svmap.py", "default=\"sipvicious\"", "default=\"Reception\""),
    ] {
        let file = copy.join("sipvicious").join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(sign), "{}: no {sign}", file.display());
        std::fs::write(&file, text.replace(sign, instead)).unwrap();
    }
    copy
}

#[test]
fn who_hides_his_signature_finds_nothing_where_domains_are_named() {
    if !vos_bench::ready(&TOOLS) {
        return;
    }
    let edge = "profile = \"internet-edge\"\n";
    let named = format!("{edge}[xdp]\ndomains = [\"{DOMAIN}\"]\n");
    let site = telephones(&named);
    let mut phones = Phones::start(&site);
    let copy = disguised(&site);
    let registers = [
        ("svmap -m REGISTER", "192.0.2.1:5060"),
        ("svwar -e 998-1001 -m REGISTER", USER),
        ("svcrack -u 1000 -d WORDS", PASSWORD),
    ];
    for (words, finds) in registers {
        finds_nothing(&site, words, Some(&copy), finds, "foreign_domain");
        phones.call();
    }
    for words in ["svmap -m OPTIONS", "svmap -m INVITE"] {
        finds_nothing(&site, words, Some(&copy), "192.0.2.1:5060", "stealth");
    }
    // The control, and the truth about a server that names no domain: REGISTER is answered, and a user is found. Where
    // nobody is suspended, all that slows who guesses his password is the rate.
    site.reconfigure(&format!("{edge}[registration]\nsuspend = false\n"));
    for (words, finds) in &registers[..2] {
        finds_it(&site, words, Some(&copy), finds);
        phones.call();
    }
    let wrong: String = (0..140).map(|n| format!("{n:04}\n")).collect();
    std::fs::write(site.path("wrong"), wrong).unwrap();
    let guesses = Told::by(&site, &format!("svcrack -u 1000 -d {}", site.path("wrong").display()), Some(&copy));
    guesses.settle();
    let (sent, answered, dropped, took) = (guesses.sent(), guesses.answered(), guesses.dropped(), guesses.took);
    // rates.unknown.register of the profile
    let (rate, burst) = (5, 100);
    assert!(
        answered > burst / 2 && answered <= burst + rate * (took.as_secs() + 1),
        "{answered} of {sent} in {took:?}"
    );
    assert_eq!(dropped, BTreeMap::from([("rate_register".to_owned(), sent - answered)]), "{sent} sent in {took:?}");
    println!("svcrack: {answered} of {sent} answered in {took:?}");
    phones.end();
}
