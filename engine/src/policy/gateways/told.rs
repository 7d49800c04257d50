use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{News, Over};
use crate::events::{Event, Events, GatewayChange, GatewayState, What};
use crate::samples::text;
use crate::seldom::Seldom;
use crate::xdp::ip;

/// How often the log says that calls have lasted too long: each is an event, and who calls chooses how many there are.
const SELDOM: Duration = Duration::from_secs(60);

/// Tells people what is new of trunks: an event each, and a line in the log.
#[derive(Debug)]
pub struct Teller {
    events: Arc<Events>,
    long_calls: Seldom,
}

impl Teller {
    /// To whoever watches these.
    pub fn new(events: Arc<Events>) -> Self {
        Self { events, long_calls: Seldom::default() }
    }

    /// Tells it.
    pub fn tell(&mut self, news: News) {
        let change = self.change(news);
        self.events.publish(Event::now(What::Gateway(change)));
    }

    fn change(&mut self, news: News) -> GatewayChange {
        let seconds = |ns: u64| ns as f64 / 1e9;
        match news {
            News::Beyond { gateway, over } => {
                let limit = match over {
                    Over::Cps => "cps",
                    Over::Calls => "max_calls",
                };
                warn!("gateway {gateway}: calls beyond its {limit} (rules.{})", over.rule().label());
                GatewayChange {
                    limit: Some(over.rule().label().to_owned()),
                    ..GatewayChange::of(gateway, GatewayState::Beyond)
                }
            }
            News::Calm { gateway, beyond, lasted } => {
                info!(
                    "gateway {gateway}: {beyond} calls were beyond its limits, none for {} s now",
                    super::CALM / SECOND
                );
                GatewayChange {
                    calls: Some(beyond),
                    seconds: Some(seconds(lasted)),
                    ..GatewayChange::of(gateway, GatewayState::Calm)
                }
            }
            News::LongCall { gateway, src, call_id, longest } => {
                let call_id = text(&call_id);
                if let Some(calls) = self.long_calls.more(1, SELDOM) {
                    let last = format!("{call_id} of {}", ip(src));
                    info!("gateway {gateway}: {calls} calls have lasted longer than they may, the last of them {last}");
                }
                GatewayChange {
                    seconds: Some(seconds(longest)),
                    source: Some(ip(src).to_string()),
                    call_id: Some(call_id),
                    ..GatewayChange::of(gateway, GatewayState::LongCall)
                }
            }
        }
    }
}

/// One second, ns.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::Wanted;

    #[test]
    fn each_is_an_event_and_no_terminal_obeys_it() {
        let events = Arc::new(Events::default());
        let mut teller = Teller::new(Arc::clone(&events));
        let gateway = || "a".to_owned();
        teller.tell(News::Beyond { gateway: gateway(), over: Over::Calls });
        teller.tell(News::Calm { gateway: gateway(), beyond: 9, lasted: 2_500_000_000 });
        let (src, call_id) = (vos_common::rule::Addr::v4([192, 0, 2, 7]), b"x\x1b[2J@h".to_vec());
        teller.tell(News::LongCall { gateway: gateway(), src, call_id, longest: 3_600 * SECOND });
        let told: Vec<_> = events
            .recent(&Wanted::default())
            .into_iter()
            .map(|event| serde_json::to_value(event.what).expect("JSON"))
            .collect();
        let expected = [
            json!({ "kind": "gateway", "gateway": "a", "change": "beyond", "limit": "gateway_calls" }),
            json!({ "kind": "gateway", "gateway": "a", "change": "calm", "calls": 9, "seconds": 2.5 }),
            json!({ "kind": "gateway", "gateway": "a", "change": "long_call", "seconds": 3600.0, "source": "192.0.2.7",
                    "call_id": "x\\u{1b}[2J@h" }),
        ];
        assert_eq!(told, expected);
    }
}
