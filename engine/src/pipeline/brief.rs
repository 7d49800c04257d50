//! What a relay goes by, of a message that it does not read itself: how much its loss would hurt, and which call,
//! transaction and dialog it belongs to.

use sip_parse::{Message, Method, StartLine};

use crate::policy::Secret;
use crate::relay::stable_hash;

/// What a packet is worth when not all can be handed on: the more there is behind it that would be lost with it, the
/// earlier it goes. A phone repeats a REGISTER and nobody hears it; a BYE that is lost leaves a call running. Text alone
/// makes nothing worth more: see [`worth`](super::worth).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Class {
    /// An INVITE that calls an emergency number, and what belongs to it.
    Emergency,
    /// A response of a caller's, without which the softswitch asks again.
    Response,
    /// A request within a dialog (RFC 3261 §12.2), an ACK, a CANCEL.
    InDialog,
    /// Any other: OPTIONS, MESSAGE, SUBSCRIBE, what is no SIP.
    Other,
    /// An INVITE that would begin a call.
    Invite,
    /// A REGISTER.
    Register,
    /// Whatever an unknown source sends: it costs nobody anything to write a BYE.
    Unknown,
}

impl Class {
    /// All classes, those that go first in front; the position of each is its counter's.
    pub const ALL: [Self; 7] =
        [Self::Emergency, Self::Response, Self::InDialog, Self::Other, Self::Invite, Self::Register, Self::Unknown];

    /// The word for it in JSON and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Response => "response",
            Self::InDialog => "in_dialog",
            Self::Other => "other",
            Self::Invite => "invite",
            Self::Register => "register",
            Self::Unknown => "unknown",
        }
    }

    /// Would it begin something that the softswitch has no room for now, or is it anybody's?
    pub const fn gives_way(self) -> bool {
        matches!(self, Self::Invite | Self::Register | Self::Unknown)
    }
}

/// What a relay goes by. Names are hashes; that of the transaction with the engine's secret, so that nobody outside makes
/// two of them meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// What it is worth.
    pub class: Class,
    /// Its Call-ID: [`stable_hash`] of it.
    pub call: u64,
    /// Its transaction: top Via's sent-by and branch, CSeq and method. A response has that of its request (RFC 3261
    /// §17.1.3), an ACK of a failure and a CANCEL one of their own.
    pub transaction: u64,
    /// A request that is answered: no ACK.
    pub expects_answer: bool,
    /// A request of which copies may be kept back while the softswitch works on the first: no ACK, no CANCEL, no call to
    /// an emergency number.
    pub shielded: bool,
    /// The status of a response; 0: a request.
    pub status: u16,
    /// Has To a tag? A request without one is outside a dialog.
    pub to_tag: bool,
    /// May it begin a call: a request outside a dialog, and neither ACK nor CANCEL?
    pub begins: bool,
}

/// Is a request within a dialog: has To a tag (RFC 3261 §12.2)? A REGISTER belongs to none, whatever its To says (§10.2):
/// registrars answer it all the same.
pub(super) fn is_within_dialog(message: &Message<'_>, method: Method<'_>) -> bool {
    method != Method::Register && message.to().is_ok_and(|to| to.tag.is_some())
}

impl Brief {
    /// Of `message`, as far as it has what it needs; `emergency` says whether one calls a number that goes first.
    pub fn of(message: &Message<'_>, secret: &Secret, emergency: impl Fn(&Message<'_>) -> bool) -> Option<Self> {
        let (call_id, cseq, via) = (message.call_id().ok()?, message.cseq().ok()?, message.top_via().ok()?);
        let to_tag = message.to().ok()?.tag.is_some();
        // Nobody is helped by a registration, an OPTIONS or a MESSAGE; and it would be a way past all others.
        let is_emergency = |method| {
            let belongs = to_tag || matches!(method, Method::Invite | Method::Ack | Method::Cancel);
            belongs && method != Method::Register && emergency(message)
        };
        let (class, status, method) = match message.start_line() {
            StartLine::Response { code, .. } if is_emergency(cseq.method) => (Class::Emergency, code, None),
            StartLine::Response { code, .. } => (Class::Response, code, None),
            StartLine::Request { method, .. } => {
                let class = match method {
                    _ if is_emergency(method) => Class::Emergency,
                    Method::Ack | Method::Cancel => Class::InDialog,
                    _ if is_within_dialog(message, method) => Class::InDialog,
                    Method::Invite => Class::Invite,
                    Method::Register => Class::Register,
                    _ => Class::Other,
                };
                (class, 0, Some(method))
            }
        };
        let expects_answer = method.is_some_and(|method| method != Method::Ack);
        let shielded = expects_answer && method != Some(Method::Cancel) && class != Class::Emergency;
        let transaction = secret.transaction(&via, &cseq, call_id);
        let begins = !to_tag && method.is_some_and(|method| !matches!(method, Method::Ack | Method::Cancel));
        let call = stable_hash(call_id);
        Some(Self { class, call, transaction, expects_answer, shielded, status, to_tag, begins })
    }
}
