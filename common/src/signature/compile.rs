use core::fmt;

use super::{CANDIDATES, GRAM_SLOTS, PATTERN_MAX, PATTERN_MIN, PATTERNS_MAX, Signatures, fold, slot};

/// A list of patterns that cannot be compiled. The message names the fix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatternError {
    /// More than [`PATTERNS_MAX`].
    TooMany,
    /// A pattern is shorter than [`PATTERN_MIN`] or longer than [`PATTERN_MAX`]: its position.
    Length(usize),
    /// A pattern holds something else than printable ASCII: its position.
    Text(usize),
    /// A pattern is written twice: the position of the second.
    Twice(usize),
    /// Too many patterns have a part in common: the position of the one too many.
    Alike(usize),
    /// No table was found in which every 4-gram has a slot of its own.
    Crowded,
}

impl core::error::Error for PatternError {}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "more than {PATTERNS_MAX} patterns: take some out"),
            Self::Length(_) => write!(
                f,
                "a pattern has {PATTERN_MIN} to {PATTERN_MAX} bytes; write a short one with its field, as in \"User-Agent: smap\""
            ),
            Self::Text(_) => f.write_str("a pattern is printable ASCII"),
            Self::Twice(_) => f.write_str("this pattern is there twice (upper and lower case are alike)"),
            Self::Alike(_) => write!(f, "more than {CANDIDATES} patterns share a part: write fewer, or a longer one"),
            Self::Crowded => f.write_str("these patterns find no room together: take some out"),
        }
    }
}

/// What ordinary messages are full of, as often as they are: 4-grams of it would be found in all of them.
const ORDINARY: &[u8] = b"register sip: invite sip: options sip: message sip: via: sip/2.0/udp via: sip/2.0/udp sip/2.0 \
from: <sip: to: <sip: contact: <sip: route: <sip: record-route: <sip: from: sip: to: sip: contact: sip: uri=sip: \
<sips: ;tag= ;branch=z9hg4bk ;rport ;lr> ;transport=udp ;user=phone >;expires=3600 user-agent: server: call-id: cseq: \
max-forwards: 70 content-length: content-type: application/sdp allow: invite, ack, cancel, options, bye, refer, notify, \
message, subscribe, info, prack, update, register, publish expires: 3600 authorization: digest username= realm= nonce= \
response= algorithm=md5 supported: replaces, timer, path, outbound, 100rel accept: event: presence \
p-asserted-identity: <sip: anonymous unknown v=0 o=- s=session s=talk s=- c=in ip4 t=0 0 m=audio rtp/avp a=rtpmap: \
a=sendrecv telephone-event sip-ua sip phone sipp scan scanner friendly client server system user voip proxy gateway \
asterisk pbx agent: sip trunk agent: a";

/// Multipliers tried before giving up. With the 252 4-grams of 63 patterns one in 2,500 will do.
const TRIES: u64 = 200_000;

impl Signatures {
    /// Compiles patterns into a table: each is looked for in User-Agent, From, To and SDP's `s=`, in any case.
    ///
    /// # Errors
    /// The table is then without patterns.
    pub fn compile(&mut self, patterns: &[&str]) -> Result<(), PatternError> {
        *self = Self::EMPTY;
        if patterns.len() > PATTERNS_MAX {
            return Err(PatternError::TooMany);
        }
        for (position, pattern) in patterns.iter().enumerate() {
            if let Err(error) = self.take(position, pattern.as_bytes()) {
                *self = Self::EMPTY;
                return Err(error);
            }
        }
        let grams = match Grams::of(self, patterns.len()) {
            Ok(grams) => grams,
            Err(error) => {
                *self = Self::EMPTY;
                return Err(error);
            }
        };
        // odd numbers that have little to do with each other
        let multipliers = (0..TRIES).map(|n| crate::state::mix(n, 0x51_9a_7e) | 1);
        let Some(multiplier) = multipliers.into_iter().find(|multiplier| grams.fit(*multiplier)) else {
            *self = Self::EMPTY;
            return Err(PatternError::Crowded);
        };
        for (gram, candidates) in grams.all() {
            let slot = slot(gram, multiplier);
            (self.grams[slot], self.candidates[slot]) = (gram, candidates);
        }
        self.multiplier = multiplier;
        self.any = u64::from(!patterns.is_empty());
        Ok(())
    }

    fn take(&mut self, position: usize, pattern: &[u8]) -> Result<(), PatternError> {
        if !(PATTERN_MIN..=PATTERN_MAX).contains(&pattern.len()) {
            return Err(PatternError::Length(position));
        }
        if !pattern.iter().all(|byte| (b' '..0x7f).contains(byte)) {
            return Err(PatternError::Text(position));
        }
        for (to, byte) in self.texts[position].iter_mut().zip(pattern) {
            *to = fold(*byte);
        }
        self.lengths[position] = pattern.len() as u64;
        let same = |earlier: usize| {
            self.lengths[earlier] == self.lengths[position] && self.texts[earlier] == self.texts[position]
        };
        if (0..position).any(same) { Err(PatternError::Twice(position)) } else { Ok(()) }
    }
}

/// Each 4-gram that is looked for, once, with its [`Signatures::candidates`].
struct Grams {
    grams: [u32; 4 * PATTERNS_MAX],
    candidates: [u64; 4 * PATTERNS_MAX],
    len: usize,
}

impl Grams {
    /// Those of the first `patterns` of the table.
    fn of(table: &Signatures, patterns: usize) -> Result<Self, PatternError> {
        let mut all = Self { grams: [0; 4 * PATTERNS_MAX], candidates: [0; 4 * PATTERNS_MAX], len: 0 };
        for pattern in 0..patterns {
            let text = &table.texts[pattern][..table.lengths[pattern] as usize];
            // Wherever the pattern stands, one 4-gram of each remainder is at a multiple of four.
            for remainder in 0..4 {
                let offset = all.rarest(text, remainder).ok_or(PatternError::Alike(pattern))?;
                let candidate = (pattern as u64 + 1) | (offset as u64) << 8;
                let candidates = all.candidates(gram(text, offset));
                let free = room(*candidates).ok_or(PatternError::Alike(pattern))?;
                *candidates |= candidate << (16 * free);
            }
        }
        Ok(all)
    }

    /// Where in a pattern that 4-gram stands which ordinary messages have least, of those at `remainder` and every four
    /// bytes behind it; `None` if there is room for none.
    fn rarest(&self, text: &[u8], remainder: usize) -> Option<usize> {
        let has_room = |at: &usize| {
            let gram = gram(text, *at);
            self.all().find(|(held, _)| *held == gram).is_none_or(|(_, candidates)| room(candidates).is_some())
        };
        (remainder..=text.len() - 4).step_by(4).filter(has_room).min_by_key(|at| ordinary(gram(text, *at)))
    }

    /// The candidates of a 4-gram, which is added if it is new.
    fn candidates(&mut self, gram: u32) -> &mut u64 {
        let at = self.grams[..self.len].iter().position(|held| *held == gram).unwrap_or(self.len);
        self.grams[at] = gram;
        self.len = self.len.max(at + 1);
        &mut self.candidates[at]
    }

    fn all(&self) -> impl Iterator<Item = (u32, u64)> {
        self.grams[..self.len].iter().copied().zip(self.candidates)
    }

    /// Has each a slot of its own?
    fn fit(&self, multiplier: u64) -> bool {
        let mut taken = [0u64; GRAM_SLOTS / 64];
        self.grams[..self.len].iter().all(|gram| {
            let slot = slot(*gram, multiplier);
            let bit = 1 << (slot & 63);
            let free = taken[slot / 64] & bit == 0;
            taken[slot / 64] |= bit;
            free
        })
    }
}

fn gram(text: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]])
}

/// Which of [`CANDIDATES`] is free.
fn room(candidates: u64) -> Option<usize> {
    (0..CANDIDATES).find(|n| candidates >> (16 * n) & 0xffff == 0)
}

/// How often a 4-gram is found in ordinary messages; then whether it may be part of somebody's name.
fn ordinary(gram: u32) -> (usize, bool) {
    let gram = gram.to_le_bytes();
    let found = ORDINARY.windows(4).filter(|window| window.iter().map(|byte| fold(*byte)).eq(gram)).count();
    (found, gram.iter().all(u8::is_ascii_alphanumeric))
}
