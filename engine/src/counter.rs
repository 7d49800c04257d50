use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Written by one thread, read by whoever asks: no atomic read-modify-write is needed.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.store(self.get() + n, Relaxed);
    }

    /// So many there are.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One counter for each of `N` things.
#[derive(Debug)]
pub struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> std::ops::Index<usize> for Counters<N> {
    type Output = Counter;

    fn index(&self, at: usize) -> &Counter {
        &self.0[at]
    }
}

impl<const N: usize> Counters<N> {
    /// What each holds, in their order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(Counter::get)
    }
}
