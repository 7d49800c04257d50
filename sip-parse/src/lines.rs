use wide::u8x32;

/// Finds where the lines of a message's head end, 64 bytes at a time, and looks for line ends that
/// are not CRLF on the way.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    datagram: &'a [u8],
    /// Where the block that is looked at begins.
    start: usize,
    /// The LFs of this block that have not been handed out.
    left: u64,
    /// All LFs of this block, and what is behind a CR.
    lf: u64,
    behind_cr: u64,
    /// Whether the last byte of this block is a CR.
    ends_in_cr: bool,
    /// CRs without LF and LFs without CR of the blocks before it, laid over each other.
    bare_cr: u64,
    bare_lf: u64,
}

/// Line ends that are not CRLF.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare {
    /// A CR without an LF behind it.
    pub(crate) cr: bool,
    /// An LF without a CR before it.
    pub(crate) lf: bool,
}

const BLOCK: usize = 64;

impl<'a> Lines<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        let mut lines =
            Self { datagram, start: 0, left: 0, lf: 0, behind_cr: 0, ends_in_cr: false, bare_cr: 0, bare_lf: 0 };
        lines.load();
        lines
    }

    /// The position of the next LF.
    #[inline]
    pub(crate) fn next_end(&mut self) -> Option<usize> {
        if self.left == 0 && !self.advance() {
            return None;
        }
        let end = self.start + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(end)
    }

    /// Goes on to the next block that holds an LF, if there is one.
    #[inline(never)]
    fn advance(&mut self) -> bool {
        while self.left == 0 {
            if self.datagram.len() - self.start <= BLOCK {
                return false;
            }
            self.bare_cr |= self.behind_cr & !self.lf;
            self.bare_lf |= self.lf & !self.behind_cr;
            self.start += BLOCK;
            self.load();
        }
        true
    }

    /// Which bare line ends there are before `end`, the position behind the LF that was found last.
    pub(crate) fn bare_before(&self, end: usize) -> Bare {
        let length = end.saturating_sub(self.start).min(BLOCK) as u32;
        let looked_at = u64::MAX.checked_shr(BLOCK as u32 - length).unwrap_or(0);
        Bare {
            cr: (self.behind_cr & !self.lf & looked_at) | self.bare_cr != 0,
            lf: (self.lf & !self.behind_cr & looked_at) | self.bare_lf != 0,
        }
    }

    #[inline]
    fn load(&mut self) {
        let rest = &self.datagram[self.start..];
        let (lf, cr) = match rest.first_chunk() {
            Some(block) => (positions(b'\n', block), positions(b'\r', block)),
            None => {
                let mut block = [0; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                (positions(b'\n', &block), positions(b'\r', &block))
            }
        };
        self.left = lf;
        self.lf = lf;
        self.behind_cr = cr << 1 | u64::from(self.ends_in_cr);
        self.ends_in_cr = cr >> (BLOCK - 1) != 0;
    }
}

/// One bit for each byte that is `wanted`, the first lowest.
#[inline]
fn positions(wanted: u8, block: &[u8; BLOCK]) -> u64 {
    let (halves, _) = block.as_chunks();
    let bits = |half: &[u8; 32]| u64::from(u8x32::new(*half).simd_eq(u8x32::splat(wanted)).to_bitmask());
    bits(&halves[0]) | bits(&halves[1]) << 32
}
