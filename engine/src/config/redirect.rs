//! `relay.redirect`: which survivors go to the engine. What does not takes the kernel's path to the same socket, and
//! costs less that way.

use serde::{Deserialize, Serialize};
use vos_common::reason::Reason;
use vos_common::sip::{Class, LATER_FRAGMENT, Payload};
use vos_common::state::KNOWN_SHIFT;

use super::{Auth, Config, Mode, RuleMode};

/// Which survivors go to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// All.
    #[default]
    All,
    /// Those about which the engine has something to decide.
    Needed,
    /// None: the engine filters, and sees nothing.
    None,
}

impl Redirect {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Needed => "needed",
            Self::None => "none",
        }
    }
}

/// Codes of [`Payload`], [`LATER_FRAGMENT`] among them, are below 16: one half of the mask.
const EVERYTHING: u64 = (1 << KNOWN_SHIFT) - 1;

/// A part of what survives, for people and as bits of [`vos_common::state::Config::redirect`].
struct Share {
    words: &'static str,
    bits: u64,
}

const FRAGMENTS: Share = Share {
    words: "datagrams in fragments: only whole can they be judged",
    bits: 1 << LATER_FRAGMENT | 1 << (LATER_FRAGMENT + KNOWN_SHIFT),
};

/// From unknown sources: the ACK of a call they made proves that they received our answer.
const ACKS: Share = Share {
    words: "ACK of unknown sources: by it they may prove their address",
    bits: 1 << Payload::Request(Class::Ack).code(),
};

/// Both of unknown sources and of known ones.
const KEEP_ALIVES: Share = Share {
    words: "keep-alives: they are taken (answer.keep_alives)",
    bits: 1 << Payload::KeepAlive.code() | 1 << (Payload::KeepAlive.code() + KNOWN_SHIFT),
};

const KNOWN_OPTIONS: Share = Share {
    words: "OPTIONS of known sources: those of allowed and trusted ones are answered (answer.options)",
    bits: 1 << (Payload::Request(Class::Options).code() + KNOWN_SHIFT),
};

/// The ACK of a call that was refused is for whoever refused it.
const KNOWN_CALLS: Share = Share {
    words: "INVITE and ACK of known sources: refused while the softswitch is dead (answer.refuse_calls)",
    bits: 1 << (Payload::Request(Class::Invite).code() + KNOWN_SHIFT)
        | 1 << (Payload::Request(Class::Ack).code() + KNOWN_SHIFT),
};

/// Of known sources: the calls of trunks begin, are challenged and end with these. Responses tell of calls as well, but
/// nothing that the softswitch's own side does not tell.
const TRUNKS: Share = Share {
    words: "INVITE, ACK, BYE, CANCEL, PRACK and UPDATE of known sources: trunks' calls are counted ([[gateway]])",
    bits: of_calls() << KNOWN_SHIFT,
};

/// A trunk that has a password may be unknown when it calls.
const UNKNOWN_TRUNKS: Share = Share {
    words: "INVITE, ACK, BYE, CANCEL, PRACK and UPDATE of unknown sources: a trunk may be one ([[gateway]] with a password)",
    bits: of_calls(),
};

const fn of_calls() -> u64 {
    1 << Payload::Request(Class::Invite).code()
        | 1 << Payload::Request(Class::Ack).code()
        | 1 << Payload::Request(Class::InCall).code()
}

const REQUESTS: Share =
    Share { words: "requests of unknown sources: their domain is looked at (xdp.domains)", bits: requests() };

const STRANGERS: Share = Share {
    words: "requests of unknown sources: who asks for what is not there is slowed ([enumeration], rules.slowed)",
    bits: requests(),
};

const PARALLEL: Share = Share {
    words: "REGISTER and INVITE of unknown sources: how many have no answer yet is counted (rules.parallel)",
    bits: 1 << Payload::Request(Class::Register).code() | 1 << Payload::Request(Class::Invite).code(),
};

const REGISTERS: Share = Share {
    words: "REGISTER of all sources: refused credentials are counted (registration.suspend), and who is registered is \
            watched (registration.watch)",
    bits: 1 << Payload::Request(Class::Register).code() | 1 << (Payload::Request(Class::Register).code() + KNOWN_SHIFT),
};

/// ACK and CANCEL as well, which are never kept back: by another way they would overtake what they belong to.
const COPIES: Share = Share {
    words: "requests of all sources: copies are kept back until they are answered (relay.shield)",
    bits: requests() | requests() << KNOWN_SHIFT,
};

/// Their responses are read where they leave.
const RECORDED: Share = Share {
    words: "INVITE of all sources: calls that come to nothing are written down (records.file)",
    bits: 1 << Payload::Request(Class::Invite).code() | 1 << (Payload::Request(Class::Invite).code() + KNOWN_SHIFT),
};

/// Those to the engine's own OPTIONS are among them.
const RESPONSES: Share = Share {
    words: "responses of all sources: those to the engine's own OPTIONS are taken (online.interval)",
    bits: 1 << Payload::Response.code() | 1 << (Payload::Response.code() + KNOWN_SHIFT),
};

const fn requests() -> u64 {
    let (mut bits, mut n) = (0, 0);
    while n < Class::ALL.len() {
        bits |= 1 << Payload::Request(Class::ALL[n]).code();
        n += 1;
    }
    bits
}

/// What the engine has something to decide about, by what is configured.
fn needed(config: &Config) -> Vec<Share> {
    let mut shares = vec![FRAGMENTS, ACKS];
    if !config.xdp.domains.is_empty() && config.rules.mode(Reason::ForeignDomain) != RuleMode::Off {
        shares.push(REQUESTS);
    }
    if config.rules.mode(Reason::Slowed) != RuleMode::Off {
        shares.push(STRANGERS);
    }
    if config.rules.mode(Reason::Parallel) != RuleMode::Off {
        shares.push(PARALLEL);
    }
    let answer = &config.answer;
    if answer.keep_alives {
        shares.push(KEEP_ALIVES);
    }
    if answer.options {
        shares.push(KNOWN_OPTIONS);
    }
    if answer.options && answer.refuse_calls {
        shares.push(KNOWN_CALLS);
    }
    if config.registration.suspend || config.registration.watch {
        shares.push(REGISTERS);
    }
    if !config.gateway.is_empty() {
        shares.push(TRUNKS);
    }
    if config.gateway.iter().any(|gateway| gateway.auth == Auth::Password) {
        shares.push(UNKNOWN_TRUNKS);
    }
    if config.relay.shield {
        shares.push(COPIES);
    }
    if config.records.is_on() {
        shares.push(RECORDED);
    }
    if config.online.is_on() {
        shares.push(RESPONSES);
    }
    shares
}

/// The kernel's mask for this configuration.
pub fn mask(config: &Config) -> u64 {
    match config.relay.redirect {
        Redirect::All => EVERYTHING | EVERYTHING << KNOWN_SHIFT,
        Redirect::Needed => needed(config).iter().fold(0, |bits, share| bits | share.bits),
        Redirect::None => 0,
    }
}

/// Do any INVITEs or REGISTERs go to the engine? What does not, it cannot give up.
pub fn sees_new_calls(config: &Config) -> bool {
    let new = 1u64 << Payload::Request(Class::Invite).code() | 1 << Payload::Request(Class::Register).code();
    mask(config) & (new | new << KNOWN_SHIFT) != 0
}

/// Does the engine see all REGISTERs? `relaying`: do survivors go to it at all?
pub fn sees_registers(config: &Config, relaying: bool) -> bool {
    relaying && mask(config) & REGISTERS.bits == REGISTERS.bits
}

/// Do all responses go to the engine? `relaying`: do survivors go to it at all?
pub fn sees_responses(config: &Config, relaying: bool) -> bool {
    relaying && mask(config) & RESPONSES.bits == RESPONSES.bits
}

/// Do the calls of trunks go to the engine? What does not is not counted.
pub fn sees_trunks(config: &Config) -> bool {
    config.mode == Mode::Relay && config.relay.redirect != Redirect::None
}

/// The same in words, one a share.
pub fn in_words(config: &Config) -> Vec<&'static str> {
    match config.relay.redirect {
        Redirect::All => vec!["all that survives the rules"],
        Redirect::Needed => needed(config).iter().map(|share| share.words).collect(),
        Redirect::None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Answer, Gateway};

    /// Every payload that there is, from an unknown and from a known source.
    fn sent(config: &Config) -> Vec<(Option<Payload>, bool)> {
        let payloads = (0..16).map(|code| (code, (code != LATER_FRAGMENT).then(|| Payload::of(code))));
        let both = payloads.flat_map(|(code, payload)| [(code, payload, false), (code, payload, true)]);
        let mask = mask(config);
        let mut sent: Vec<_> = both
            .filter(|(code, _, known)| mask >> (code + if *known { KNOWN_SHIFT } else { 0 }) & 1 != 0)
            .map(|(_, payload, known)| (payload, known))
            .collect();
        sent.dedup();
        sent
    }

    /// Nothing is answered.
    fn config(redirect: Redirect, domains: &[&str]) -> Config {
        let mut config = Config::default();
        config.answer.keep_alives = false;
        (config.registration.suspend, config.registration.watch) = (false, false);
        config.rules.set(Reason::Slowed, RuleMode::Off);
        config.relay.redirect = redirect;
        config.xdp.domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        config
    }

    #[test]
    fn all_is_all_and_none_is_none() {
        assert_eq!(mask(&config(Redirect::All, &[])), u64::from(u32::MAX));
        assert_eq!(mask(&config(Redirect::None, &["example.com"])), 0);
        assert!(in_words(&config(Redirect::None, &["example.com"])).is_empty());
    }

    #[test]
    fn what_is_needed_follows_from_the_configuration() {
        let ack = (Some(Payload::Request(Class::Ack)), false);
        let fragments = [(None, false), (None, true)];
        let bare = config(Redirect::Needed, &[]);
        assert_eq!(sent(&bare), [fragments[0], fragments[1], ack]);
        assert_eq!(in_words(&bare).len(), 2);
        let mut with_domains = config(Redirect::Needed, &["example.com"]);
        let expected: Vec<_> = sent(&with_domains);
        for class in Class::ALL {
            assert!(expected.contains(&(Some(Payload::Request(class)), false)), "{class:?}");
        }
        // of known sources nothing but fragments; no responses, no keep-alives
        assert!(expected.iter().all(|(payload, known)| payload.is_none() || !known));
        assert!(expected.iter().all(|(payload, _)| matches!(payload, None | Some(Payload::Request(_)))));
        assert_eq!(in_words(&with_domains).len(), 3);
        with_domains.rules.set(Reason::ForeignDomain, RuleMode::Off);
        assert_eq!(sent(&with_domains), sent(&bare));
        with_domains.rules.set(Reason::ForeignDomain, RuleMode::Monitor);
        assert_eq!(sent(&with_domains), expected);
        let mut shielding = config(Redirect::Needed, &[]);
        shielding.relay.shield = true;
        let to_engine = sent(&shielding);
        for class in Class::ALL {
            let request = Some(Payload::Request(class));
            assert!(to_engine.contains(&(request, false)) && to_engine.contains(&(request, true)), "{class:?}");
        }
        assert!(to_engine.iter().all(|(payload, _)| matches!(payload, None | Some(Payload::Request(_)))));
        assert_eq!(in_words(&shielding).len(), 3);
    }

    #[test]
    fn new_calls_are_seen_where_they_are_needed_for_something() {
        let of = |redirect| config(redirect, &[]);
        assert!(sees_new_calls(&of(Redirect::All)));
        assert!(!sees_new_calls(&of(Redirect::Needed)) && !sees_new_calls(&of(Redirect::None)));
        assert!(!sees_new_calls(&config(Redirect::None, &["example.com"])));
        assert!(sees_new_calls(&config(Redirect::Needed, &["example.com"])));
        let (mut shielding, mut refusing) = (of(Redirect::Needed), of(Redirect::Needed));
        shielding.relay.shield = true;
        refusing.answer.options = true;
        assert!(sees_new_calls(&shielding) && !sees_new_calls(&refusing));
        refusing.answer.refuse_calls = true;
        assert!(sees_new_calls(&refusing));
    }

    #[test]
    fn registers_are_needed_where_somebody_may_be_suspended() {
        let mut suspending = config(Redirect::Needed, &[]);
        let before = sent(&suspending);
        suspending.registration.suspend = true;
        let more: Vec<_> = sent(&suspending).into_iter().filter(|one| !before.contains(one)).collect();
        let register = Some(Payload::Request(Class::Register));
        assert_eq!(more, [(register, false), (register, true)]);
        assert!(sees_new_calls(&suspending) && in_words(&suspending).len() == 3);
        assert!(sees_registers(&suspending, true) && !sees_registers(&suspending, false));
        suspending.relay.redirect = Redirect::None;
        assert!(!sees_registers(&suspending, true));
    }

    #[test]
    fn requests_of_strangers_are_needed_where_somebody_may_be_slowed() {
        for mode in [RuleMode::Enforce, RuleMode::Monitor] {
            let mut slowing = config(Redirect::Needed, &[]);
            let before = sent(&slowing);
            slowing.rules.set(Reason::Slowed, mode);
            let more: Vec<_> = sent(&slowing).into_iter().filter(|one| !before.contains(one)).collect();
            // but for ACKs, which are needed anyway
            assert_eq!(more.len(), Class::ALL.len() - 1);
            assert!(more.iter().all(|(payload, known)| matches!(payload, Some(Payload::Request(_))) && !known));
        }
    }

    #[test]
    fn what_is_watched_and_what_is_asked_is_needed() {
        let bare = config(Redirect::Needed, &[]);
        let before = sent(&bare);
        let more = |change: fn(&mut Config)| {
            let mut config = bare.clone();
            change(&mut config);
            let more: Vec<_> = sent(&config).into_iter().filter(|one| !before.contains(one)).collect();
            (more, sees_responses(&config, true))
        };
        let both = |payload| vec![(Some(payload), false), (Some(payload), true)];
        let watching = more(|config| config.registration.watch = true);
        assert_eq!(watching, (both(Payload::Request(Class::Register)), false));
        let asking = more(|config| config.online.interval = std::time::Duration::from_secs(60));
        assert_eq!(asking, (both(Payload::Response), true));
        let all = config(Redirect::All, &[]);
        assert!(sees_responses(&all, true) && !sees_responses(&all, false));
    }

    #[test]
    fn the_calls_of_trunks_are_needed() {
        let bare = sent(&config(Redirect::Needed, &[]));
        let more = |auth| {
            let mut config = config(Redirect::Needed, &[]);
            config.gateway = vec![Gateway { auth, ..Gateway::default() }];
            assert!(sees_new_calls(&config) && sees_trunks(&config));
            sent(&config).into_iter().filter(|one| !bare.contains(one)).collect::<Vec<_>>()
        };
        let calls =
            |known| [Class::Invite, Class::Ack, Class::InCall].map(|class| (Some(Payload::Request(class)), known));
        for auth in [Auth::Ip, Auth::IpPort, Auth::Password] {
            let more = more(auth);
            assert!(calls(true).iter().all(|call| more.contains(call)), "{auth}: {more:?}");
            let unknown = calls(false).iter().filter(|call| !bare.contains(call)).all(|call| more.contains(call));
            assert_eq!(unknown, auth == Auth::Password, "{auth}: {more:?}");
            // the ACKs of unknown sources are needed anyway
            assert_eq!(more.len(), if unknown { 5 } else { 3 });
        }
        let mut blind = config(Redirect::None, &[]);
        assert!(!sees_trunks(&blind));
        (blind.relay.redirect, blind.mode) = (Redirect::All, Mode::Filter);
        assert!(!sees_trunks(&blind));
    }

    #[test]
    fn what_is_written_down_is_needed_and_nothing_else_for_it() {
        let bare = config(Redirect::Needed, &[]);
        let mut recording = bare.clone();
        recording.records.file = "/var/lib/vos/records.jsonl".into();
        let before = sent(&bare);
        let more: Vec<_> = sent(&recording).into_iter().filter(|one| !before.contains(one)).collect();
        let invite = Some(Payload::Request(Class::Invite));
        assert_eq!(more, [(invite, false), (invite, true)]);
        assert_eq!(in_words(&recording).len(), in_words(&bare).len() + 1);
        assert!(sees_new_calls(&recording));
        recording.relay.redirect = Redirect::None;
        assert_eq!(mask(&recording), 0);
    }

    #[test]
    fn what_is_answered_is_needed() {
        let bare = sent(&config(Redirect::Needed, &[]));
        let more = |keep_alives: bool, options: bool, refuse_calls: bool| {
            let mut config = config(Redirect::Needed, &[]);
            config.answer = Answer { keep_alives, options, refuse_calls, options_pass_every: 0 };
            assert_eq!(in_words(&config).len(), needed(&config).len());
            sent(&config).into_iter().filter(|one| !bare.contains(one)).collect::<Vec<_>>()
        };
        let keep_alives = [(Some(Payload::KeepAlive), false), (Some(Payload::KeepAlive), true)];
        let known = |class| (Some(Payload::Request(class)), true);
        assert_eq!(more(true, false, false), keep_alives);
        assert_eq!(more(false, true, false), [known(Class::Options)]);
        assert_eq!(more(false, true, true), [known(Class::Invite), known(Class::Options), known(Class::Ack)]);
        // Calls are refused only by who answers OPTIONS.
        assert_eq!(more(false, false, true), []);
        // The default takes keep-alives.
        let mut default = Config::default();
        default.relay.redirect = Redirect::Needed;
        assert!(keep_alives.iter().all(|one| sent(&default).contains(one)));
    }
}
