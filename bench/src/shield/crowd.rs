//! Who sends: phones that register again and call, and whoever floods.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vos_bench::{
    CallOptions, CallReport, JunkOptions, JunkReport, Kind, LoadOptions, LoadReport, NetNs, Result, Stop, call, junk,
    load,
};

use super::outcome::Flood;
use crate::cores;

/// Phones; where there are fewer addresses, several share one.
pub(crate) const PHONES: usize = 200;
/// From the ACK to the BYE, seconds.
const HOLD: f64 = 0.5;
/// How long phones repeat a request before they give up, seconds: four sendings. RFC 3261 says 32 s.
pub(crate) const PATIENCE: f64 = 4.0;
/// No flood lasts longer, seconds: it ends with the good traffic.
const LONGEST: f64 = 1e5;

/// Where it sends from, and to.
pub(crate) struct Crowd {
    /// The namespace that it is in; `None`: this program's.
    pub(crate) place: Option<Arc<NetNs>>,
    /// The interface that floods leave by, and the MAC address that they go to.
    pub(crate) iface: String,
    pub(crate) mac: [u8; 6],
    /// The server.
    pub(crate) to: SocketAddr,
    /// Addresses of the phones.
    pub(crate) phones: Vec<IpAddr>,
    /// Of all of them.
    pub(crate) password: String,
    /// Where floods are sent from; `None`: wherever they like.
    pub(crate) flood_core: Option<usize>,
}

/// How much good traffic there is: REGISTERs and calls a second, and for how long, seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Good {
    pub(crate) registers: u64,
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
}

/// What came of all that was sent.
pub(crate) struct Sent {
    pub(crate) registers: LoadReport,
    pub(crate) calls: CallReport,
    pub(crate) junk: Option<JunkReport>,
}

impl Crowd {
    /// Registrations and calls, with this flood or with none.
    pub(crate) fn turn(&self, good: Good, flood: Option<Flood>, stop: &Stop) -> Result<Sent> {
        let (known, over) = (AtomicBool::new(false), Stop::never());
        let now_known = || known.store(true, Ordering::Relaxed);
        let (registers, calls, junk) = std::thread::scope(|scope| {
            let calls = scope.spawn(|| {
                wait_for(&known, stop)?;
                self.calls(good.calls, good.seconds, PATIENCE, stop)
            });
            let junk = scope.spawn(|| {
                wait_for(&known, &over)?;
                flood.map(|flood| self.junk(flood, LONGEST, &over)).transpose()
            });
            let registers = self.registers(good.registers, good.seconds, PATIENCE, stop, now_known);
            // Whoever waits for it must not wait for ever.
            now_known();
            let calls = joined(calls);
            // The flood outlasts all that is sent again.
            over.set();
            (registers, calls, joined(junk))
        });
        Ok(Sent { registers: registers?, calls: calls?, junk: junk? })
    }

    /// All phones show their password; then, once `known` was called, they register again, so many a second in all.
    pub(crate) fn registers(
        &self,
        rate: u64,
        seconds: f64,
        patience: f64,
        stop: &Stop,
        known: impl FnOnce() + Send,
    ) -> Result<LoadReport> {
        let options = LoadOptions {
            rate,
            seconds,
            kind: Kind::Register,
            flows: PHONES,
            from: self.phones.clone(),
            password: Some(self.password.clone()),
            repeat: true,
            linger: patience,
            ..LoadOptions::new(self.to)
        };
        self.inside(|| load::run_once_known(&options, stop, known))
    }

    /// So many calls a second.
    pub(crate) fn calls(&self, rate: u64, seconds: f64, patience: f64, stop: &Stop) -> Result<CallReport> {
        let options = CallOptions {
            calls: (rate as f64 * seconds) as u64,
            rate,
            hold: HOLD,
            give_up: patience,
            flows: PHONES,
            from: self.phones.clone(),
            password: Some(self.password.clone()),
            ..CallOptions::new(self.to)
        };
        self.inside(|| call::run(&options, stop))
    }

    /// A flood.
    pub(crate) fn junk(&self, flood: Flood, seconds: f64, stop: &Stop) -> Result<JunkReport> {
        let Flood { mix, sources, rate } = flood;
        let options = JunkOptions { mix, sources, rate, seconds, ..JunkOptions::new(&self.iface, self.to, self.mac) };
        self.inside(|| {
            cores::only(self.flood_core)?;
            junk::run(&options, stop)
        })
    }

    /// On a thread of its own.
    fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.place {
            Some(place) => place.enter(work)?,
            None => std::thread::scope(|scope| joined(scope.spawn(work))),
        }
    }
}

fn wait_for(known: &AtomicBool, stop: &Stop) -> Result<()> {
    while !known.load(Ordering::Relaxed) {
        stop.check()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
