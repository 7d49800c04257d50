/// Events a second that strangers can bring about: more, and nobody reads them.
const A_SECOND: u32 = 20;
/// One second, ns.
const SECOND: u64 = 1_000_000_000;

/// Events that strangers could bring about as often as they like: so many a second, and no more. What is beyond is counted
/// elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Told {
    since: u64,
    count: u32,
}

impl Told {
    /// May one more be told at `now`, ns of `CLOCK_MONOTONIC`?
    pub(crate) fn may(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.since) >= SECOND {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count <= A_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_are_told() {
        let mut told = Told::default();
        let mut at = |now| (0..100).filter(|_| told.may(now)).count();
        assert_eq!([at(SECOND), at(2 * SECOND - 1), at(2 * SECOND), at(9 * SECOND)], [20, 0, 20, 20]);
    }
}
