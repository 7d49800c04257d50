//! How much the softswitch may have to do for one unknown source at a time.

use sip_parse::{Message, Method};
use vos_common::reason::Reason;
use vos_common::rule::Addr;

use super::Context;
use super::brief::is_within_dialog;
use crate::policy::Sources;

/// Is this a REGISTER or an INVITE that begins something, of an unknown source that has as much open as it may? What cannot
/// be told apart from others is not; nor are emergency calls.
pub(super) fn is_beyond<S: Sources>(
    message: &Message<'_>,
    method: Method<'_>,
    src: &Addr,
    context: &Context<'_, S>,
    transaction: impl FnOnce() -> Option<u64>,
    now: impl FnOnce() -> u64,
) -> bool {
    let rules = context.rules;
    if !rules.watches(Reason::Parallel) || !matches!(method, Method::Register | Method::Invite) {
        return false;
    }
    if is_within_dialog(message, method) || method == Method::Invite && rules.emergency.is_called(message) {
        return false;
    }
    // What is cheap first: who is known is asked of the kernel, so those who are not beyond it are noted all the same.
    let Some(transaction) = transaction() else { return false };
    !rules.parallel.begins(src, context.secret, transaction, rules.parallel_max, now())
        && !context.sources.is_known(src)
}

#[cfg(test)]
mod tests {
    use vos_common::cases::CALLER_V4;

    use super::*;
    use crate::pipeline::bench::{Bench, Caller};
    use crate::pipeline::{Action, Checksum};

    const PASSES: Action = Action::Relay(Checksum::Whole);
    const DROPPED: Action = Action::Drop(Reason::Parallel);

    fn bench(rule: impl FnOnce(&mut crate::ruleset::Ruleset)) -> Bench {
        let mut bench = Bench::of(Reason::Parallel);
        bench.rules.parallel_max = 2;
        rule(&mut bench.rules);
        bench
    }

    fn request(method: &str, number: u32, user: &str, to_tag: &str) -> String {
        format!(
            "{method} sip:{user}@e.com SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{number}\r\nFrom: <sip:1@x>;tag=1\r\n\
             To: <sip:{user}@e.com>{to_tag}\r\nCall-ID: {number}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }

    #[test]
    fn so_many_have_no_answer_at_a_time() {
        let bench = bench(|_| ());
        let says = |method: &str, number: u32| bench.outcome(&request(method, number, "1", "")).action;
        assert_eq!([says("REGISTER", 1), says("INVITE", 2), says("INVITE", 3)], [PASSES, PASSES, DROPPED]);
        // What is repeated is what is there; other methods are not counted, nor is what stands within a call.
        assert_eq!([says("REGISTER", 1), says("INVITE", 2), says("INVITE", 3)], [PASSES, PASSES, DROPPED]);
        for method in ["OPTIONS", "ACK", "BYE", "CANCEL", "MESSAGE"] {
            assert_eq!(says(method, 4), PASSES, "{method}");
        }
        assert_eq!(bench.outcome(&request("INVITE", 5, "1", ";tag=2")).action, PASSES);
        assert_eq!(bench.outcome(&request("INVITE", 5, "112", "")).action, PASSES);
        // One is answered.
        let text = request("REGISTER", 1, "1", "");
        let mut index: sip_parse::Index = sip_parse::Index::new();
        let message = index.parse(text.as_bytes(), sip_parse::Mode::Lenient).expect("SIP");
        let transaction = bench.secret.transaction_of(&message).expect("it has all that names it");
        bench.rules.parallel.ends(&Addr::v4(CALLER_V4), &bench.secret, transaction);
        assert_eq!([says("INVITE", 3), says("INVITE", 6)], [PASSES, DROPPED]);
    }

    #[test]
    fn only_unknown_sources_are_held_to_it_and_only_where_it_is_a_rule() {
        let flood = |bench: &Bench| -> Vec<_> {
            (0..4).map(|n| bench.outcome(&request("INVITE", n, "1", ""))).map(|it| (it.action, it.would)).collect()
        };
        let known = Bench { caller: Caller(true), ..bench(|_| ()) };
        assert!(flood(&known).iter().all(|said| *said == (PASSES, None)));
        let off = bench(|rules| rules.enforce = 0);
        assert!(flood(&off).iter().all(|said| *said == (PASSES, None)));
        let monitored = bench(|rules| (rules.enforce, rules.monitor) = (0, Reason::Parallel.bit()));
        let would = Some(Reason::Parallel);
        assert_eq!(flood(&monitored), [(PASSES, None), (PASSES, None), (PASSES, would), (PASSES, would)]);
    }
}
