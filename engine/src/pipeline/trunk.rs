use sip_parse::{Message, Method, Reply, StartLine};
use vos_common::reason::Reason;

use super::Context;
use super::answer::{Answers, Ending, Ends, acknowledges};
use crate::policy::gateways::{Decision, NewCall, Ruling};
use crate::policy::{Bye, Sources};

/// What becomes of what a trunk sends.
#[derive(Debug, Default)]
pub(super) struct Becomes {
    /// It ends here, like that.
    pub(super) ending: Option<Ending>,
    /// It does not go on: it is refused for this. Where it cannot be answered it is dropped.
    pub(super) denied: Option<Reason>,
    /// The monitored limit that it is beyond.
    pub(super) would: Option<Reason>,
}

/// What becomes of `message`, if a trunk sends it and it is about a call.
pub(super) fn judge<S: Sources>(
    message: &Message<'_>,
    ends: &Ends,
    answers: &mut Answers,
    context: &Context<'_, S>,
    now: impl FnOnce() -> u64,
) -> Becomes {
    about(message, ends, answers, context, now).unwrap_or_default()
}

fn about<S: Sources>(
    message: &Message<'_>,
    ends: &Ends,
    answers: &mut Answers,
    context: &Context<'_, S>,
    now: impl FnOnce() -> u64,
) -> Option<Becomes> {
    let (rules, secret, gateways) = (context.rules, context.secret, &context.rules.gateways);
    if gateways.is_empty() {
        return None;
    }
    let caller = &ends.caller;
    let trunk = gateways.find(&caller.addr, caller.port)?;
    let StartLine::Request { method, .. } = message.start_line() else {
        // It has answered a BYE of the softswitch's.
        let Bye { from, to } = Bye::of(message, secret)?;
        gateways.bye_left(from, to, now());
        return None;
    };
    let outside_dialog = message.to().ok()?.tag.is_none();
    match method {
        Method::Ack if acknowledges(message, secret) => {
            Some(Becomes { ending: Some(Ending::Taken(Reason::Acknowledged)), ..Becomes::default() })
        }
        Method::Bye => {
            let Bye { from, to } = Bye::of(message, secret)?;
            gateways.bye_came(from, to, now());
            None
        }
        Method::Invite | Method::Cancel if outside_dialog => {
            let (call_id, cseq, from) = (message.call_id().ok()?, message.cseq().ok()?, message.from().ok()?);
            let end = secret.call(call_id, from.tag.unwrap_or_default());
            if method == Method::Cancel {
                // The INVITE was refused, and as long as it is known that it was, its transaction is there: the CANCEL matches
                // it, has no effect any more, and is answered with 200 (RFC 3261 §9.2).
                let reply = Reply::new(200, "OK");
                let ours = gateways.refused(end, cseq.number, now());
                let ending = ours.then(|| answers.refuse(&reply, 200, message, ends, secret)).flatten();
                return Some(Becomes { ending, ..Becomes::default() });
            }
            let urgent = rules.emergency.is_called(message);
            let call = NewCall { caller: end, cseq: cseq.number, src: caller.addr, call_id, urgent };
            let decision = gateways.invite(trunk, &call, rules.into(), now());
            Some(match decision.said() {
                // counted once a call
                Ruling::Would(over) if matches!(decision, Decision::First(_)) => {
                    Becomes { would: Some(over.rule()), ..Becomes::default() }
                }
                Ruling::Pass | Ruling::Would(_) => Becomes::default(),
                Ruling::Refuse(over) => {
                    // No Retry-After, which would tell a trunk to send nothing at all (RFC 3261 §21.5.4).
                    let reply = Reply::new(503, "Service Unavailable");
                    let ending = answers.refuse(&reply, 503, message, ends, secret);
                    Becomes { ending, denied: Some(over.rule()), would: None }
                }
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
