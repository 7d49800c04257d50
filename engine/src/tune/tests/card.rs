//! A card that is none, with the rules of drivers that test machines have not.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::ethtool::{Change, Channels, Coalescing, Feature, Refused, Rings, Rules, Udp, even_table};
use crate::tune::host::Card;

/// What it has; what is `None` or empty its driver has not.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) driver: &'static str,
    pub(super) channels: Option<Channels>,
    pub(super) rings: Option<Rings>,
    pub(super) coalescing: Option<Coalescing>,
    pub(super) rss_queues: Option<u32>,
    pub(super) table: Vec<u32>,
}

/// A handle of it; whoever has a copy sees the same card.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    pub(super) parts: Rc<RefCell<Parts>>,
    /// The commands that were taken, in order.
    pub(super) taken: Rc<RefCell<Vec<String>>>,
}

impl Fake {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts: Rc::new(RefCell::new(parts)), taken: Rc::default() }
    }

    /// The commands since the last question.
    pub(super) fn commands(&self) -> Vec<String> {
        std::mem::take(&mut *self.taken.borrow_mut())
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

fn known<T: Copy>(part: Option<T>) -> io::Result<T> {
    part.map_or_else(unsupported, Ok)
}

impl Card for Fake {
    fn driver(&self) -> io::Result<String> {
        Ok(self.parts.borrow().driver.to_owned())
    }

    fn feature(&self, _name: &str) -> io::Result<Option<Feature>> {
        Ok(None)
    }

    fn channels(&self) -> io::Result<Channels> {
        known(self.parts.borrow().channels)
    }

    fn rings(&self) -> io::Result<Rings> {
        known(self.parts.borrow().rings)
    }

    fn coalescing(&self) -> io::Result<Coalescing> {
        known(self.parts.borrow().coalescing)
    }

    fn rss_queues(&self) -> io::Result<u32> {
        known(self.parts.borrow().rss_queues)
    }

    fn rss_table(&self) -> io::Result<Vec<u32>> {
        Ok(self.parts.borrow().table.clone())
    }

    fn set_rss_table(&self, table: &[u32]) -> io::Result<()> {
        self.parts.borrow_mut().table = table.to_vec();
        Ok(())
    }

    fn hash_fields(&self, _udp: Udp) -> io::Result<u64> {
        unsupported()
    }

    fn rules(&self) -> io::Result<Rules> {
        unsupported()
    }

    fn make(&self, change: &Change) -> Result<(), Refused> {
        let command = change.command("lo");
        let refused = |said: &str| Err(Refused::Said { command: command.clone(), said: said.to_owned() });
        let mut parts = self.parts.borrow_mut();
        let parts = &mut *parts;
        let (length, reach) = (parts.table.len(), parts.rss_queues.unwrap_or(0));
        match (change, &mut parts.coalescing, &mut parts.channels, &mut parts.rings) {
            // i40e_set_coalesce(), ice_set_rc_cfg(), iavf_set_itr_per_queue(), each a change that is none let through
            (Change::RxUsecs(usecs), Some(now), ..) if now.adaptive_rx && now.rx_usecs != *usecs => {
                return refused("netlink error: Invalid argument");
            }
            (Change::RxUsecs(usecs), Some(now), ..) => now.rx_usecs = *usecs,
            (Change::AdaptiveRx(on), Some(now), ..) => now.adaptive_rx = *on,
            (Change::Channels { combined: Some(combined), .. }, _, Some(now), _) if *combined <= now.max_combined => {
                now.combined = *combined;
            }
            (Change::Rings { rx, tx }, _, _, Some(now)) => {
                (now.rx, now.tx) = (rx.unwrap_or(now.rx), tx.unwrap_or(now.tx));
            }
            (Change::RssDefault, ..) => parts.table = even_table(length, 0, reach),
            (Change::RssEven { first, queues }, ..) if first + queues <= reach => {
                parts.table = even_table(length, *first, *queues);
            }
            _ => return refused("netlink error: Invalid argument"),
        }
        self.taken.borrow_mut().push(command);
        Ok(())
    }
}
