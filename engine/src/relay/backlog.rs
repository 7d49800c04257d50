use std::collections::VecDeque;

use crate::pipeline::Class;
use crate::sip::T2;

/// The share of a queue's UMEM frames that may wait: an eighth. With all of the TX ring's on their way as well, half of
/// them is left to receive into.
pub const SHARE: usize = 8;

/// What waits until the relay has room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting<T> {
    /// It.
    pub what: T,
    /// What it is worth.
    pub class: Class,
    /// Since when, ns of `CLOCK_MONOTONIC`.
    pub since: u64,
}

/// A bounded queue that the best leaves first and the worst is pushed out of; or, where nobody wants that, the oldest
/// and the newest. Nothing is allocated once it is made: some 200 bytes for each that may wait and each class.
#[derive(Debug)]
pub struct Backlog<T> {
    /// By rank: that of the class, or all in the first.
    queues: [VecDeque<Waiting<T>>; Class::ALL.len()],
    limit: usize,
}

impl<T> Backlog<T> {
    /// Room for so many.
    pub fn new(limit: usize) -> Self {
        Self { queues: std::array::from_fn(|_| VecDeque::with_capacity(limit)), limit }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Does none wait?
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// Takes one in. Where it is full, gives back what has to go: with `priority` the worst, and of those the oldest,
    /// which was repeated soonest or soon will be and whose caller loses patience first; without, what came last.
    pub fn push(&mut self, new: Waiting<T>, priority: bool) -> Option<Waiting<T>> {
        let rank = if priority { new.class as usize } else { 0 };
        let mut gone = None;
        if self.len() >= self.limit {
            match self.queues.iter().rposition(|queue| !queue.is_empty()) {
                Some(worst) if priority && worst >= rank => gone = self.queues[worst].pop_front(),
                _ => return Some(new),
            }
        }
        self.queues[rank].push_back(new);
        gone
    }

    /// The next to go on, and its rank.
    pub fn pop(&mut self) -> Option<(usize, Waiting<T>)> {
        let rank = self.queues.iter().position(|queue| !queue.is_empty())?;
        Some((rank, self.queues[rank].pop_front()?))
    }

    /// There was no room for it yet: it is the next again.
    pub fn put_back(&mut self, rank: usize, waiting: Waiting<T>) {
        self.queues[rank].push_front(waiting);
    }

    /// One that has waited for more than [`T2`] at `now`: its sender has repeated it three times by then (RFC 3261
    /// §17.1.2.2), so it would be work for nobody.
    pub fn pop_old(&mut self, now: u64) -> Option<Waiting<T>> {
        let old = |waiting: &Waiting<T>| now.saturating_sub(waiting.since) > T2;
        self.queues.iter_mut().find(|queue| queue.front().is_some_and(old))?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(class: Class, number: u64) -> Waiting<u64> {
        Waiting { what: number, class, since: number }
    }

    fn classes() -> impl Strategy<Value = Vec<Class>> {
        prop::collection::vec((0..Class::ALL.len()).prop_map(|at| Class::ALL[at]), 0..60)
    }

    fn all<T>(backlog: &mut Backlog<T>) -> Vec<T> {
        std::iter::from_fn(|| backlog.pop()).map(|(_, waiting)| waiting.what).collect()
    }

    proptest! {
        #[test]
        fn what_is_left_is_the_best_in_order(classes in classes(), limit in 1usize..20) {
            let (mut backlog, mut kept) = (Backlog::new(limit), Vec::new());
            for (number, class) in (0..).zip(classes) {
                let gone = backlog.push(of(class, number), true);
                // the same with a list that is sorted each time
                kept.push((class, number));
                let worst = kept.iter().map(|(class, _)| *class).max().expect("one at least");
                let oldest = kept.iter().position(|(class, _)| *class == worst).expect("the worst");
                let expected = (kept.len() > limit).then(|| kept.remove(oldest).1);
                prop_assert_eq!(gone.map(|gone| gone.what), expected);
            }
            prop_assert_eq!(backlog.len(), kept.len());
            kept.sort_unstable();
            prop_assert_eq!(all(&mut backlog), kept.into_iter().map(|(_, number)| number).collect::<Vec<_>>());
        }

        #[test]
        fn without_priority_the_first_are_first_and_the_last_are_lost(classes in classes(), limit in 1usize..20) {
            let (mut backlog, count) = (Backlog::new(limit), classes.len() as u64);
            for (number, class) in (0..).zip(classes) {
                let gone = backlog.push(of(class, number), false).map(|gone| gone.what);
                prop_assert_eq!(gone, (number >= limit as u64).then_some(number));
            }
            prop_assert_eq!(all(&mut backlog), (0..count.min(limit as u64)).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_is_allocated(classes in classes(), limit in 1usize..20, priority: bool) {
            let mut backlog = Backlog::new(limit);
            let room = backlog.queues.each_ref().map(VecDeque::capacity);
            for (number, class) in (0..).zip(classes) {
                let _gone = backlog.push(of(class, number), priority);
                if let Some((rank, first)) = backlog.pop() {
                    backlog.put_back(rank, first);
                }
            }
            prop_assert_eq!(backlog.queues.each_ref().map(VecDeque::capacity), room);
        }
    }

    #[test]
    fn what_is_put_back_is_next_and_what_is_old_goes() {
        let mut backlog = Backlog::new(8);
        for (number, class) in (0..).zip([Class::Register, Class::InDialog, Class::Register, Class::InDialog]) {
            assert_eq!(backlog.push(of(class, number), true), None);
        }
        let (rank, first) = backlog.pop().expect("one");
        assert_eq!(first.what, 1);
        backlog.put_back(rank, first);
        assert_eq!(backlog.pop_old(T2), None);
        let old: Vec<u64> = std::iter::from_fn(|| backlog.pop_old(T2 + 2)).map(|old| old.what).collect();
        assert_eq!(old, [1, 0]);
        assert_eq!(all(&mut backlog), [3, 2]);
        assert!(backlog.is_empty());
    }
}
