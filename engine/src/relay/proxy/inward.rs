//! What a caller sends: to which backend it goes, and what must be remembered for the way back.

use sip_parse::{Contact, Index, Message, Method, Mode};
use vos_common::state::mix;

use super::Switchboard;
use super::backends::{Backend, List};
use super::outward::is_over;
use super::paths::Path;
use crate::pipeline::{Brief, Class};
use crate::relay::Datagram;

/// Contacts of one REGISTER that are looked at. More are no phone's.
const CONTACTS_MAX: usize = 8;

impl Switchboard {
    /// Who of `list` gets a caller's datagram; `None`: all are dead.
    pub(super) fn inward<'a>(&self, list: &'a List, datagram: &Datagram<'_>, index: &mut Index) -> Option<&'a Backend> {
        let Datagram { from, to, payload, brief, now } = *datagram;
        let Some(brief) = brief else { return self.backends.for_stranger(list, mix(from.addr.hi, from.addr.lo)) };
        if brief.status > 0 {
            return self.response(list, datagram, brief, index);
        }
        let backend = self.backends.choose(list, brief.call, brief.begins, now)?;
        let path = Path::new(from, to);
        if brief.expects_answer {
            self.paths.asked(brief.transaction, path, now);
        }
        if brief.class == Class::Register
            && let Ok(message) = index.parse(payload, Mode::Lenient)
        {
            for contact in self.contacts(&message) {
                self.paths.would_register(brief.transaction, contact, path, now);
            }
        }
        Some(backend)
    }

    /// The first contacts of a REGISTER or of its answer, by name.
    pub(super) fn contacts(&self, message: &Message<'_>) -> impl Iterator<Item = u64> {
        let addresses = message.contacts().flatten().filter_map(|contact| match contact {
            Contact::Address { address, .. } => address.uri().ok(),
            _ => None,
        });
        addresses.take(CONTACTS_MAX).map(|uri| self.secret.uri(&uri.aor()))
    }

    /// What a caller's response says of it.
    fn caller_says(
        &self,
        list: &List,
        backend: Option<&Backend>,
        message: &Message<'_>,
        datagram: &Datagram<'_>,
        brief: &Brief,
    ) {
        let Datagram { from, to, now, .. } = *datagram;
        let [with, own] = self.tags(message);
        if brief.status < 300 && forms_dialog(message) {
            if let (101.., Some(own)) = (brief.status, own) {
                let with = (brief.status >= 200).then(|| with.unwrap_or_default());
                self.paths.takes_part(own, with, Path::new(from, to), now);
            }
            if let Some(backend) = backend {
                self.note_call(list, backend, brief.call, brief.status < 200, now);
            }
        }
        if is_over(message, brief.status)
            && let (Some(own), Some(with)) = (own, with)
            && self.paths.ended(own, with, &from.addr, now)
        {
            self.backends.ended(brief.call, now);
        }
    }

    /// A caller's response goes to the backend that has asked; the dialog that it makes or keeps is the caller's.
    fn response<'a>(
        &self,
        list: &'a List,
        datagram: &Datagram<'_>,
        brief: &Brief,
        index: &mut Index,
    ) -> Option<&'a Backend> {
        let now = datagram.now;
        let asked = self.paths.answered_to_backend(brief.transaction, brief.status < 200, now);
        let Some((path, slot)) = asked else { return self.backends.choose(list, brief.call, false, now) };
        let backend = list.in_slot(slot);
        // Whoever else answers in the caller's name may be believed by the softswitch; here it changes nothing.
        if matches!(brief.status, 100..300 | 481)
            && path.caller.addr == datagram.from.addr
            && let Ok(message) = index.parse(datagram.payload, Mode::Lenient)
        {
            self.caller_says(list, backend, &message, datagram, brief);
        }
        backend.or_else(|| self.backends.choose(list, brief.call, false, now))
    }
}

/// Does a response to this method's requests make a dialog or keep one (RFC 3261 §12.1, §12.2; RFC 6665 §4.4.1; RFC
/// 3515 §2.4.4; RFC 3311 §5.2)?
pub(super) fn forms_dialog(message: &Message<'_>) -> bool {
    let method = message.cseq().map(|cseq| cseq.method);
    matches!(method, Ok(Method::Invite | Method::Subscribe | Method::Refer | Method::Update | Method::Notify))
}
