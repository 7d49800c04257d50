//! What a softswitch sends: which caller it is for.

use std::net::IpAddr;

use sip_parse::{Message, Method, StartLine, Uri, Via};

use super::backends::{Backend, List};
use super::choice::stable_hash;
use super::inward::forms_dialog;
use super::paths::Path;
use super::tally::Stray;
use super::{Homes, Switchboard};
use crate::sip;
use crate::transmit::End;
use crate::xdp::addr;

/// A softswitch's response, and who has asked.
struct Answer {
    code: u16,
    transaction: u64,
    path: Path,
}

impl Switchboard {
    /// For whom what `backend` sends at `now` (ns of `CLOCK_MONOTONIC`) is; `here` is this host.
    pub(super) fn outward(
        &self,
        list: &List,
        backend: &Backend,
        message: &Message<'_>,
        here: &Homes,
        now: u64,
    ) -> Result<Path, Stray> {
        let (Ok(call_id), Ok(cseq), Ok(via)) = (message.call_id(), message.cseq(), message.top_via()) else {
            return Err(Stray::Unreadable);
        };
        let transaction = self.secret.transaction(&via, &cseq, call_id);
        match message.start_line() {
            StartLine::Response { code, .. } => {
                let early = code < 200;
                let path = self.paths.answered(transaction, early && cseq.method == Method::Invite, now);
                let path = path.ok_or(Stray::Unasked)?;
                self.learn(list, backend, message, &Answer { code, transaction, path }, now);
                Ok(path)
            }
            StartLine::Request { method, .. } => {
                let path = self.next_hop(list, message, &via, here, now).ok_or(Stray::Nowhere)?;
                if method != Method::Ack {
                    self.paths.asked_by_backend(transaction, path, backend.slot, now);
                }
                let in_dialog = message.to().is_ok_and(|to| to.tag.is_some());
                if !in_dialog && !matches!(method, Method::Ack | Method::Cancel) {
                    self.backends.began(stable_hash(call_id), backend, now);
                }
                Ok(path)
            }
        }
    }

    /// What a response says of whoever has asked.
    fn learn(&self, list: &List, backend: &Backend, message: &Message<'_>, answer: &Answer, now: u64) {
        let Answer { code, transaction, path } = *answer;
        let (Ok(call_id), Ok(cseq)) = (message.call_id(), message.cseq()) else { return };
        let call = stable_hash(call_id);
        let tags = self.tags(message);
        if (200..300).contains(&code) && cseq.method == Method::Register {
            let aor = message.to().ok().and_then(|to| to.uri().ok()).map_or(0, |uri| self.secret.uri(&uri.aor()));
            for contact in self.contacts(message) {
                self.paths.registered(transaction, contact, aor, now);
            }
        }
        if code < 300 && forms_dialog(message) {
            if let (101.., [Some(own), with]) = (code, tags) {
                self.paths.takes_part(own, (code >= 200).then(|| with.unwrap_or_default()), path, now);
            }
            self.note_call(list, backend, call, code < 200, now);
        }
        if is_over(message, code)
            && let [Some(own), Some(with)] = tags
            && self.paths.ended(own, with, &path.caller.addr, now)
        {
            self.backends.ended(call, now);
        }
    }

    /// The names of both sides of a dialog: of From's, and of To's.
    pub(super) fn tags(&self, message: &Message<'_>) -> [Option<u64>; 2] {
        let name = |tag: Option<&[u8]>| Some(self.secret.call(message.call_id().ok()?, tag?));
        [name(message.from().ok().and_then(|from| from.tag)), name(message.to().ok().and_then(|to| to.tag))]
    }

    /// Where a request goes (RFC 3261 §16.6 step 6): to the caller that takes part in its dialog; else by the first
    /// Route that leads away from here; else to whoever has registered its Request-URI; else there.
    fn next_hop(&self, list: &List, message: &Message<'_>, via: &Via<'_>, here: &Homes, now: u64) -> Option<Path> {
        let to = message.to().ok()?;
        if let (Some(tag), Ok(call_id)) = (to.tag, message.call_id())
            && let Some(path) = self.paths.participant(self.secret.call(call_id, tag), now)
        {
            return Some(path);
        }
        let is_here =
            |ip: &IpAddr| here.is(ip) || list.iter().any(|backend| backend.address.ip() == *ip) || !is_far(ip);
        let literal = |uri: &Uri<'_>| match uri {
            Uri::Sip(uri) => Some((uri.host.ip()?, uri.port.unwrap_or(sip::PORT))),
            _ => None,
        };
        let mut routes = message.routes().flatten().filter_map(|route| route.uri().ok());
        let away = routes.find(|uri| literal(uri).is_none_or(|(ip, _)| !is_here(&ip)));
        let request_uri = message.request_uri().ok()?;
        let hop = match away {
            Some(route) => literal(&route),
            None => literal(&request_uri).filter(|(ip, _)| !is_here(ip)),
        };
        let registered = || {
            let aor = to.uri().ok().map(|uri| self.secret.uri(&uri.aor()));
            self.paths.at_contact(self.secret.uri(&request_uri.aor()), aor, now)
        };
        let straight = || {
            let (ip, port) = hop?;
            let caller = End { addr: addr(ip), port };
            Some(Path::new(caller, here.end(ip.is_ipv4(), via)?))
        };
        // A Route that can be followed outranks the contact behind it.
        if away.is_some() { straight().or_else(registered) } else { registered().or_else(straight) }
    }
}

/// Is it the answer to a BYE that ends its dialog, or finds none any more (RFC 3261 §15)?
pub(super) fn is_over(message: &Message<'_>, code: u16) -> bool {
    matches!(code, 200..300 | 481) && message.cseq().is_ok_and(|cseq| cseq.method == Method::Bye)
}

/// Can it be somebody's on a network at all?
fn is_far(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.is_link_local());
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || broadcast)
}
