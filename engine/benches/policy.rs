//! What policy with memory costs a worker, packet by packet: the whole pipeline without it and with it, side by side.
//!
//! `cargo bench -p vos-engine --bench policy`. All rows in turn, round by round, so that what else the machine does
//! meanwhile hits all of them; medians of the rounds, and how much more each is than the same packet without policy.

use std::time::Instant;

use vos_common::cases::{self, Packet};
use vos_common::rule::Addr;
use vos_engine::config::{Config, Gateway, Redirect, Size};
use vos_engine::control::clock::Clock;
use vos_engine::pipeline::{self, Context, Scratch, Way};
use vos_engine::policy::{SUSPENSIONS_MAX, Secret, Sources, Suspensions};
use vos_engine::pressure::Pressed;
use vos_engine::reassembly::Reassembly;
use vos_engine::ruleset::Ruleset;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Packets of one row before it is the next one's turn.
const SLICE: usize = 2_000;
const TRUNK: [u8; 4] = [198, 51, 100, 7];
const PHONE: [u8; 4] = [203, 0, 113, 7];

struct Nobody;

impl Sources for Nobody {
    fn is_known(&self, _: &Addr) -> bool {
        false
    }

    fn is_named(&self, _: &Addr) -> bool {
        false
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

/// One packet under one policy, and the ns of each round.
struct Row<'a> {
    packet: &'static str,
    policy: &'static str,
    slice: Box<dyn FnMut(usize) + 'a>,
    rounds: Vec<f64>,
}

fn request(method: &str, more: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(&cases::request(method)).into_owned();
    text.replacen("\r\n\r\n", &format!("\r\n{more}\r\n"), 1).into_bytes()
}

fn credentials() -> String {
    let (nonce, response) = ("5f1c0e2ba7d34c6b8f9e0d1c2b3a4958", "6629fae49393a05397450978507c4ef1");
    format!(
        "Authorization: Digest username=\"100\", realm=\"example.com\", nonce=\"{nonce}\", uri=\"sip:example.com\", \
         response=\"{response}\", algorithm=MD5\r\n"
    )
}

/// As many as may be suspended, and nobody who sends anything here.
fn full(secret: &Secret) -> Result<Suspensions> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("suspensions.json");
    let until = Clock::now().wall_s() + 3_600;
    let one = |n: usize| {
        serde_json::json!({
            "address": "192.0.2.77", "user": format!("{n}@example.com"), "aor": format!("{n}@192.0.2.1"),
            "since": 0, "until": until, "failures": 6, "times": 1,
        })
    };
    std::fs::write(&file, serde_json::to_vec(&(0..SUSPENSIONS_MAX).map(one).collect::<Vec<_>>())?)?;
    Ok(Suspensions::open(secret.clone(), file, Clock::now()))
}

fn main() -> Result<()> {
    // `cargo bench` says --bench, `cargo test` does not: there one round shows that every row works.
    let bench = std::env::args().any(|word| word == "--bench") && std::env::args().all(|word| word != "--test");
    let rounds = if bench { 100 } else { 1 };
    let (secret, fragments, pressed) = (Secret::default(), Reassembly::default(), Pressed::default());
    let (nobody, many) = (Suspensions::new(secret.clone()), full(&secret)?);
    let ruleset = |config: &Config| {
        Ruleset::of(config, &vos_engine::xdp::compile(config, 4_000_000, cases::config()), &Ruleset::default())
    };
    let mut without = Config::default();
    (without.registration.suspend, without.registration.watch) = (false, false);
    without.relay.redirect = Redirect::All;
    let trunk = Gateway {
        name: "trunk".into(),
        from: vec!["198.51.100.0/28".parse()?],
        tier: Some(Size::Wholesale),
        ..Gateway::default()
    };
    let with = Config { gateway: vec![trunk], ..Config::default() };
    let mut recording = with.clone();
    recording.records.file = "/var/lib/vos/records.jsonl".into();
    let [without, with, recording] = [&without, &with, &recording].map(ruleset);
    let context = |rules, suspensions| Context {
        rules,
        sources: &Nobody,
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: None,
        pressed: &pressed,
        suspensions,
    };
    let row = |packet, policy, source: [u8; 4], payload: &[u8], rules, suspensions| {
        let frame = Packet::v4(source).sip(payload).build();
        // Each packet a Call-ID of its own: calls are new ones.
        let call = frame.windows(9).position(|window| window == b"Call-ID: ").map_or(0, |at| at + 9);
        let mut room = frame.clone();
        room.resize(frame.len() + 2_048, 0);
        let (context, mut scratch, length) = (context(rules, suspensions), Scratch::default(), frame.len());
        let slice = move |first: usize| {
            for n in first..first + SLICE {
                room[..length].copy_from_slice(&frame);
                let digits = n.to_be_bytes();
                for (place, byte) in room[call..call + 4].iter_mut().zip(&digits[4..]) {
                    *place = b'a' + byte % 26;
                }
                let outcome = pipeline::handle(&mut room, length, &mut scratch, &context, || n as u64 * 10_000_000);
                std::hint::black_box(outcome);
                std::hint::black_box(scratch.attempts.drain().count());
            }
        };
        Row { packet, policy, slice: Box::new(slice), rounds: Vec::new() }
    };
    let (asks, shows) = (request("REGISTER", ""), request("REGISTER", &credentials()));
    let [invite, bye, ack] = ["INVITE", "BYE", "ACK"].map(|method| request(method, ""));
    let mut rows = vec![
        row("REGISTER", "none", PHONE, &asks, &without, &nobody),
        row("REGISTER", "nobody suspended", PHONE, &asks, &with, &nobody),
        row("REGISTER", "10,000 suspended", PHONE, &asks, &with, &many),
        row("REGISTER, credentials", "none", PHONE, &shows, &without, &nobody),
        row("REGISTER, credentials", "nobody suspended", PHONE, &shows, &with, &nobody),
        row("REGISTER, credentials", "10,000 suspended", PHONE, &shows, &with, &many),
        row("INVITE of a phone", "none", PHONE, &invite, &without, &nobody),
        row("INVITE of a phone", "gateways", PHONE, &invite, &with, &nobody),
        row("INVITE of a phone", "and records", PHONE, &invite, &recording, &nobody),
        row("INVITE of a trunk", "none", TRUNK, &invite, &without, &nobody),
        row("INVITE of a trunk", "gateways", TRUNK, &invite, &with, &nobody),
        row("BYE of a trunk", "none", TRUNK, &bye, &without, &nobody),
        row("BYE of a trunk", "gateways", TRUNK, &bye, &with, &nobody),
        row("ACK of a phone", "none", PHONE, &ack, &without, &nobody),
        row("ACK of a phone", "gateways", PHONE, &ack, &with, &nobody),
    ];
    for round in 0..=rounds {
        for row in &mut rows {
            let start = Instant::now();
            (row.slice)(round * SLICE);
            // The first one warms up.
            if round > 0 {
                row.rounds.push(start.elapsed().as_nanos() as f64 / SLICE as f64);
            }
        }
    }
    println!(
        "ns a packet, {rounds} rounds of {SLICE}\n{:<24}{:<20}{:>8}{:>8}{:>8}",
        "", "policy", "median", "least", "more"
    );
    let mut plain = 0.0;
    for Row { packet, policy, rounds, .. } in &mut rows {
        rounds.sort_by(f64::total_cmp);
        let median = rounds[rounds.len() / 2];
        if *policy == "none" {
            plain = median;
        }
        println!("{packet:<24}{policy:<20}{median:>8.0}{:>8.0}{:>8.0}", rounds[0], median - plain);
    }
    Ok(())
}
