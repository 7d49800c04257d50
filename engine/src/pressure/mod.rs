//! How far behind the softswitch on this host is: its UDP sockets, asked of the kernel.
//!
//! The kernel takes every packet and throws away what a full socket cannot hold, a BYE like a REGISTER, and tells
//! nobody. So the sockets are measured, and while one is filling up, what would begin something new is given up before
//! it gets there.

/// When a socket is behind.
mod gauge;
/// The sockets, asked of the kernel.
mod sockets;

pub use gauge::{Gauge, HIGH, LOW, Pressed};
pub use sockets::{Sockets, UdpSocket};

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use serde_json::{Value, json};
use tracing::warn;

use crate::config::Config;
use crate::config::redirect::sees_new_calls;
use crate::events::{Event, Events, Pressure as Change, What};
use crate::live::Live;
use crate::worker::Stats;

/// How often sockets are looked at. A look costs some 40 µs where the kernel's table of UDP sockets has 16,384 slots, so
/// this is a fifth of a percent of a core; in this time a socket of 208 KiB fills up to the half at 2,300 packets a
/// second. Longer, and what should have come first is lost before anybody has looked.
const PERIOD: Duration = Duration::from_millis(20);
/// How often while one is behind. A softswitch that handles 10,000 a second empties a quarter of such a socket in
/// 2.5 ms: longer, and it waits for work that is being given up.
const PERIOD_PRESSED: Duration = Duration::from_millis(2);
/// A look may be one part in so many of the time: 5 % of a core, where the table of sockets is long or sockets are many.
/// Fewer, and looking costs what the softswitch needs; more, and looks come late just when it is behind.
const SHARE: u32 = 20;
/// The longest time between looks, whatever one took: it may have been interrupted, and `stop` is looked at no sooner.
const PERIOD_MAX: Duration = Duration::from_secs(1);
/// How long no socket may be behind before it is over. One that is overloaded goes back and forth between the marks many
/// times a second, which is news once.
const CALM: Duration = Duration::from_secs(5);
/// How long to wait before the kernel is asked again after it could not answer.
const RETRY: Duration = Duration::from_secs(10);

/// How far behind the softswitch is. Written by one thread, read by workers without a lock.
#[derive(Debug, Default)]
pub struct Pressure {
    pressed: ArcSwap<Pressed>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    gauge: Gauge,
    episodes: u64,
    now: bool,
}

impl Pressure {
    /// The sockets that are behind at this moment, without a lock.
    pub fn pressed(&self) -> Guard<Arc<Pressed>> {
        self.pressed.load()
    }

    /// As JSON: is it under pressure, how often has it been, and each socket.
    pub fn to_json(&self) -> Value {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "now": seen.now, "episodes": seen.episodes, "sockets": seen.gauge.to_json() })
    }

    /// Is it under pressure, how often has it been, and each of its sockets.
    pub fn seen(&self) -> (bool, u64, Vec<UdpSocket>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.now, seen.episodes, seen.gauge.sockets().cloned().collect())
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A time of pressure: from when a socket was behind until none has been for [`CALM`].
#[derive(Debug)]
struct Episode {
    since: Instant,
    last: Instant,
    given_up: u64,
}

/// The thread that looks.
pub struct Watch {
    /// Where it says what it sees.
    pub pressure: Arc<Pressure>,
    /// Which ports, and whether it is wanted at all.
    pub live: Arc<Live>,
    /// Where it says when it begins and ends.
    pub events: Arc<Events>,
    /// What workers have given up.
    pub stats: Vec<Arc<Stats>>,
}

impl Watch {
    /// Looks until `stop`.
    pub fn follow(self, stop: &AtomicBool) {
        let (mut sockets, mut gauge, mut episode, mut complained) = (None, Gauge::default(), None, false);
        let (mut rest, mut took) = (Duration::ZERO, Duration::ZERO);
        while !stop.load(Relaxed) {
            let (wanted, ports) = wanted(&self.live.in_force().config);
            if wanted && rest.is_zero() {
                let began = Instant::now();
                let looked = look(&mut sockets, &ports);
                took = began.elapsed();
                match looked {
                    Ok(seen) => gauge.look(seen),
                    Err(error) => {
                        if !std::mem::replace(&mut complained, true) {
                            warn!(
                                "relay.priority: the kernel does not tell of the softswitch's sockets ({error}; \
                                 modprobe udp_diag): new calls are not given up before those that are there"
                            );
                        }
                        (sockets, gauge, rest) = (None, Gauge::default(), RETRY);
                    }
                }
            } else if !wanted {
                gauge = Gauge::default();
            }
            self.say(&gauge);
            self.keep(&mut episode, &gauge, Instant::now());
            let period = period(gauge.is_pressed(), took);
            rest = rest.saturating_sub(period);
            std::thread::sleep(period);
        }
    }

    /// Tells workers and whoever asks.
    fn say(&self, gauge: &Gauge) {
        let pressed = gauge.pressed();
        if **self.pressure.pressed.load() != pressed {
            self.pressure.pressed.store(Arc::new(pressed));
        }
        self.pressure.note(|seen| seen.gauge = gauge.clone());
    }

    /// Keeps the book of when it begins and ends, and says so.
    fn keep(&self, episode: &mut Option<Episode>, gauge: &Gauge, now: Instant) {
        let given_up = || self.stats.iter().map(|stats| stats.given_up()).sum::<u64>();
        match (gauge.worst(), &mut *episode) {
            (Some(socket), None) => {
                *episode = Some(Episode { since: now, last: now, given_up: given_up() });
                let UdpSocket { local, queued, buffer, .. } = socket;
                warn!(
                    "the softswitch is behind: {queued} of {buffer} bytes wait at {local}; new INVITE and REGISTER are given up, \
                     and all of unknown sources"
                );
                self.publish(Change { begins: true, socket: Some(local.to_string()), seconds: None, given_up: None });
            }
            (Some(_), Some(episode)) => episode.last = now,
            (None, Some(Episode { since, last, given_up: before })) if now.duration_since(*last) >= CALM => {
                let (lasted, lost) = (last.duration_since(*since), given_up().saturating_sub(*before));
                warn!("the softswitch has caught up after {:.1} s; {lost} were given up", lasted.as_secs_f64());
                let seconds = Some(lasted.as_secs_f64());
                self.publish(Change { begins: false, socket: None, seconds, given_up: Some(lost) });
                *episode = None;
            }
            _ => {}
        }
    }

    fn publish(&self, change: Change) {
        self.pressure.note(|seen| {
            seen.now = change.begins;
            seen.episodes += u64::from(change.begins);
        });
        self.events.publish(Event::now(What::Pressure(change)));
    }
}

/// Which ports, and whether it is wanted at all: what the engine does not see it cannot give up.
fn wanted(config: &Config) -> (bool, Vec<u16>) {
    (config.relay.priority && sees_new_calls(config), config.xdp.sip_ports.clone())
}

/// How long until the next look, if the last took so long.
fn period(pressed: bool, took: Duration) -> Duration {
    let shortest = if pressed { PERIOD_PRESSED } else { PERIOD };
    shortest.max(took.saturating_mul(SHARE).min(PERIOD_MAX))
}

fn look(sockets: &mut Option<Sockets>, ports: &[u16]) -> std::io::Result<Vec<UdpSocket>> {
    let open = match sockets.take() {
        Some(open) => open,
        None => Sockets::open()?,
    };
    sockets.insert(open).list(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Redirect;

    #[test]
    fn looks_cost_a_share_of_the_time_at_most() {
        let (cheap, dear) = (Duration::from_micros(40), Duration::from_millis(5));
        assert_eq!((period(true, cheap), period(false, cheap)), (PERIOD_PRESSED, PERIOD));
        assert_eq!([period(true, dear), period(false, dear)], [dear * SHARE; 2]);
        assert_eq!(period(true, Duration::from_secs(5)), PERIOD_MAX);
    }

    #[test]
    fn it_is_wanted_where_it_can_do_something() {
        let is_wanted = |redirect, priority, shield| {
            let mut config = Config::default();
            (config.relay.redirect, config.relay.priority, config.relay.shield) = (redirect, priority, shield);
            (config.registration.suspend, config.registration.watch) = (false, false);
            config.rules.set(vos_common::reason::Reason::Slowed, crate::config::RuleMode::Off);
            wanted(&config).0
        };
        assert!(is_wanted(Redirect::All, true, false) && !is_wanted(Redirect::All, false, true));
        assert!(is_wanted(Redirect::Needed, true, true) && !is_wanted(Redirect::Needed, true, false));
        assert!(!is_wanted(Redirect::None, true, true));
    }
}
