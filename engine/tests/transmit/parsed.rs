use std::net::SocketAddr;

use etherparse::{NetHeaders, PacketHeaders, PayloadSlice, TransportHeader};

/// A UDP datagram in an Ethernet frame, whose lengths and checksums are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Source and destination MAC.
    pub(crate) macs: [[u8; 6]; 2],
    /// VLAN tags, the outer one first.
    pub(crate) vlans: Vec<u16>,
    /// Who sends it.
    pub(crate) from: SocketAddr,
    /// To whom.
    pub(crate) to: SocketAddr,
    /// What UDP carries.
    pub(crate) payload: Vec<u8>,
}

impl Parsed {
    /// Takes `frame` apart; says what is wrong with it.
    pub(crate) fn of(frame: &[u8]) -> Result<Self, String> {
        let packet = PacketHeaders::from_ethernet_slice(frame).map_err(|error| error.to_string())?;
        let (Some(link), Some(TransportHeader::Udp(udp))) = (&packet.link, &packet.transport) else {
            return Err(format!("{packet:?}"));
        };
        let link = link.clone().ethernet2().ok_or("no Ethernet header")?;
        let PayloadSlice::Udp(payload) = packet.payload else { return Err(format!("{:?}", packet.payload)) };
        let (from, to, sum) = match &packet.net {
            Some(NetHeaders::Ipv4(ip, _)) => {
                let header = ip.calc_header_checksum();
                if header != ip.header_checksum {
                    return Err(format!("IPv4 checksum {:04x} for {header:04x}", ip.header_checksum));
                }
                let sum = udp.calc_checksum_ipv4(ip, payload);
                (
                    SocketAddr::from((ip.source, udp.source_port)),
                    SocketAddr::from((ip.destination, udp.destination_port)),
                    sum,
                )
            }
            Some(NetHeaders::Ipv6(ip, _)) => {
                let sum = udp.calc_checksum_ipv6(ip, payload);
                (
                    SocketAddr::from((ip.source, udp.source_port)),
                    SocketAddr::from((ip.destination, udp.destination_port)),
                    sum,
                )
            }
            other => return Err(format!("{other:?}")),
        };
        let sum = sum.map_err(|error| error.to_string())?;
        if sum != udp.checksum || usize::from(udp.length) != 8 + payload.len() {
            return Err(format!("UDP checksum {:04x} for {sum:04x}, length {}", udp.checksum, udp.length));
        }
        Ok(Self {
            macs: [link.source, link.destination],
            vlans: packet.vlan_ids().iter().map(|id| id.value()).collect(),
            from,
            to,
            payload: payload.to_vec(),
        })
    }
}
