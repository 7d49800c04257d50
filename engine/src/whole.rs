//! The verdict over a datagram that came in fragments: [`judge`], as in the kernel, over its whole.

use vos_common::packet::{Flow, Frame};
use vos_common::rate::{Kind, Limit, Limits};
use vos_common::rule::{Addr, Rule, RuleKind};
use vos_common::signature::{self, SCAN_MAX};
use vos_common::state::{Config, Home};
use vos_common::verdict::{Judged, Scope, Tables, judge};

use crate::policy::Sources;
use crate::ruleset::Ruleset;

/// Judges `frame`, a datagram put together from fragments of `flow`, by the rules in force. XDP has judged its
/// first fragment: where it goes and what its source may was found there, and its rates are charged.
pub(crate) fn judge_whole<S: Sources>(frame: &[u8], flow: &Flow, rules: &Ruleset, sources: &S) -> Judged {
    let config = Config {
        mac: flow.mac,
        enforce: rules.enforce,
        monitor: rules.monitor,
        silent: rules.silent,
        ..Config::default()
    };
    judge(&frame, &Whole { config, flow, rules, sources })
}

/// What is left to ask.
struct Whole<'a, S> {
    config: Config,
    flow: &'a Flow,
    rules: &'a Ruleset,
    sources: &'a S,
}

impl<S: Sources> Tables for Whole<'_, S> {
    type Clocks = ();

    fn config(&self) -> &Config {
        &self.config
    }

    fn now(&self) -> u64 {
        0
    }

    fn sip_port(&self, _: u16) -> bool {
        true
    }

    fn home(&self, addr: &Addr) -> Home {
        if *addr == self.flow.dst { Home::Own } else { Home::Foreign }
    }

    /// A block or a closed door was met by the first fragment; of the rest all that counts is: known or not.
    fn rule(&self, src: &Addr) -> Rule {
        let kind = if self.sources.is_known(src) { RuleKind::Allowed } else { RuleKind::None };
        Rule { kind: kind as u32, ..Rule::default() }
    }

    fn verified(&self, _: u64, _: u64) -> bool {
        false
    }

    fn clocks(&self, _: Scope, _: u64) {}

    fn claim(&self, (): (), _: Kind, _: &Limits, _: u64) -> bool {
        true
    }

    fn budget(&self, _: &Addr) -> Option<&Limits> {
        None
    }

    fn claim_global(&self, _: &Limit, _: u64) -> bool {
        true
    }

    fn scanner(&self, f: &impl Frame, start: usize, end: usize) -> bool {
        let (patterns, end) = (&*self.rules.signatures, end.min(start + SCAN_MAX));
        let next = |at| signature::suspect(f, &patterns, at, end);
        signature::scan(start, next, |at| signature::confirm(f, &patterns, start, end, at) != 0)
    }

    fn live(&self, _: u64) -> bool {
        false
    }
}
