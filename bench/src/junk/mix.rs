//! What junk is made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use vos_common::state::mix;

use super::frame::{Ends, Frame};
use crate::Result;
use crate::request::Template;

/// What is sent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// OPTIONS with the signature of SIPVicious.
    #[default]
    Scanner,
    /// OPTIONS of an ordinary phone.
    Options,
    /// Well-formed REGISTERs without credentials, each a transaction of its own.
    Register,
    /// INVITEs with an offer, without credentials.
    Invite,
    /// What is no SIP: another protocol, a broken start line, noise.
    Malformed,
    /// INVITEs in two fragments, of which the second comes first. IPv4 only.
    Fragments,
    /// All of these in turn.
    All,
}

/// Frames of a mix whose numbers and senders do not change: so many datagrams in fragments.
const FRAGMENTED: u64 = 512;
/// Bytes of a first fragment's payload: the UDP header and the start line, not all of the header.
const FIRST: usize = 256;
/// Where what is sent says that it comes from: whoever answers goes by the packet (RFC 3581's rport).
const VIA_PORT: u16 = 5061;

/// A frame in its place in the order.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// Sender and number change.
    Changing(Frame),
    /// Goes as it is.
    Fixed(Vec<u8>),
}

impl Mix {
    /// Every mix that has one kind of frames.
    pub(super) const SINGLE: [Self; 6] =
        [Self::Scanner, Self::Options, Self::Register, Self::Invite, Self::Malformed, Self::Fragments];

    /// The frames, sent one after the other, again and again.
    pub(super) fn pieces(self, ends: &Ends, run: &str, senders: &Senders) -> Result<Vec<Piece>> {
        let via = SocketAddr::new(senders.address(0), VIA_PORT);
        let request = |method| Template::request(method, run, "100", via, ends.to).into_bytes();
        let changing = |text: &[u8]| Ok(vec![Piece::Changing(Frame::new(ends, text)?)]);
        match self {
            Self::Scanner => {
                let text = String::from_utf8_lossy(&request("OPTIONS")).replacen("vos-bench", "friendly-scanner", 1);
                changing(text.as_bytes())
            }
            Self::Options => changing(&request("OPTIONS")),
            Self::Register => changing(&request("REGISTER")),
            Self::Invite => changing(&request("INVITE")),
            Self::Malformed => {
                let frame = |which| Frame::new(ends, &Template::garbage(which).into_bytes()).map(Piece::Changing);
                (0..3).map(frame).collect()
            }
            Self::Fragments if ends.to.is_ipv6() => {
                Err(crate::Error::Other("fragments are sent over IPv4 only: give another --mix".to_owned()))
            }
            Self::Fragments => {
                let mut frame = Frame::new(ends, &request("INVITE"))?;
                let fragments = (0..FRAGMENTED).flat_map(|number| {
                    frame.set(senders.of(number), number);
                    let [first, second] = frame.in_two(FIRST, number as u16);
                    [Piece::Fixed(second), Piece::Fixed(first)]
                });
                Ok(fragments.collect())
            }
            Self::All => {
                let kinds = Self::SINGLE.iter().filter(|mix| ends.to.is_ipv4() || **mix != Self::Fragments);
                let kinds: Vec<Vec<Piece>> = kinds.map(|mix| mix.pieces(ends, run, senders)).collect::<Result<_>>()?;
                let longest = kinds.iter().map(Vec::len).max().unwrap_or(0);
                let round = |at: usize| kinds.iter().map(move |kind| kind[at % kind.len()].clone());
                Ok((0..longest).flat_map(round).collect())
            }
        }
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Senders {
    /// How many there are; 0: a new one for each packet.
    count: u64,
    v6: bool,
}

impl Senders {
    pub(super) fn new(count: u64, v6: bool) -> Self {
        Self { count, v6 }
    }

    /// Who sends packet `number`.
    pub(super) fn of(&self, number: u64) -> SocketAddr {
        let (sender, port) = if self.count == 0 {
            (mix(number, 0), 1024 + (mix(number, 1) % 60_000) as u16)
        } else {
            (number % self.count, 5060)
        };
        SocketAddr::new(self.address(sender), port)
    }

    /// A few are spread over the nets of 198.18.0.0/15 (RFC 2544), and many over what can be anybody's: from 11.0.0.0 to
    /// 126.255.255.255. IPv6: a /64 each in 2001:db8::/32.
    fn address(&self, sender: u64) -> IpAddr {
        if self.v6 {
            let part = |shift: u32| (sender >> shift) as u16;
            return Ipv6Addr::new(0x2001, 0xdb8, 0x4000 | part(16) & 0x3fff, part(0), 0, 0, 0, 0x66).into();
        }
        if self.count > 0 && self.count <= FEW {
            let (net, host) = (sender % 512, 66 + sender / 512);
            return Ipv4Addr::new(198, 18 + (net >> 8) as u8, net as u8, host as u8).into();
        }
        let (first, rest) = (11 + (sender >> 24) % 116, sender as u32 & 0xff_ffff);
        Ipv4Addr::from((first as u32) << 24 | rest).into()
    }
}

/// Senders that have room in 198.18.0.0/15, in 512 nets.
const FEW: u64 = 512 * 128;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_as_many_senders_as_were_asked_for() {
        for v6 in [false, true] {
            for count in [1, 200, 70_000] {
                let senders = Senders::new(count, v6);
                let seen: HashSet<_> = (0..2 * count).map(|number| senders.of(number).ip()).collect();
                assert_eq!(seen.len() as u64, count, "v6 {v6}");
                assert!(seen.iter().all(|ip| ip.is_ipv6() == v6));
            }
            let any = Senders::new(0, v6);
            let seen: HashSet<_> = (0..10_000).map(|number| any.of(number).ip()).collect();
            assert!(seen.len() > 9_950, "{} of 10,000", seen.len());
        }
    }

    #[test]
    fn every_kind_is_what_it_says_to_a_parser() {
        let ends = Ends { from_mac: [2; 6], to_mac: [4; 6], to: "192.0.2.1:5060".parse().unwrap() };
        let senders = Senders::new(3, false);
        let texts = |mix: Mix| -> Vec<Vec<u8>> {
            let pieces = mix.pieces(&ends, "00000000", &senders).unwrap();
            pieces
                .into_iter()
                .map(|piece| match piece {
                    Piece::Changing(mut frame) => {
                        frame.set(senders.of(1), 1);
                        frame.bytes()[42..].to_vec()
                    }
                    Piece::Fixed(frame) => frame[42..].to_vec(),
                })
                .collect()
        };
        let mut index: sip_parse::Index = sip_parse::Index::new();
        for (mix, method) in
            [(Mix::Scanner, "OPTIONS"), (Mix::Options, "OPTIONS"), (Mix::Register, "REGISTER"), (Mix::Invite, "INVITE")]
        {
            let [text] = &texts(mix)[..] else { panic!("one frame") };
            let message = index.parse(text, sip_parse::Mode::Strict).unwrap();
            assert_eq!(message.validate().unwrap().cseq.method.as_bytes(), method.as_bytes());
            assert_eq!(String::from_utf8_lossy(text).contains("friendly-scanner"), mix == Mix::Scanner);
        }
        for text in texts(Mix::Malformed) {
            assert!(index.parse(&text, sip_parse::Mode::Lenient).is_err());
        }
        assert_eq!(texts(Mix::Fragments).len() as u64, 2 * FRAGMENTED);
        assert_eq!(texts(Mix::All).len() as u64, 2 * FRAGMENTED * 6);
        let v6 = Ends { to: "[2001:db8::1]:5060".parse().unwrap(), ..ends };
        assert!(Mix::Fragments.pieces(&v6, "0", &Senders::new(1, true)).is_err());
    }
}
