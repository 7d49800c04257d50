//! Frames made by hand, independent of the code that reads them.

use std::vec;
use std::vec::Vec;

use super::{MAC, OWN_V4, OWN_V6};

/// A frame under construction: every field can be made wrong.
#[derive(Clone, Debug)]
pub struct Packet {
    mac: [u8; 6],
    vlans: Vec<(u16, u16)>,
    src: Vec<u8>,
    dst: Vec<u8>,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    proto: u8,
    fragment: Option<(u16, bool, u32)>,
    l4: Vec<u8>,
    udp_length: Option<u16>,
    cut: usize,
    padding: usize,
    whole: Option<Vec<u8>>,
}

impl Packet {
    fn new(src: &[u8], dst: &[u8]) -> Self {
        Self {
            mac: MAC,
            vlans: Vec::new(),
            src: src.into(),
            dst: dst.into(),
            options: Vec::new(),
            extensions: Vec::new(),
            proto: 17,
            fragment: None,
            l4: Vec::new(),
            udp_length: None,
            cut: 0,
            padding: 0,
            whole: None,
        }
    }

    /// IPv4 to the guarded host.
    pub fn v4(src: [u8; 4]) -> Self {
        Self::new(&src, &OWN_V4)
    }

    /// IPv6 to the guarded host.
    pub fn v6(src: [u8; 16]) -> Self {
        Self::new(&src, &OWN_V6)
    }

    /// To somebody else.
    pub fn to(mut self, dst: &[u8]) -> Self {
        self.dst = dst.into();
        self
    }

    /// To another MAC address.
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = mac;
        self
    }

    /// Behind a VLAN tag.
    pub fn vlan(mut self, kind: u16, tci: u16) -> Self {
        self.vlans.push((kind, tci));
        self
    }

    /// With IPv4 options, a multiple of four bytes.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.into();
        self
    }

    /// With an IPv6 extension header: its number, and its bytes behind "next header".
    pub fn extension(mut self, number: u8, rest: &[u8]) -> Self {
        self.extensions.push((number, rest.into()));
        self
    }

    /// UDP from port 5061 to `port`.
    pub fn udp(mut self, port: u16, payload: &[u8]) -> Self {
        self.l4 = [&5061u16.to_be_bytes()[..], &port.to_be_bytes(), &[0, 0, 0, 0], payload].concat();
        self
    }

    /// UDP to port 5060.
    pub fn sip(self, payload: &[u8]) -> Self {
        self.udp(5060, payload)
    }

    /// TCP from port 5061 to `port` with these flags (RFC 9293 §3.1) and this payload.
    pub fn tcp(self, port: u16, flags: u8, payload: &[u8]) -> Self {
        let header = [&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0][..], payload].concat();
        self.raw(6, &[&5061u16.to_be_bytes()[..], &port.to_be_bytes(), &header].concat())
    }

    /// SCTP from port 5061 to `port` (RFC 9260 §3.1): an INIT without its chunk.
    pub fn sctp(self, port: u16) -> Self {
        self.raw(132, &[&5061u16.to_be_bytes()[..], &port.to_be_bytes(), &[0; 8]].concat())
    }

    /// Another protocol above IP.
    pub fn proto(mut self, proto: u8) -> Self {
        self.proto = proto;
        self
    }

    /// Whatever stands above IP.
    pub fn raw(mut self, proto: u8, l4: &[u8]) -> Self {
        (self.proto, self.l4) = (proto, l4.into());
        self.udp_length = Some(0);
        self
    }

    /// With a UDP length that need not be right.
    pub fn udp_length(mut self, length: u16) -> Self {
        self.udp_length = Some(length);
        self
    }

    /// A fragment: offset in bytes, more to come, identification.
    pub fn fragment(mut self, offset: u16, more: bool, id: u32) -> Self {
        self.fragment = Some((offset, more, id));
        self
    }

    /// Without its last bytes, as if it had been cut on the way.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = bytes;
        self
    }

    /// With bytes behind the IP packet, as short Ethernet frames have.
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// This frame, whatever was said before.
    pub fn frame(mut self, frame: &[u8]) -> Self {
        self.whole = Some(frame.into());
        self
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        if let Some(frame) = &self.whole {
            return frame.clone();
        }
        let v4 = self.src.len() == 4;
        let mut l4 = self.l4.clone();
        let later = self.fragment.is_some_and(|(offset, ..)| offset != 0);
        if self.proto == 17 && l4.len() >= 8 && !later {
            let length = self.udp_length.unwrap_or(l4.len() as u16);
            l4[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let mut frame: Vec<u8> = [&self.mac[..], &[2, 0, 0, 0, 0, 2]].concat();
        for (kind, tci) in &self.vlans {
            frame.extend(kind.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(if v4 { 0x0800u16 } else { 0x86dd }.to_be_bytes());
        if v4 {
            self.ipv4(&mut frame, &l4);
        } else {
            self.ipv6(&mut frame, &l4);
        }
        frame.truncate(frame.len() - self.cut);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    fn ipv4(&self, frame: &mut Vec<u8>, l4: &[u8]) {
        let header = 20 + self.options.len();
        let (offset, more, id) = self.fragment.unwrap_or((0, false, 0x1234));
        let mut ip = vec![0x40 | (header / 4) as u8, 0];
        ip.extend(((header + l4.len()) as u16).to_be_bytes());
        ip.extend((id as u16).to_be_bytes());
        ip.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
        ip.extend([64, self.proto, 0, 0]);
        ip.extend(&self.src);
        ip.extend(&self.dst);
        ip.extend(&self.options);
        let sum: u32 = ip.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(ip);
        frame.extend(l4);
    }

    fn ipv6(&self, frame: &mut Vec<u8>, l4: &[u8]) {
        let mut chain = self.extensions.clone();
        if let Some((offset, more, id)) = self.fragment {
            let mut rest = vec![0];
            rest.extend((offset | u16::from(more)).to_be_bytes());
            rest.extend(id.to_be_bytes());
            chain.push((44, rest));
        }
        let next = |i: usize| chain.get(i).map_or(self.proto, |(number, _)| *number);
        let payload: usize = chain.iter().map(|(_, rest)| rest.len() + 1).sum::<usize>() + l4.len();
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((payload as u16).to_be_bytes());
        frame.extend([next(0), 64]);
        frame.extend(&self.src);
        frame.extend(&self.dst);
        for (i, (_, rest)) in chain.iter().enumerate() {
            frame.push(next(i + 1));
            frame.extend(rest);
        }
        frame.extend(l4);
    }
}
