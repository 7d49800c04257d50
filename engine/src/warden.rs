//! Whom the policy suspends: it is told, and who is suspended with the whole address is blocked in the kernel, on all nodes
//! of a cluster.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::control::Control;
use crate::control::ask::{Ask, By, End};
use crate::control::clock::Clock;
use crate::control::decision::{Kind, Origin};
use crate::control::terminal::printable;
use crate::events::{Event, Events, Suspended, SuspensionChange, What};
use crate::policy::Suspension;
use crate::privileges;
use crate::records::{self, Record, Records};

/// Who is named as having blocked a suspended address.
const WHO: &str = "registration";

/// Tells of suspensions, and has addresses blocked.
#[derive(Clone)]
pub struct Warden {
    /// Who is told.
    pub events: Arc<Events>,
    /// Where it is written down.
    pub records: Records,
    /// Who blocks.
    pub control: Arc<Control>,
    /// Where that may wait for the disk.
    pub runtime: Handle,
}

impl Warden {
    /// It begins.
    pub fn begun(&self, suspension: &Suspension, clock: Clock) {
        let shown = suspension.shown(clock);
        let seconds = suspension.until.saturating_sub(clock.mono_ns()).div_ceil(1_000_000_000);
        let whom = whom(suspension);
        info!("registration: {whom} is suspended for {seconds} s after {} refusals in a row", shown.failures);
        self.tell(suspension, SuspensionChange::Begun);
        self.write_down(suspension, seconds);
        if let (Some(net), None) = (suspension.net(), &suspension.user) {
            let reason = format!("{} refused passwords in a row", shown.failures).into();
            let ask = Ask::Put { net, kind: Kind::Block, end: End::After(seconds.max(1)), reason };
            self.submit(ask, net);
        }
    }

    /// Its time is over. A block ends by itself.
    pub fn ended(&self, suspension: &Suspension) {
        self.tell(suspension, SuspensionChange::Ended);
    }

    /// An operator has ended it. May wait for the disk.
    pub fn lifted(&self, suspension: &Suspension) {
        info!("registration: the suspension of {} is lifted", whom(suspension));
        self.tell(suspension, SuspensionChange::Lifted);
        self.write_down(suspension, 0);
        let Some(net) = suspension.net().filter(|_| suspension.user.is_none()) else { return };
        let is_ours = self.control.applies(&net).is_some_and(|rule| rule.net == net && &*rule.who == WHO);
        if is_ours {
            let by = By::feed(Origin::Detector, WHO);
            let outcome = self.control.submit(&by, vec![Ask::Remove { net, kind: Kind::Block }], None);
            if let Some(Err(error)) = outcome.results.into_iter().next() {
                warn!("registration: {net} stays blocked: {error}");
            }
        }
    }

    /// `seconds`: for how long; 0: it is lifted.
    fn write_down(&self, suspension: &Suspension, seconds: u64) {
        let source = suspension.net().map(|net| net.addr());
        let user = suspension.user.map_or_else(String::new, |(account, _)| account.to_string());
        let record = records::Suspension { source, user, refusals: suspension.failures, seconds };
        self.records.tell(Record::at(Clock::now().wall_ns(), records::What::Suspension(record)));
    }

    fn submit(&self, ask: Ask, net: IpNet) {
        let control = Arc::clone(&self.control);
        privileges::on_pool(&self.runtime, move || {
            let outcome = control.submit(&By::feed(Origin::Detector, WHO), vec![ask], None);
            if let Some(Err(error)) = outcome.results.into_iter().next() {
                warn!("registration: {net} is not blocked: {error}");
            }
        });
    }

    fn tell(&self, suspension: &Suspension, change: SuspensionChange) {
        let suspension = suspension.shown(Clock::now());
        self.events.publish(Event::now(What::Suspension(Suspended { change, suspension })));
    }
}

/// As an operator would write it.
fn whom(suspension: &Suspension) -> String {
    let shown = suspension.shown(Clock::now());
    let words = [shown.user, shown.address.map(|address| format!("at {address}"))];
    printable(&words.into_iter().flatten().collect::<Vec<_>>().join(" ")).into_owned()
}
