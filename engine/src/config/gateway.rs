//! `[[gateway]]`: trunks, by where their calls come from, and how many each may make.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::feeds::maybe_span;
use super::validate::check;
use super::{Config, ConfigError, Limits, Rate};
use crate::control::address;

/// Most gateways: each is a label of metrics.
pub const MAX_GATEWAYS: usize = 256;
/// Longest name of a gateway, bytes.
pub const GATEWAY_NAME_MAX: usize = 32;
/// Most prefixes of one gateway.
pub const MAX_GATEWAY_NETS: usize = 64;
/// Most calls a second of a gateway, and most at once.
pub const CPS_MAX: u32 = 10_000;
/// Most calls of a gateway at a time.
pub const CALLS_MAX: u32 = 100_000;
/// Calls of all gateways together: room for each is made beforehand, 600 bytes, so this is 75 MiB.
pub const ALL_CALLS_MAX: u32 = 1 << 17;
/// The longest `max_duration`: a week.
const DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);
/// INVITEs of one call: the first, and again after half a second, one, two … until 32 s are over (RFC 3261 §17.1.1.2,
/// timers A and B: seven in all), and one that answers a challenge.
const INVITES: u32 = 8;
/// Packets of one call while it is set up and ended: [`INVITES`], as many again of what follows (ACK, PRACK, CANCEL, BYE
/// and theirs), and some responses of a gateway that is called.
const PACKETS: u32 = 20;
/// How often a call that stands is renewed at most, s: at half of the shortest session (RFC 4028 §5: 90 s, §7.2).
const RENEWAL: u32 = 45;
/// `max_duration` where neither it nor a tier is written.
const DURATION: Duration = Duration::from_secs(7_200);

/// One of `[[gateway]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// What it is called, up to [`GATEWAY_NAME_MAX`] letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where it calls from: addresses and prefixes, 1 to [`MAX_GATEWAY_NETS`].
    #[serde(deserialize_with = "nets")]
    pub from: Vec<IpNet>,
    /// How it is known to be itself.
    #[serde(default)]
    pub auth: Auth,
    /// The UDP port that it calls from, for [`Auth::IpPort`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What is not said below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Size>,
    /// Calls a second, 1 to [`CPS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cps: Option<u32>,
    /// Calls at once after a silence, 1 to [`CPS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Calls at a time, 1 to [`CALLS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_calls: Option<u32>,
    /// How long a call lasts at most, whole seconds, 1 s to 7 days; what lasts longer is told, and no longer counted.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_span")]
    pub max_duration: Option<Duration>,
}

/// How a gateway is known to be itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// By its address: it is trusted.
    #[default]
    Ip,
    /// By its address and port. Its address is somebody else's as well: it is allowed, not trusted.
    #[serde(rename = "ip+port")]
    IpPort,
    /// By a password that the softswitch asks for: its address says nothing, and gets no right from being written here.
    Password,
}

/// How large a trunk is, in the classes of VOS3000's guides: at the upper end of what they name for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// 10 calls a second, 50 at a time, half an hour (of 5 to 10, and 30 to 50).
    Small,
    /// 30 calls a second, 150 at a time, an hour.
    Medium,
    /// 100 calls a second, 500 at a time, an hour: where wholesale begins.
    Large,
    /// 200 calls a second, 2,000 at a time, two hours (of 100 to 200, and 500 to 2,000).
    Wholesale,
}

/// What a gateway may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls a second.
    pub cps: u32,
    /// Calls at once after a silence.
    pub burst: u32,
    /// Calls at a time.
    pub max_calls: u32,
    /// How long a call lasts at most.
    pub max_duration: Duration,
}

impl Auth {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::IpPort => "ip+port",
            Self::Password => "password",
        }
    }
}

impl Size {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Wholesale => "wholesale",
        }
    }

    /// What it stands for: calls a second, calls at a time, seconds of a call.
    const fn preset(self) -> (u32, u32, u64) {
        match self {
            Self::Small => (10, 50, 1_800),
            Self::Medium => (30, 150, 3_600),
            Self::Large => (100, 500, 3_600),
            Self::Wholesale => (200, 2_000, 7_200),
        }
    }
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Gateway {
    /// What it may do: what is written, else what its tier says. The burst is a second's calls where none is written. A
    /// gateway that was not validated and lacks a limit has the least.
    pub fn limits(&self) -> CallLimits {
        let preset = self.tier.map(Size::preset);
        let cps = self.cps.or(preset.map(|(cps, ..)| cps)).unwrap_or(1).max(1);
        let seconds = preset.map_or(DURATION, |(_, _, seconds)| Duration::from_secs(seconds));
        CallLimits {
            cps,
            burst: self.burst.unwrap_or(cps).max(1),
            max_calls: self.max_calls.or(preset.map(|(_, calls, _)| calls)).unwrap_or(1).max(1),
            max_duration: self.max_duration.unwrap_or(seconds),
        }
    }

    /// What each of its hosts may send before XDP drops it, of `trusted` sources: as much as its calls need at worst, so
    /// that its calls are counted by the policy and only a trunk that runs wild is met by this.
    ///
    /// Of INVITEs those that set its calls up, each [`INVITES`] times, and those that renew calls which stand, every
    /// [`RENEWAL`] seconds or all at once. Of all packets [`PACKETS`] for each call that begins, one a second within each
    /// that stands (INFO, UPDATE, NOTIFY), and never less than any trusted source may send; nor of REGISTER and OPTIONS.
    pub fn budget(&self, trusted: &Limits) -> Limits {
        let CallLimits { cps, burst, max_calls, .. } = self.limits();
        let renewals = max_calls.saturating_mul(INVITES).div_ceil(RENEWAL);
        let invites = cps.saturating_mul(INVITES).saturating_add(renewals);
        let invites_at_once = burst.saturating_mul(INVITES).saturating_add(max_calls);
        let packets = cps.saturating_mul(PACKETS).saturating_add(max_calls);
        let packets_at_once = burst.saturating_mul(PACKETS).saturating_add(max_calls.saturating_mul(2));
        Limits {
            all: Rate::per_second(packets, packets_at_once).or(trusted.all),
            invite: Rate::per_second(invites, invites_at_once),
            ..*trusted
        }
    }

    /// Does it share `port` with another? Those that do not may lie at the same addresses.
    fn meets(&self, other: &Self) -> bool {
        self.auth != Auth::IpPort || other.auth != Auth::IpPort || self.port == other.port
    }

    fn validate(&self, widest_v4: u8, widest_v6: u8) -> Result<(), ConfigError> {
        let Self { name, from, auth, port, tier, cps, burst, max_calls, max_duration } = self;
        let check = |holds: bool, what: &dyn Fn() -> String| check("gateway", holds, || format!("{name}: {}", what()));
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let named = (1..=GATEWAY_NAME_MAX).contains(&name.len()) && name.bytes().all(usual);
        check(named, &|| format!("{name:?} is no name"))?;
        check((1..=MAX_GATEWAY_NETS).contains(&from.len()), &|| {
            format!("`from` has {} addresses: 1 to {MAX_GATEWAY_NETS} are taken", from.len())
        })?;
        for (at, net) in from.iter().enumerate() {
            let (widest, key) = match net {
                IpNet::V4(_) => (widest_v4, "control.widest_v4"),
                IpNet::V6(_) => (widest_v6, "control.widest_v6"),
            };
            check(net.prefix_len() >= widest, &|| {
                format!("{net} is wider than /{widest}: write the prefixes of the trunk, or a smaller {key}")
            })?;
            check(!net.addr().is_multicast(), &|| format!("nobody calls from {net}"))?;
            if let Some(other) = from[..at].iter().find(|other| touch(net, other)) {
                check(false, &|| format!("{net} and {other} overlap: leave one of them out"))?;
            }
        }
        check(auth != &Auth::IpPort || port.is_some(), &|| {
            "auth = \"ip+port\" wants the `port` that it calls from, or auth = \"ip\"".to_owned()
        })?;
        check(auth == &Auth::IpPort || port.is_none(), &|| {
            format!("auth = \"{auth}\" does not look at `port`: leave it out, or write auth = \"ip+port\"")
        })?;
        check(port != &Some(0), &|| "0 is no port".to_owned())?;
        for (key, written, most) in
            [("cps", cps, CPS_MAX), ("burst", burst, CPS_MAX), ("max_calls", max_calls, CALLS_MAX)]
        {
            let sound = written.is_none_or(|written| (1..=most).contains(&written));
            check(sound, &|| format!("`{key}` is 1 to {most}, not {}", written.unwrap_or_default()))?;
        }
        check(tier.is_some() || (cps.is_some() && max_calls.is_some()), &|| {
            "how much it may call is not said: write `tier`, or `cps` and `max_calls`".to_owned()
        })?;
        let Some(longest) = max_duration else { return Ok(()) };
        let whole = longest.subsec_nanos() == 0 && (Duration::from_secs(1)..=DURATION_MAX).contains(longest);
        check(whole, &|| {
            format!("`max_duration` is 1s to 7days in whole seconds, not {}", humantime::format_duration(*longest))
        })
    }
}

/// Does one lie in the other?
fn touch(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// A list of addresses and prefixes, read as `vosctl` reads them.
fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| address::parse(text).map_err(serde::de::Error::custom)).collect()
}

impl Config {
    /// The trunks.
    pub(super) fn validate_gateways(&self) -> Result<(), ConfigError> {
        let gateways = &self.gateway;
        check("gateway", gateways.len() <= MAX_GATEWAYS, || format!("there are {}", gateways.len()))?;
        for (at, gateway) in gateways.iter().enumerate() {
            gateway.validate(self.control.widest_v4, self.control.widest_v6)?;
            for other in &gateways[..at] {
                let name = &gateway.name;
                check("gateway", other.name != *name, || format!("{name} is there twice"))?;
                let pairs = gateway.from.iter().flat_map(|net| other.from.iter().map(move |its| (net, its)));
                let shared = pairs.into_iter().find(|(net, its)| gateway.meets(other) && touch(net, its));
                if let Some((net, its)) = shared {
                    check("gateway", false, || {
                        format!(
                            "{net} of {name} and {its} of {} overlap: tell them apart by auth = \"ip+port\" and their port",
                            other.name
                        )
                    })?;
                }
            }
        }
        let calls = gateways.iter().map(|gateway| u64::from(gateway.limits().max_calls)).sum::<u64>();
        check("gateway", calls <= u64::from(ALL_CALLS_MAX), || {
            format!("the `max_calls` of all are {calls} together: {ALL_CALLS_MAX} is the most that is kept in view")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let config = Config::parse(&format!("iface = \"eth0\"\n{text}"), Path::new("vos.toml"))?;
        config.validate().map(|()| config)
    }

    fn gateway(rest: &str) -> String {
        format!("[[gateway]]\nname = \"a\"\nfrom = [\"198.51.100.0/28\"]\n{rest}\n")
    }

    fn limits(rest: &str) -> (u32, u32, u32, u64) {
        let config = read(&gateway(rest)).expect(rest);
        let CallLimits { cps, burst, max_calls, max_duration } = config.gateway[0].limits();
        (cps, burst, max_calls, max_duration.as_secs())
    }

    #[test]
    fn a_tier_says_what_is_not_written() {
        assert_eq!(limits("tier = \"small\""), (10, 10, 50, 1_800));
        assert_eq!(limits("tier = \"medium\""), (30, 30, 150, 3_600));
        assert_eq!(limits("tier = \"large\""), (100, 100, 500, 3_600));
        assert_eq!(limits("tier = \"wholesale\""), (200, 200, 2_000, 7_200));
        assert_eq!(limits("tier = \"small\"\ncps = 7"), (7, 7, 50, 1_800));
        assert_eq!(limits("tier = \"small\"\nburst = 3\nmax_duration = \"2h\""), (10, 3, 50, 7_200));
        assert_eq!(limits("cps = 5\nmax_calls = 8"), (5, 5, 8, 7_200));
    }

    #[test]
    fn what_is_wrong_is_answered_with_the_fix() {
        let two = |one: &str, other: &str| {
            format!(
                "[[gateway]]\nname = \"a\"\ntier = \"small\"\n{one}\n[[gateway]]\nname = \"b\"\ntier = \"small\"\n{other}"
            )
        };
        for (text, what) in [
            (gateway(""), "write `tier`, or `cps` and `max_calls`"),
            (gateway("cps = 5"), "write `tier`, or `cps` and `max_calls`"),
            (gateway("tier = \"small\"\ncps = 0"), "`cps` is 1 to 10000, not 0"),
            (gateway("tier = \"small\"\nburst = 10001"), "`burst` is 1 to 10000"),
            (gateway("tier = \"small\"\nmax_calls = 100001"), "`max_calls` is 1 to 100000"),
            (gateway("tier = \"small\"\nmax_duration = \"8days\""), "`max_duration` is 1s to 7days"),
            (gateway("tier = \"small\"\nmax_duration = \"1500ms\""), "whole seconds"),
            (gateway("tier = \"small\"\nauth = \"ip+port\""), "wants the `port`"),
            (gateway("tier = \"small\"\nport = 5060"), "write auth = \"ip+port\""),
            (gateway("tier = \"small\"\nauth = \"ip+port\"\nport = 0"), "0 is no port"),
            (gateway("tier = \"small\"").replace("\"a\"", "\"a b\""), "no name"),
            (gateway("tier = \"small\"").replace("198.51.100.0/28", "0.0.0.0/0"), "wider than /8"),
            (gateway("tier = \"small\"").replace("198.51.100.0/28", "2001::/16"), "control.widest_v6"),
            (gateway("tier = \"small\"").replace("198.51.100.0/28", "224.0.0.0/8"), "nobody calls from 224.0.0.0/8"),
            (gateway("tier = \"small\"").replace("[\"198.51.100.0/28\"]", "[]"), "1 to 64"),
            (two("from = [\"192.0.2.0/24\", \"192.0.2.7\"]", "from = [\"10.0.0.1\"]"), "overlap: leave one"),
            (two("from = [\"192.0.2.0/24\"]", "from = [\"10.0.0.1\", \"192.0.2.7\"]"), "192.0.2.7/32 of b and"),
            (two("from = [\"10.0.0.1\"]", "from = [\"10.0.0.2\"]").replace("\"b\"", "\"a\""), "a is there twice"),
        ] {
            let error = read(&text).expect_err(&text).to_string();
            assert!(error.contains(what) && error.contains("`gateway` takes up to 256"), "{text}\n{error}");
        }
        for (rest, what) in
            [("tier = \"huge\"", "wholesale"), ("colour = \"red\"", "colour"), ("from = 5", "duplicate")]
        {
            let error = read(&gateway(rest)).expect_err(rest).to_string();
            assert!(error.starts_with("vos.toml:") && error.contains(what), "{error}");
        }
        let error = read(&gateway("tier = \"small\"").replace(".0/28", ".1/28")).expect_err("host bits").to_string();
        assert!(error.contains("host bits set: did you mean 198.51.100.0/28 or 198.51.100.1/32?"), "{error}");
    }

    fn budget(rest: &str) -> (String, String) {
        let config = read(&gateway(rest)).expect(rest);
        let trusted = config.rates.trusted;
        let budget = config.gateway[0].budget(&trusted);
        assert_eq!((budget.register, budget.options), (trusted.register, trusted.options));
        (budget.invite.to_string(), budget.all.to_string())
    }

    #[test]
    fn a_budget_is_what_the_calls_need_at_worst() {
        let said = |invite: &str, all: &str| (invite.to_owned(), all.to_owned());
        let trusted = "50000/s burst 100000";
        // 8 x 10 calls, and 50 renewed every 45 s, each 8 times: 80 + 8.9
        assert_eq!(budget("tier = \"small\""), said("89/s burst 130", trusted));
        assert_eq!(budget("tier = \"wholesale\""), said("1956/s burst 3600", trusted));
        assert_eq!(budget("cps = 1\nmax_calls = 1"), said("9/s burst 9", trusted));
        assert_eq!(budget("cps = 1\nmax_calls = 1\nburst = 20"), said("9/s burst 161", trusted));
        // where its calls need more than any trusted source may send, it has more
        let large = said("97778/s burst 180000", "300000/s burst 400000");
        assert_eq!(budget("cps = 10000\nmax_calls = 100000"), large);
        let slow = "tier = \"small\"\n[rates.trusted]\nall = \"10/s burst 150\"";
        assert_eq!(budget(slow).1, "250/s burst 300", "nor less than its calls need");
        assert_eq!(budget("tier = \"small\"\n[rates.trusted]\nall = \"none\"").1, "none");
    }

    /// A call at a time, each as bad as timers A and B allow, none is dropped.
    #[test]
    fn a_trunk_at_its_limit_whose_every_invite_is_lost_stays_within_its_budget() {
        let config = read(&gateway("tier = \"small\"")).expect("sound");
        let limit = config.gateway[0].budget(&config.rates.trusted).invite.limit(0);
        let calls = (0..10 * 60).map(|call| call * 100);
        // RFC 3261 §17.1.1.2, T1 = 500 ms; a challenge after the last moment of patience
        let sent = [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500, 31_600];
        let mut packets: Vec<u64> = calls.flat_map(|at| sent.map(|after| at + after)).collect();
        packets.sort_unstable();
        let (mut clock, start) = (0, 1_000_000_000_000);
        for ms in packets {
            clock = limit.claim(clock, start + ms * 1_000_000).expect("within the budget");
        }
    }

    #[test]
    fn gateways_at_one_address_differ_by_their_port() {
        let two = |one: &str, other: &str| {
            let of = |name: &str, rest: &str| {
                format!("[[gateway]]\nname = \"{name}\"\nfrom = [\"192.0.2.0/24\"]\ntier = \"small\"\n{rest}\n")
            };
            read(&(of("a", one) + &of("b", other))).is_ok()
        };
        assert!(two("auth = \"ip+port\"\nport = 5060", "auth = \"ip+port\"\nport = 5070"));
        assert!(!two("auth = \"ip+port\"\nport = 5060", "auth = \"ip+port\"\nport = 5060"));
        assert!(!two("auth = \"ip+port\"\nport = 5060", "auth = \"ip\""));
        assert!(!two("auth = \"ip+port\"\nport = 5060", "auth = \"password\""));
    }

    #[test]
    fn what_is_written_again_reads_the_same() {
        let text = gateway("tier = \"large\"\nauth = \"ip+port\"\nport = 5080\nmax_duration = \"90m\"\nburst = 2");
        let config = read(&text).expect("sound");
        assert_eq!(config.gateway[0].auth, Auth::IpPort);
        let written = toml::to_string(&config).expect("TOML");
        assert_eq!(Config::parse(&written, Path::new("vos.toml")).expect("reads").gateway, config.gateway);
        assert_eq!(Config::default().difference(&config), ["gateway", "iface"]);
    }

    #[test]
    fn the_calls_of_all_together_are_bounded() {
        let many: String = (0..2)
            .map(|n| format!("[[gateway]]\nname = \"g{n}\"\nfrom = [\"10.0.{n}.0/24\"]\ncps = 1\nmax_calls = 100000\n"))
            .collect();
        assert!(read(&many).expect_err("too many").to_string().contains("200000 together"));
    }
}
