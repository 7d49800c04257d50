//! Short words in one register, so that they compare at once and in any case.

/// The first 16 bytes, and zeros behind them.
#[inline]
pub(crate) const fn of(word: &[u8]) -> u128 {
    if let Some(first) = word.first_chunk() {
        return u128::from_le_bytes(*first);
    }
    // First and last bytes overlap: each comes to its place in both.
    if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
        let high = match u64::from_le_bytes(*last).checked_shr(8 * (16 - word.len() as u32)) {
            Some(high) => high as u128,
            None => 0,
        };
        return u64::from_le_bytes(*first) as u128 | high << 64;
    }
    if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
        let high = (u32::from_le_bytes(*last) as u64) << (8 * (word.len() - 4));
        return (u32::from_le_bytes(*first) as u64 | high) as u128;
    }
    match word {
        [a, b, c] => *a as u128 | (*b as u128) << 8 | (*c as u128) << 16,
        [a, b] => *a as u128 | (*b as u128) << 8,
        [a] => *a as u128,
        _ => 0,
    }
}

/// The first `length` of 16 bytes, and zeros behind them; all 16 if `length` is not below that.
#[inline]
pub(crate) fn of_head(head: &[u8; 16], length: usize) -> u128 {
    static MASKS: [u128; 16] = {
        let mut masks = [0; 16];
        let mut length = 0;
        while length < 16 {
            masks[length] = !(u128::MAX << (8 * length));
            length += 1;
        }
        masks
    };
    u128::from_le_bytes(*head) & MASKS.get(length).unwrap_or(&u128::MAX)
}

/// In lower case: what has bit 6 set gets bit 5. Among the letters and `-` of the words known here
/// this confuses nothing; `-`, having no bit 6, stays apart from CR.
#[inline]
pub(crate) const fn lower(key: u128) -> u128 {
    key | (key & 0x4040_4040_4040_4040_4040_4040_4040_4040) >> 1
}

/// What some words stand for, in any case; found without a search.
pub(crate) struct Table<T, const SLOTS: usize> {
    factor: u64,
    entries: [Entry<T>; SLOTS],
}

/// The length of no word.
const NONE: u8 = u8::MAX;

#[derive(Clone, Copy)]
struct Entry<T> {
    key: u128,
    length: u8,
    meaning: T,
}

impl<T: Copy, const SLOTS: usize> Table<T, SLOTS> {
    /// `SLOTS` is a power of two, and `factor`, found by trial, one that gives each word a slot of its
    /// own. `nothing` is what is meant by none.
    pub(crate) const fn new(words: &[(&str, T)], factor: u64, nothing: T) -> Self {
        let mut table = Self { factor, entries: [Entry { key: 0, length: NONE, meaning: nothing }; SLOTS] };
        let mut i = 0;
        while i < words.len() {
            let (word, meaning) = words[i];
            let (key, length) = (lower(of(word.as_bytes())), word.len());
            let slot = table.slot(key, length);
            assert!(table.entries[slot].length == NONE, "two words share a slot: try another factor");
            table.entries[slot] = Entry { key, length: length as u8, meaning };
            i += 1;
        }
        table
    }

    /// What the word of `length` bytes whose key in lower case is `key` stands for. Of words beyond 16
    /// bytes, only the first 16 have been compared.
    #[inline]
    pub(crate) fn get(&self, key: u128, length: usize) -> Option<T> {
        let entry = &self.entries[self.slot(key, length)];
        let is_it = entry.key == key && usize::from(entry.length) == length;
        is_it.then_some(entry.meaning)
    }

    #[inline]
    const fn slot(&self, key: u128, length: usize) -> usize {
        let mixed = key as u64 ^ ((key >> 64) as u64).rotate_left(29) ^ length as u64;
        (mixed.wrapping_mul(self.factor) >> (u64::BITS - SLOTS.trailing_zeros())) as usize
    }
}
