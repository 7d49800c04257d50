//! Who is registered from elsewhere than before: people are told.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::control::terminal::printable;
use crate::events::{Event, Events, RegistrationChange, RegistrationMove, What};
use crate::policy::{Move, Moved};
use crate::seldom::Seldom;
use crate::told::Told;
use crate::xdp::ip;

/// How often the log says it.
const SELDOM: Duration = Duration::from_secs(60);

/// Tells of addresses-of-record that have moved: an event each, up to so many a second, and now and then a line in the log.
#[derive(Debug)]
pub struct Moves {
    events: Arc<Events>,
    told: Told,
    moved: Seldom,
    contended: Seldom,
}

impl Moves {
    /// To whoever watches these.
    pub fn new(events: Arc<Events>) -> Self {
        Self { events, told: Told::default(), moved: Seldom::default(), contended: Seldom::default() }
    }

    /// Tells it, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn tell(&mut self, moved: &Moved, now: u64) {
        let Moved { aor, change, from, to, moves, contended } = *moved;
        let (aor, from, to) = (aor.to_string(), ip(from.addr).to_string(), ip(to.addr).to_string());
        let shown = printable(&aor);
        if contended {
            if let Some(count) = self.contended.more(1, SELDOM) {
                warn!(
                    "registration: {count} times somebody contended for an address-of-record, last {from} and {to} for {shown}"
                );
            }
        } else if let Some(count) = self.moved.more(1, SELDOM) {
            info!(
                "registration: {count} addresses-of-record are registered from elsewhere, last {shown} from {to}, before {from}"
            );
        }
        if self.told.may(now) {
            let change = match (contended, change) {
                (true, _) => RegistrationMove::Contended,
                (_, Move::Moved) => RegistrationMove::Moved,
                (_, Move::Added) => RegistrationMove::Added,
            };
            let told = RegistrationChange { change, aor, from, to, moves };
            self.events.publish(Event::now(What::Registration(told)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vos_common::rule::Addr;

    use super::*;
    use crate::datagram::End;
    use crate::events::Wanted;
    use crate::policy::Name;

    #[test]
    fn each_is_an_event_up_to_so_many_a_second() {
        let events = Arc::new(Events::default());
        let mut moves = Moves::new(Arc::clone(&events));
        let end = |last| End { addr: Addr::v4([192, 0, 2, last]), port: 5060 };
        let moved = |change, contended| Moved {
            aor: Name::of_bytes(b"100@e.com"),
            change,
            from: end(7),
            to: end(8),
            moves: 2,
            contended,
        };
        moves.tell(&moved(Move::Moved, false), 0);
        moves.tell(&moved(Move::Added, false), 0);
        (0..100).for_each(|_| moves.tell(&moved(Move::Moved, true), 0));
        let told: Vec<_> = events
            .recent(&Wanted::default())
            .into_iter()
            .map(|event| serde_json::to_value(event.what).expect("JSON"))
            .collect();
        let of = |change: &str| {
            json!({ "kind": "registration", "change": change, "aor": "100@e.com", "from": "192.0.2.7", "to": "192.0.2.8",
                    "moves": 2 })
        };
        assert_eq!(told[..3], [of("moved"), of("added"), of("contended")]);
        assert_eq!(told.len(), 20);
    }
}
