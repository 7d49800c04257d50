//! What slowed sources may send.

use sip_parse::{Message, Method};
use vos_common::reason::Reason;
use vos_common::rule::Addr;

use super::Context;
use super::brief::is_within_dialog;
use crate::policy::{Sources, begins};

/// Is this a request that begins something, and has its source, unknown and slowed, sent more than it may? Costs one
/// relaxed load while nobody is slowed. Emergency calls are no such request.
pub(super) fn is_beyond<S: Sources>(
    message: &Message<'_>,
    method: Method<'_>,
    src: &Addr,
    context: &Context<'_, S>,
    now: impl Fn() -> u64,
) -> bool {
    let rules = context.rules;
    if rules.slowed.is_empty() || !rules.watches(Reason::Slowed) || !begins(method) {
        return false;
    }
    let is_emergency = || method == Method::Invite && rules.emergency.is_called(message);
    !is_within_dialog(message, method)
        && !is_emergency()
        && rules.slowed.is_beyond(src, context.secret, &rules.slow_to, now())
        && !context.sources.is_known(src)
}

#[cfg(test)]
mod tests;
