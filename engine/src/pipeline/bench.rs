//! For tests: the whole pipeline, and one caller in front of it.

use vos_common::cases::{CALLER_V4, Packet};
use vos_common::reason::Reason;
use vos_common::rule::Addr;

use super::{Context, Emergency, Outcome, Scratch, Way, handle};
use crate::policy::{Secret, Sources, Suspensions};
use crate::pressure::Pressed;
use crate::reassembly::Reassembly;
use crate::ruleset::Ruleset;

/// When tests take place, ns.
pub(super) const NOW: u64 = 1_000_000_000_000;

/// Is the caller known?
pub(super) struct Caller(pub(super) bool);

impl Sources for Caller {
    fn is_known(&self, _: &Addr) -> bool {
        self.0
    }

    fn is_named(&self, _: &Addr) -> bool {
        self.0
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        self.0
    }
}

/// A caller in front of the pipeline.
pub(super) struct Bench {
    pub(super) rules: Ruleset,
    pub(super) secret: Secret,
    pub(super) caller: Caller,
}

impl Bench {
    /// An unknown caller, held to this rule; 112 is an emergency.
    pub(super) fn of(rule: Reason) -> Self {
        let emergency = Emergency::of(&["112".to_owned()]);
        let rules = Ruleset { enforce: rule.bit(), emergency, ..Ruleset::default() };
        Self { rules, secret: Secret::default(), caller: Caller(false) }
    }

    /// What comes of a request of the caller's at this time, ns.
    pub(super) fn outcome_at(&self, request: &str, now: u64) -> Outcome {
        let frame = Packet::v4(CALLER_V4).sip(request.as_bytes()).build();
        let context = Context {
            rules: &self.rules,
            sources: &self.caller,
            fragments: &Reassembly::default(),
            secret: &self.secret,
            relay: Way::Frames,
            shield: None,
            pressed: &Pressed::default(),
            suspensions: &Suspensions::new(Secret::default()),
        };
        handle(&mut frame.clone(), frame.len(), &mut Scratch::default(), &context, || now)
    }

    /// The same at [`NOW`].
    pub(super) fn outcome(&self, request: &str) -> Outcome {
        self.outcome_at(request, NOW)
    }
}
