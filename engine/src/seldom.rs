use std::time::{Duration, Instant};

/// Log lines that strangers could have written as often as they like: one now and then, and how many it stands for.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    said: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// So many more. If nothing was said for `every`: how many there were since, to be said now.
    pub(crate) fn more(&mut self, count: u64, every: Duration) -> Option<u64> {
        self.unsaid += count;
        let is_due = self.unsaid > 0 && self.said.is_none_or(|said| said.elapsed() >= every);
        is_due.then(|| {
            self.said = Some(Instant::now());
            std::mem::take(&mut self.unsaid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_said_at_once_and_then_one_for_all() {
        let (mut seldom, hour) = (Seldom::default(), Duration::from_secs(3_600));
        assert_eq!([0, 2, 3, 0].map(|count| seldom.more(count, hour)), [None, Some(2), None, None]);
        assert_eq!([4, 0].map(|count| seldom.more(count, Duration::ZERO)), [Some(7), None]);
    }
}
