//! What happens, for whoever wants to watch: dropped packets, rules that come and go, a softswitch that is behind.
//!
//! One [`Events`] for the whole engine. Whoever has news calls [`Events::publish`], which never waits; whoever watches
//! gets a copy, and who is too slow loses the oldest and is told how many. The last few of each kind are kept.

/// Everything that can happen.
mod what;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};
use utoipa::ToSchema;

use crate::control::clock::Clock;

pub use what::*;

/// Events that a watcher may be behind before it loses the oldest. Fewer: a terminal that scrolls loses some. More: only
/// memory, some 3 KB each.
pub const BEHIND_MAX: usize = 1_024;
/// Events kept of each reason to drop, and of each other kind. 64 of all 30 reasons are 6 MB at worst.
pub const RECENT_MAX: usize = 64;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When, unix seconds.
    pub time: f64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// This happens now.
    pub fn now(what: What) -> Self {
        Self::at(Clock::now().wall_ns(), what)
    }

    /// This happened at `wall_ns`, unix nanoseconds.
    pub fn at(wall_ns: u64, what: What) -> Self {
        Self { time: wall_ns as f64 / 1e9, what }
    }

    /// Why the packet was dropped, if that is what happened.
    pub fn reason(&self) -> Option<&str> {
        match &self.what {
            What::Drop(dropped) => Some(&dropped.reason),
            _ => None,
        }
    }

    fn without_frame(&self) -> Self {
        let mut event = self.clone();
        if let What::Drop(dropped) = &mut event.what {
            dropped.frame = None;
        }
        event
    }
}

/// What a watcher wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only packets dropped for the reason with this label; `None`: everything.
    pub reason: Option<String>,
    /// With the frames.
    pub frames: bool,
}

impl Wanted {
    fn takes(&self, event: &Event) -> bool {
        self.reason.is_none() || event.reason() == self.reason.as_deref()
    }

    fn view(&self, event: &Event) -> Event {
        if self.frames { event.clone() } else { event.without_frame() }
    }
}

/// The last events of each kind, and the place of each among all.
#[derive(Debug, Default)]
struct Recent {
    next: u64,
    kinds: BTreeMap<String, VecDeque<(u64, Arc<Event>)>>,
}

/// Where news comes in, and goes out to whoever watches.
#[derive(Debug)]
pub struct Events {
    live: broadcast::Sender<Arc<Event>>,
    closed: watch::Sender<bool>,
    recent: Mutex<Recent>,
}

impl Default for Events {
    fn default() -> Self {
        Self { live: broadcast::Sender::new(BEHIND_MAX), closed: watch::Sender::new(false), recent: Mutex::default() }
    }
}

impl Events {
    /// Tells everybody who watches. Never waits.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        let kind = event.reason().unwrap_or(match &event.what {
            What::Rule(_) => "rule",
            What::Pressure(_) => "pressure",
            What::Softswitch(_) => "softswitch",
            What::Peer(_) => "peer",
            What::Decoy(_) => "decoy",
            What::Suspension(_) => "suspension",
            What::Gateway(_) => "gateway",
            What::Attack(_) => "attack",
            What::Enumeration(_) => "enumeration",
            What::Offender(_) => "offender",
            What::Registration(_) => "registration",
            What::Endpoint(_) => "endpoint",
            _ => "other",
        });
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = recent.next;
        recent.next += 1;
        let kept = recent.kinds.entry(kind.to_owned()).or_default();
        if kept.len() >= RECENT_MAX {
            kept.pop_front();
        }
        kept.push_back((number, Arc::clone(&event)));
        // Under the lock: both have the same order.
        let _nobody_watches = self.live.send(event);
    }

    /// The last events, oldest first: [`RECENT_MAX`] of each reason and other kind.
    pub fn recent(&self, wanted: &Wanted) -> Vec<Event> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = recent.kinds.values().flatten().filter(|(_, event)| wanted.takes(event)).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, event)| wanted.view(event)).collect()
    }

    /// Everything from now on.
    pub fn watch(&self, wanted: Wanted) -> Watcher {
        Watcher { live: self.live.subscribe(), closed: self.closed.subscribe(), wanted }
    }

    /// Waits until they are [closed](Self::close).
    pub async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // the sender lives as long as self
        let _it_is = closed.wait_for(|closed| *closed).await;
    }

    /// Ends every [`Watcher`], those to come too.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

/// Somebody who watches.
#[derive(Debug)]
pub struct Watcher {
    live: broadcast::Receiver<Arc<Event>>,
    closed: watch::Receiver<bool>,
    wanted: Wanted,
}

impl Watcher {
    /// The next event, or how many were lost; `None` when the engine stops.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let next = tokio::select! {
                biased;
                _ = self.closed.wait_for(|closed| *closed) => return None,
                next = self.live.recv() => next,
            };
            match next {
                Ok(event) if self.wanted.takes(&event) => return Some(self.wanted.view(&event)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(events)) => return Some(Event::now(What::Lost { events })),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn drop_of(reason: &str, queue: u32) -> Event {
        let dropped = Dropped {
            reason: reason.into(),
            queue,
            source: "203.0.113.7".into(),
            source_port: Some(5061),
            destination: "192.0.2.1".into(),
            destination_port: None,
            length: 60,
            start_line: None,
            user_agent: None,
            frame: Some(Frame(vec![1, 2, 0xff].into())),
        };
        Event { time: 1.5, what: What::Drop(Box::new(dropped)) }
    }

    fn queues(events: &[Event]) -> Vec<u32> {
        let queue = |event: &Event| match &event.what {
            What::Drop(dropped) => dropped.queue,
            other => panic!("{other:?}"),
        };
        events.iter().map(queue).collect()
    }

    #[test]
    fn in_json_it_is_one_flat_object_and_comes_back_the_same() {
        let event = drop_of("stealth", 3);
        let value = serde_json::to_value(&event).expect("JSON");
        let expected = json!({
            "time": 1.5, "kind": "drop", "reason": "stealth", "queue": 3, "source": "203.0.113.7", "source_port": 5061,
            "destination": "192.0.2.1", "length": 60, "frame": "AQL/",
        });
        assert_eq!(value, expected);
        assert_eq!(serde_json::from_value::<Event>(value).expect("an event"), event);
    }

    #[tokio::test]
    async fn a_flood_of_one_reason_pushes_out_nothing_else() {
        let events = Events::default();
        events.publish(drop_of("blocked", 0));
        for queue in 1..=RECENT_MAX as u32 + 5 {
            events.publish(drop_of("stealth", queue));
        }
        let all = events.recent(&Wanted::default());
        assert_eq!((all.len(), all[0].reason()), (RECENT_MAX + 1, Some("blocked")));
        let last: Vec<u32> = (6..=RECENT_MAX as u32 + 5).collect();
        let stealth = Wanted { reason: Some("stealth".into()), frames: true };
        assert_eq!(queues(&events.recent(&stealth)), last);
        assert!(
            events
                .recent(&stealth)
                .iter()
                .all(|event| *event == drop_of("stealth", queues(std::slice::from_ref(event))[0]))
        );
        assert!(!serde_json::to_string(&all).expect("JSON").contains("frame"), "frames only where they are asked for");
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_many_are_lost() {
        let events = Events::default();
        let mut watcher = events.watch(Wanted::default());
        for queue in 0..BEHIND_MAX as u32 + 7 {
            events.publish(drop_of("stealth", queue));
        }
        let first = watcher.next().await.expect("news");
        assert_eq!(first.what, What::Lost { events: 7 });
        assert_eq!(queues(&[watcher.next().await.expect("news")]), [7]);
    }

    #[tokio::test]
    async fn watchers_end_when_the_engine_stops() {
        let events = Events::default();
        let mut watcher = events.watch(Wanted { reason: Some("blocked".into()), frames: false });
        events.publish(drop_of("stealth", 1));
        events.publish(drop_of("blocked", 2));
        assert_eq!(queues(&[watcher.next().await.expect("news")]), [2]);
        events.close();
        assert_eq!((watcher.next().await, events.watch(Wanted::default()).next().await), (None, None));
    }
}
