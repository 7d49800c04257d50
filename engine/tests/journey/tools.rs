//! What attackers use, as they find it in Debian, against a telephone system behind the profile `internet-edge`: they
//! find no server and no user and get no answer, while its phones register and call.
//!
//! What stops each is asserted, too. By its User-Agent a tool is known only as long as nobody changes that: whoever
//! does gets an answer to REGISTER, by which phones make themselves known, and is slowed by rates alone, unless
//! `xdp.domains` says under which names the server is asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use vos_bench::process::output;

use crate::registrar::{DOMAIN, PASSWORD, Phones, REGISTRAR, USER};
use crate::site::{self, FAR, PATIENCE, SERVER4, Site};

/// Debian's package `sipvicious`.
const SIPVICIOUS: &str = "/usr/share/sipvicious";
const TOOLS: [&str; 7] = ["kamailio", "sipp", "tcpdump", "svmap", "svwar", "svcrack", "sipsak"];

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

/// All tools by all methods, as their manuals say. nmap where it is installed.
fn scans() -> Vec<Scan> {
    let mut scans = vec![
        scan("svmap -m OPTIONS", "stealth", "192.0.2.1:5060"),
        scan("svmap -m INVITE", "stealth", "192.0.2.1:5060"),
        scan("svmap -m REGISTER", "scanner", "192.0.2.1:5060"),
        scan("svwar -e 998-1001 -m OPTIONS", "stealth", USER),
        scan("svwar -e 998-1001 -m INVITE", "stealth", USER),
        scan("svwar -e 998-1001 -m REGISTER", "scanner", USER),
        scan("svcrack -u 1000 -d WORDS", "scanner", PASSWORD),
        // Its first timer, in ms: it sends again until 64 times as much is over.
        scan("sipsak --timer-t1=50 -v -s sip:1000@", "stealth", "SIP/2.0 200"),
    ];
    if there("nmap") {
        scans.push(scan("nmap -n -Pn -sU -p 5060 --script sip-methods", "stealth", "INVITE, ACK, BYE"));
    }
    scans
}

fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// What a tool has said and what the wire has seen of it.
struct Told {
    said: String,
    sent: u64,
    answered: u64,
    /// What was dropped meanwhile, by rule; the phones lose nothing.
    dropped: BTreeMap<String, u64>,
}

/// Runs a tool from [`FAR`]; its own opinion of how that went does not matter.
#[track_caller]
fn run(site: &Site, words: &str, sipvicious: Option<&Path>) -> Told {
    // nmap knocks with two empty datagrams, which pass as the keep-alives that they are, and which no server answers.
    let outside = site.tcpdump_outside(&format!("udp and host {FAR} and udp[4:2] > 8"));
    let before = site.stats().dropped();
    let done = command(site, words, sipvicious).output().unwrap();
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let packets = |from: std::net::IpAddr| {
        let head = format!(" IP {from}.");
        outside.log().lines().filter(|line| line.contains(&head)).count() as u64
    };
    // The tool is gone, tcpdump shows what it takes from the wire at once, and so does the filter: once both agree.
    let mut told = Told { said, sent: 0, answered: 0, dropped: BTreeMap::new() };
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        told.dropped = site.stats().dropped();
        for (reason, count) in &before {
            *told.dropped.entry(reason.clone()).or_default() -= count;
        }
        told.dropped.retain(|_, count| *count > 0);
        (told.sent, told.answered) = (packets(FAR.into()), packets(SERVER4));
        let settled = told.sent > 0 && (told.answered > 0 || told.dropped.values().sum::<u64>() == told.sent);
        if settled || std::time::Instant::now() > end {
            return told;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
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
    let told = run(site, words, sipvicious);
    assert!(!told.said.contains(finds), "{words} has found it:\n{}", told.said);
    assert_eq!(told.answered, 0, "{words} was answered:\n{}", told.said);
    assert!(told.sent > 0, "{words} has sent nothing:\n{}", told.said);
    assert_eq!(told.dropped, BTreeMap::from([(rule.to_owned(), told.sent)]), "{words}:\n{}", told.said);
    println!("{words}: {} sent, all dropped as {rule}", told.sent);
}

/// The control: it finds what it looks for.
#[track_caller]
fn finds_it(site: &Site, words: &str, sipvicious: Option<&Path>, finds: &str) -> Told {
    let told = run(site, words, sipvicious);
    assert!(told.said.contains(finds) && told.answered > 0, "{words} does not find it:\n{}", told.said);
    told
}

#[test]
fn no_tool_finds_anything_while_the_phones_call() {
    if !site::ready(&TOOLS) {
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
fn disguised(site: &Site) -> std::path::PathBuf {
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
    if !site::ready(&TOOLS) {
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
    // The control, and the truth about a server that names no domain: REGISTER is answered, a user is found and a weak
    // password guessed. All that is left are the rates.
    site.reconfigure(edge);
    for (words, finds) in &registers[..2] {
        finds_it(&site, words, Some(&copy), finds);
        phones.call();
    }
    let many: String = (0..150).map(|n| format!("{n:04}\n")).collect();
    std::fs::write(site.path("many"), many).unwrap();
    let guesses =
        run(&site, &format!("svcrack -u 1000 -d {} --maximumtime 2", site.path("many").display()), Some(&copy));
    assert!(
        guesses.answered > 0 && guesses.dropped.get("rate_register").is_some_and(|n| *n > 0),
        "{:?}",
        guesses.dropped
    );
    phones.end();
}
