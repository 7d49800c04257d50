//! Scanner signatures: texts that scanning tools write into User-Agent, From, To and SDP's `s=`.
//!
//! Every fourth 4-gram of a request is looked up in a table; where one is found, the text around it is compared with
//! the pattern, and then it is asked whether it stands where tools hide theirs. A pattern has [`PATTERN_MIN`] bytes or
//! more: of its 4-grams the table holds the rarest at each remainder of four, so wherever it stands, one of them is at a
//! multiple of four. A full automaton costs ten times as much.

/// Compiling: user space's part, here because the table is written where it is read.
mod compile;

pub use compile::PatternError;

use crate::packet::Frame;
use crate::sip::find;

/// Slots of the 4-gram table.
pub const GRAM_SLOTS: usize = 4096;
/// Patterns, at most.
pub const PATTERNS_MAX: usize = 63;
/// Shortest pattern, bytes.
pub const PATTERN_MIN: usize = 7;
/// Longest pattern, bytes.
pub const PATTERN_MAX: usize = 32;
/// Patterns that may share a 4-gram.
pub const CANDIDATES: usize = 4;
/// Bytes of a request that are looked through: more than a frame of an ordinary MTU holds.
pub const SCAN_MAX: usize = 2048;
/// Places at which a 4-gram is found that are looked at. What has more of them is taken for a scanner: they cost time,
/// and who strews them wants to be overlooked. A domain that shares letters with a pattern stands in a dozen places.
pub const SUSPECTS_MAX: usize = 24;
/// How far in front of a signature its line may begin, bytes.
pub const LINE_BACK: usize = 256;

/// Bytes looked at together.
const BLOCK: usize = 32;
/// Lower case, and what little else becomes alike by it (`[` and `{`).
const FOLD: u64 = 0x2020_2020_2020_2020;

/// The compiled patterns: a value of the SIGNATURES map. Filled by user space.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signatures {
    /// By [`slot`]: the 4-gram there, first byte lowest; 0 where none is.
    pub grams: [u32; GRAM_SLOTS],
    /// Beside each 4-gram up to [`CANDIDATES`] bytes pairs, lowest first: number of the pattern plus one in the low byte,
    /// offset of the 4-gram in it in the high one; 0 where none is.
    pub candidates: [u64; GRAM_SLOTS],
    /// Bytes of each pattern; 0 where none is.
    pub lengths: [u64; PATTERNS_MAX + 1],
    /// The patterns, each byte ORed with 0x20.
    pub texts: [[u8; PATTERN_MAX]; PATTERNS_MAX + 1],
    /// Multiplier of [`slot`], chosen so that no two 4-grams share a slot; odd.
    pub multiplier: u64,
    /// Is there any pattern? 0 or 1.
    pub any: u64,
}

impl Signatures {
    /// No pattern.
    pub const EMPTY: Self = Self {
        grams: [0; GRAM_SLOTS],
        candidates: [0; GRAM_SLOTS],
        lengths: [0; PATTERNS_MAX + 1],
        texts: [[0; PATTERN_MAX]; PATTERNS_MAX + 1],
        multiplier: 1,
        any: 0,
    };
}

/// The slot of a 4-gram, below [`GRAM_SLOTS`].
#[inline(always)]
pub const fn slot(gram: u32, multiplier: u64) -> usize {
    ((gram as u64).wrapping_mul(multiplier) >> 20) as usize & (GRAM_SLOTS - 1)
}

/// A byte as patterns hold it.
#[inline(always)]
pub const fn fold(byte: u8) -> u8 {
    byte | 0x20
}

/// Where the compiled patterns are: in the kernel each index is masked where the verifier sees it.
pub trait Patterns {
    /// Multiplier of [`slot`].
    fn multiplier(&self) -> u64;
    /// [`Signatures::grams`]
    fn gram(&self, slot: usize) -> u32;
    /// [`Signatures::candidates`]
    fn candidates(&self, slot: usize) -> u64;
    /// [`Signatures::lengths`]
    fn length(&self, pattern: usize) -> usize;
    /// A byte of [`Signatures::texts`]
    fn text(&self, pattern: usize, at: usize) -> u8;
}

impl Patterns for &Signatures {
    fn multiplier(&self) -> u64 {
        self.multiplier
    }
    fn gram(&self, slot: usize) -> u32 {
        self.grams[slot & (GRAM_SLOTS - 1)]
    }
    fn candidates(&self, slot: usize) -> u64 {
        self.candidates[slot & (GRAM_SLOTS - 1)]
    }
    fn length(&self, pattern: usize) -> usize {
        self.lengths[pattern & PATTERNS_MAX] as usize
    }
    fn text(&self, pattern: usize, at: usize) -> u8 {
        self.texts[pattern & PATTERNS_MAX][at & (PATTERN_MAX - 1)]
    }
}

/// Is there a signature in a request that begins at `start`? `next` is [`suspect`], `confirm` is [`confirm`]: in the
/// kernel each is verified apart.
#[inline(always)]
pub fn scan(start: usize, next: impl Fn(usize) -> Option<usize>, confirm: impl Fn(usize) -> bool) -> bool {
    let mut at = start;
    for _ in 0..SUSPECTS_MAX {
        let Some(found) = next(at) else { return false };
        if confirm(found) {
            return true;
        }
        at = found + 4;
    }
    next(at).is_some()
}

/// The next place from `at` on, in steps of four, at which a 4-gram of a pattern stands.
#[inline(always)]
pub fn suspect(f: &impl Frame, p: &impl Patterns, mut at: usize, end: usize) -> Option<usize> {
    let multiplier = p.multiplier();
    // 0 if the 4-gram is in the table.
    let differs = |gram: u64| {
        let gram = gram as u32;
        u64::from(p.gram(slot(gram, multiplier)) ^ gram)
    };
    for _ in 0..SCAN_MAX / BLOCK {
        if at + BLOCK > end {
            break;
        }
        let [a, b, c, d] = f.words::<4>(at)?;
        let (a, b, c, d) = (a | FOLD, b | FOLD, c | FOLD, d | FOLD);
        // The product of two 32-bit numbers is 0 if and only if one of them is: one branch for two comparisons.
        let both = |word: u64| differs(word).wrapping_mul(differs(word >> 32));
        if both(a) == 0 || both(b) == 0 || both(c) == 0 || both(d) == 0 {
            break;
        }
        at += BLOCK;
    }
    // In this block, or in what is left, which is less. One path from here on.
    let mut at = f.settle(at);
    for _ in 0..BLOCK / 4 {
        if at + 4 > end {
            break;
        }
        let gram = u32::from_le_bytes(f.load::<4>(at)?);
        if differs(u64::from(gram) | FOLD) == 0 {
            return Some(at);
        }
        at += 4;
    }
    None
}

/// Does a signature stand around the 4-gram at `at`, in a place where tools write theirs? Gives the pattern's number
/// plus one, or 0.
#[inline(always)]
pub fn confirm(f: &impl Frame, p: &impl Patterns, start: usize, end: usize, at: usize) -> usize {
    let Some(gram) = f.load::<4>(at) else { return 0 };
    let slot = slot(u32::from_le_bytes(gram) | FOLD as u32, p.multiplier());
    let mut candidates = p.candidates(slot);
    for _ in 0..CANDIDATES {
        if candidates == 0 {
            break;
        }
        let (number, offset) = ((candidates & 0xff) as usize, (candidates >> 8 & 0xff) as usize);
        candidates >>= 16;
        if at < start + offset {
            continue;
        }
        let from = f.settle(at - offset);
        if is_at(f, p, number - 1, from, end) && is_place(f, start, from) {
            return number;
        }
    }
    0
}

/// Does the pattern stand at `from`?
#[inline(always)]
fn is_at(f: &impl Frame, p: &impl Patterns, pattern: usize, from: usize, end: usize) -> bool {
    let length = p.length(pattern);
    if from + length > end {
        return false;
    }
    for i in 0..PATTERN_MAX {
        if i >= length {
            break;
        }
        let Some(byte) = f.u8(from + i) else { return false };
        if fold(byte) != p.text(pattern, i) {
            return false;
        }
    }
    true
}

/// Does `at` stand in User-Agent, From, To or SDP's `s=`? So does what stands in a folded line, whose name is further
/// up: nothing but From and To is folded in the wild, and who folds a scanner's name elsewhere means to hide it.
#[inline(always)]
fn is_place(f: &impl Frame, start: usize, at: usize) -> bool {
    let mut line = at;
    for _ in 0..LINE_BACK / 8 {
        if line < start + 8 {
            // the start line, or near it
            return false;
        }
        let Some(word) = f.le64(f.settle(line - 8)) else { return false };
        let feed = find_last(word);
        if feed != 0 {
            line = f.settle(line - 8 + feed);
            let Some(head) = f.le64(line) else { return false };
            return is_name(head);
        }
        line = f.settle(line - 8);
    }
    false
}

/// The position behind the last LF of a word, 1 to 8; 0 if it has none.
#[inline(always)]
fn find_last(word: u64) -> usize {
    // From the other end: bytes reversed, the first LF is the last.
    let hit = find(word.swap_bytes(), b'\n');
    if hit == 0 { 0 } else { 8 - (hit.trailing_zeros() / 8) as usize }
}

/// Do these first eight bytes of a line begin one of the fields that are looked at?
#[inline(always)]
const fn is_name(head: u64) -> bool {
    const fn word(bytes: [u8; 8]) -> u64 {
        u64::from_le_bytes(bytes)
    }
    // `:` or a blank behind the name
    const fn ends(byte: u64) -> bool {
        matches!(byte as u8, b':' | b' ' | b'\t')
    }
    let first = head as u8;
    if first == b' ' || first == b'\t' {
        return true;
    }
    let low = head | FOLD;
    if low == word(*b"user-age") {
        return true;
    }
    if low as u32 == word(*b"from\0\0\0\0") as u32 {
        return ends(head >> 32);
    }
    if low as u16 == word(*b"to\0\0\0\0\0\0") as u16 {
        return ends(head >> 16);
    }
    if first == b's' {
        return (head >> 8) as u8 == b'=';
    }
    (first | 0x20 == b'f' || first | 0x20 == b't') && ends(head >> 8)
}

#[cfg(feature = "user")]
// SAFETY: repr(C) of numbers whose sizes are multiples of 8 in all: no padding.
unsafe impl aya::Pod for Signatures {}

const _: () = assert!(size_of::<Signatures>() == 12 * GRAM_SLOTS + (8 + PATTERN_MAX) * (PATTERNS_MAX + 1) + 16);
