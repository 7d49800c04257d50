//! Frames of all kinds from a seed, so that a failure repeats: the table's, mutated, and new ones.

use vos_common::cases::{
    self, ALLOWED_V4, ALLOWED_V6, BEHIND_V4, BLOCKED_V4, BLOCKED_V6, CALLER_V4, CALLER_V6, EXPIRED_V4,
    GATEWAY_LARGE_V6, GATEWAY_V4, OWN_V6, Packet, TRUSTED_V4, VERIFIED_V4, VERIFIED_V6,
};
use vos_common::reason::Reason;
use vos_common::state::{BUDGETS, Config};

use crate::kernel::runs;

/// Xorshift (Marsaglia 2003).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

pub(crate) struct Frames {
    table: Vec<Vec<u8>>,
}

impl Frames {
    pub(crate) fn new() -> Self {
        let table = cases::all().into_iter().map(|case| case.frame);
        Self { table: table.filter(|frame| frame.len() >= 60 && runs(frame)).collect() }
    }

    pub(crate) fn frame(&self, random: &mut Random) -> Vec<u8> {
        match random.below(5) {
            0 => self.table[random.below(self.table.len())].clone(),
            1 => {
                let mut frame = self.table[random.below(self.table.len())].clone();
                mutate(&mut frame, random);
                frame
            }
            2 | 3 => packet(random).build(),
            _ => {
                let mut frame = packet(random).build();
                mutate(&mut frame, random);
                frame
            }
        }
    }
}

fn mutate(frame: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        // in half of all cases among the headers
        let at = if random.one_in(2) { random.below(60.min(frame.len())) } else { random.below(frame.len()) };
        frame[at] = match random.below(3) {
            0 => random.next() as u8,
            1 => frame[at] ^ 1 << random.below(8),
            _ => random.pick(b"\0\r\n\t :;/=sftFTSIP2.0"),
        };
    }
    if random.one_in(8) {
        frame.truncate(14 + random.below(frame.len() - 14));
    }
}

/// Few enough that their limits are met.
fn source(random: &mut Random) -> Packet {
    let n = random.below(6) as u8;
    match random.below(18) {
        0 => Packet::v4(VERIFIED_V4),
        1 => Packet::v6(VERIFIED_V6),
        2 => Packet::v4(TRUSTED_V4),
        3 => Packet::v4(ALLOWED_V4),
        4 => Packet::v6(ALLOWED_V6),
        5 => Packet::v4(BLOCKED_V4),
        6 => Packet::v6(BLOCKED_V6),
        7 => Packet::v4(EXPIRED_V4),
        8 => Packet::v6(OWN_V6),
        9 => Packet::v4(CALLER_V4),
        10 => Packet::v6(CALLER_V6),
        11 => Packet::v4([203, 0, 113, 6 + n]),
        12 => Packet::v4([198, 51, 100, 6 + n]),
        13 => Packet::v4([10, 0, n, n]),
        14 => {
            let [a, b, c, _] = GATEWAY_V4;
            Packet::v4([a, b, c, 61 + n])
        }
        15 => {
            let mut address = GATEWAY_LARGE_V6;
            address[7] = 5 + n;
            Packet::v6(address)
        }
        16 => {
            let mut address = CALLER_V6;
            (address[7], address[15]) = (n, random.next() as u8);
            Packet::v6(address)
        }
        _ => Packet::v4([10, 0, random.next() as u8, random.next() as u8]),
    }
}

fn packet(random: &mut Random) -> Packet {
    let mut packet = source(random);
    for _ in 0..[0, 0, 0, 0, 0, 0, 0, 1, 2, 3][random.below(10)] {
        packet = packet.vlan(random.pick(&[0x8100, 0x88a8]), random.next() as u16);
    }
    if random.one_in(8) {
        packet = packet.options(&vec![1; 4 * random.below(11)]);
    }
    for _ in 0..[0, 0, 0, 0, 1, 2, 6, 7][random.below(8)] {
        let words = if random.one_in(20) { 100 } else { random.below(3) };
        let mut header = vec![0; 7 + 8 * words];
        header[0] = words as u8;
        packet = packet.extension(random.pick(&[0, 43, 60]), &header);
    }
    if random.one_in(16) {
        packet = packet.to(&random.pick(&[BEHIND_V4, [192, 0, 2, 77]]));
    }
    packet = match random.below(20) {
        0 => packet.tcp(5060, random.next() as u8, b""),
        1 => packet.sctp(5060),
        2 => packet.raw(17, &payload(random)),
        _ => packet.udp(random.pick(&[5060, 5060, 5060, 5060, 5060, 5060, 5080, 4000]), &payload(random)),
    };
    if random.one_in(12) {
        packet = packet.udp_length(random.below(2_000) as u16);
    }
    if random.one_in(10) {
        let offset = if random.one_in(2) { 0 } else { 8 * random.below(8_000) as u16 };
        packet = packet.fragment(offset, random.one_in(2), random.next() as u32);
    }
    if random.one_in(10) { packet.padding(random.below(40)) } else { packet }
}

const METHODS: [&str; 18] = [
    "REGISTER",
    "INVITE",
    "OPTIONS",
    "ACK",
    "BYE",
    "CANCEL",
    "PRACK",
    "UPDATE",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "PUBLISH",
    "REFER",
    "INFO",
    "X",
    "OPTIONSS",
    "NEWMETHOD",
    "!interesting-Method",
];
const NAMES: [&str; 18] = [
    "User-Agent: ",
    "From: ",
    "To: ",
    "f:",
    "t:",
    "s=",
    "s: ",
    "Contact: ",
    "Subject: ",
    " ",
    "\t",
    "X: ",
    "user-agent:",
    "FROM\t:",
    "T : ",
    "Call-ID: ",
    "Via: ",
    "o=",
];

fn payload(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => vec![random.pick(b"\0\r\nx"); random.below(40)],
        1 => (0..random.below(60)).map(|_| random.next() as u8).collect(),
        2 => [&b"SIP/2.0 200 OK\r\n"[..], lines(random).as_bytes()].concat(),
        3 => [&[0, 1, 0, random.below(30) as u8, 0x21, 0x12, 0xa4, 0x42][..], &vec![b'x'; random.below(30)]].concat(),
        _ => request(random).into_bytes(),
    }
}

fn request(random: &mut Random) -> String {
    // Those that have limits of their own more often.
    let often = if random.one_in(2) { 3 } else { METHODS.len() };
    let method = random.pick(&METHODS[..often]).to_string();
    let method = match random.below(4) {
        0 => method.to_lowercase(),
        1 => method.chars().map(|c| if random.one_in(2) { c.to_ascii_lowercase() } else { c }).collect(),
        _ => method,
    };
    let front = "\r\n".repeat([0, 0, 0, 0, 1, 2, 8, 9][random.below(8)]);
    let blank = random.pick(&[" ", " ", " ", "\t", "  "]);
    let host = "a".repeat(if random.one_in(30) { random.below(2_200) } else { random.below(80) });
    let version = random.pick(&["SIP/2.0", "SIP/2.0", "SIP/2.0", "SIP/2.0", "sip/2.0", "SIP/2.0 ", "SIP/3.0", ""]);
    let end = random.pick(&["\r\n", "\r\n", "\r\n", "\n", "\r", ""]);
    format!("{front}{method}{blank}sip:{host} {version}{end}") + &lines(random)
}

fn lines(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(9) {
        text += random.pick(&NAMES);
        for _ in 0..random.below(4) {
            text += &"y".repeat(if random.one_in(20) { random.below(300) } else { random.below(20) });
            match random.below(4) {
                0 => text += random.pick(&cases::PATTERNS),
                1 => text += &random.pick(&cases::PATTERNS).to_uppercase(),
                2 => {
                    let part = random.pick(&cases::PATTERNS);
                    text += &part[random.below(part.len())..];
                }
                _ => {}
            }
        }
        text += random.pick(&["\r\n", "\r\n", "\n"]);
    }
    text
}

/// Rules enforced, watched and off at random, and the rest of the settings.
pub(crate) fn settings(config: &mut Config, now: u64, random: &mut Random) {
    *config = Config { seed: config.seed, ..cases::config() };
    for reason in Reason::ALL.iter().filter(|reason| reason.is_rule()) {
        let bit = reason.bit();
        match random.below(6) {
            0 => config.enforce &= !bit,
            1 => (config.enforce, config.monitor) = (config.enforce & !bit, config.monitor | bit),
            // without these two little else would be seen
            2 if !matches!(reason, Reason::Closed | Reason::UnknownMethod) => config.enforce |= bit,
            2 if random.one_in(3) => config.enforce |= bit,
            _ => {}
        }
    }
    config.silent = random.pick(&[4, 4, 0, 0x7f, 0x26]);
    config.redirect = if random.one_in(2) { u64::MAX } else { random.next() };
    config.flags |= random.pick(&[0, BUDGETS]);
    config.attack_until = random.pick(&[0, now, now + 1, now + 1_000_000_000, now + cases::HOUR]);
}
