use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    BondMode, BondXmitHashPolicy, InfoBond, InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};

use super::{Link, Netlink, family, read_link};

/// `ARPHRD_ETHER` (`linux/if_arp.h`): frames begin with an Ethernet header.
const ETHERNET: u16 = 1;

/// An interface and what it is made of (`ip -details link`).
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// What every interface has.
    pub link: Link,
    /// Do its frames begin with an Ethernet header?
    pub ethernet: bool,
    /// What made it: `veth`, `vlan`, `bond`, `bridge`, …; `None` for a card.
    pub kind: Option<String>,
    /// The tag of a VLAN.
    pub tag: Option<u16>,
    /// How a bond works.
    pub bond: Option<Bond>,
    /// Index of the bond, bridge, team or VRF that it is a port of.
    pub port_of: Option<u32>,
    /// Index of the device it stands on; of a veth: its other end.
    pub on: Option<u32>,
    /// Is that one in another network namespace?
    pub elsewhere: bool,
}

/// How a bond works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// As `ip -details link` names it, such as `802.3ad`.
    pub mode: String,
    /// Does the kernel take native XDP on it? (`bond_xdp_check()`: in four of seven modes.)
    pub native: bool,
}

impl Netlink {
    /// The interface of this name and what it is made of; `NotFound` if there is none.
    pub fn device(&mut self, name: &str) -> io::Result<Device> {
        self.link_message(name).map(Device::read)
    }

    /// All interfaces of this network namespace.
    pub fn devices(&mut self) -> io::Result<Vec<Device>> {
        let answer = self.0.ask(Message::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        let devices = answer.into_iter().filter_map(|message| match message {
            Message::NewLink(link) => Some(Device::read(link)),
            _ => None,
        });
        Ok(devices.collect())
    }

    /// Index of the interface of the main table's default route, IPv4's before IPv6's, of several the one preferred, of
    /// several ways the first.
    pub fn default_interface(&mut self) -> io::Result<Option<u32>> {
        for any in [std::net::Ipv4Addr::UNSPECIFIED.into(), std::net::Ipv6Addr::UNSPECIFIED.into()] {
            let mut ask = RouteMessage::default();
            ask.header.address_family = family(any);
            let routes = self.0.ask(Message::GetRoute(ask), NLM_F_DUMP)?;
            let defaults = routes.iter().filter_map(|message| match message {
                Message::NewRoute(route) => default_way(route),
                _ => None,
            });
            // of equals the first
            if let Some((_, index)) = defaults.min_by_key(|(metric, _)| *metric) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

/// Metric and interface of a route, if it is the main table's for everywhere.
fn default_way(route: &RouteMessage) -> Option<(u32, u32)> {
    let mut table = u32::from(route.header.table);
    let (mut out, mut metric) = (None, 0);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => out = Some(*index),
            RouteAttribute::MultiPath(hops) => out = out.or(hops.first().map(|hop| hop.interface_index)),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let is_default = route.header.destination_prefix_length == 0 && table == u32::from(RouteHeader::RT_TABLE_MAIN);
    out.filter(|_| is_default).map(|out| (metric, out))
}

impl Device {
    fn read(message: LinkMessage) -> Self {
        let mut device = Self { ethernet: u16::from(message.header.link_layer_type) == ETHERNET, ..Self::default() };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Controller(index) => device.port_of = Some(*index).filter(|index| *index != 0),
                LinkAttribute::Link(index) => device.on = Some(*index).filter(|index| *index != 0),
                LinkAttribute::LinkNetNsId(_) => device.elsewhere = true,
                LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| device.read_info(info)),
                _ => {}
            }
        }
        device.link = read_link(message);
        device
    }

    fn read_info(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => {
                self.kind = Some(match kind {
                    InfoKind::Other(kind) => kind.clone(),
                    kind => kind.to_string(),
                });
            }
            LinkInfo::Data(InfoData::Vlan(data)) => {
                self.tag = data.iter().find_map(|info| if let InfoVlan::Id(id) = info { Some(*id) } else { None });
            }
            LinkInfo::Data(InfoData::Bond(data)) => self.bond = Some(read_bond(data)),
            _ => {}
        }
    }
}

fn read_bond(data: &[InfoBond]) -> Bond {
    let mode = data.iter().find_map(|info| if let InfoBond::Mode(mode) = info { Some(*mode) } else { None });
    let mode = mode.unwrap_or_default();
    let by_source = data.iter().any(|info| matches!(info, InfoBond::XmitHashPolicy(BondXmitHashPolicy::VlanSrcMac)));
    let native = match mode {
        BondMode::BalanceRr | BondMode::ActiveBackup => true,
        BondMode::BalanceXor | BondMode::Ieee8023Ad => !by_source,
        _ => false,
    };
    Bond { mode: mode.to_string(), native }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkDeserializable as _, NetlinkHeader};

    use super::*;

    /// An attribute as `netlink(7)` lays it out: length, type, value, padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// `struct ifinfomsg` of an interface with this number and hardware, and its attributes.
    fn answer(hardware: u16, index: u32, attributes: &[Vec<u8>]) -> Device {
        let mut bytes = vec![0, 0];
        bytes.extend(hardware.to_ne_bytes());
        bytes.extend(index.to_ne_bytes());
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(attributes.concat());
        let mut header = NetlinkHeader::default();
        // RTM_NEWLINK
        header.message_type = 16;
        match Message::deserialize(&header, &bytes).expect("an answer") {
            Message::NewLink(link) => Device::read(link),
            other => panic!("{other:?}"),
        }
    }

    // linux/if_link.h
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINK: u16 = 5;
    const IFLA_MASTER: u16 = 10;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_LINK_NETNSID: u16 = 37;
    const KIND: u16 = 1;
    const DATA: u16 = 2;
    const IFLA_VLAN_ID: u16 = 1;
    const IFLA_BOND_MODE: u16 = 1;
    const IFLA_BOND_XMIT_HASH_POLICY: u16 = 14;

    #[test]
    fn a_vlan_stands_on_its_card_and_has_a_tag() {
        let data = attribute(DATA, &attribute(IFLA_VLAN_ID, &100_u16.to_ne_bytes()));
        let info = attribute(IFLA_LINKINFO, &[attribute(KIND, b"vlan\0"), data].concat());
        let vlan =
            answer(1, 7, &[attribute(IFLA_IFNAME, b"eth0.100\0"), attribute(IFLA_LINK, &2_u32.to_ne_bytes()), info]);
        assert_eq!((vlan.link.name.as_str(), vlan.link.index, vlan.link.up), ("eth0.100", 7, true));
        assert_eq!(
            (vlan.kind.as_deref(), vlan.tag, vlan.on, vlan.elsewhere),
            (Some("vlan"), Some(100), Some(2), false)
        );
        assert!(vlan.ethernet && vlan.bond.is_none());
    }

    #[test]
    fn four_modes_of_a_bond_take_native_xdp() {
        let bond = |mode: u8, hash: u8| {
            let options = [attribute(IFLA_BOND_MODE, &[mode]), attribute(IFLA_BOND_XMIT_HASH_POLICY, &[hash])];
            let data = attribute(DATA, &options.concat());
            let info = attribute(IFLA_LINKINFO, &[attribute(KIND, b"bond\0"), data].concat());
            let device = answer(1, 4, &[attribute(IFLA_IFNAME, b"bond0\0"), info]);
            let bond = device.bond.expect("a bond");
            (bond.mode, bond.native)
        };
        // linux/if_bonding.h: BOND_MODE_*, BOND_XMIT_POLICY_VLAN_SRCMAC is 5
        let seen: Vec<bool> = (0..=6).map(|mode| bond(mode, 1).1).collect();
        assert_eq!(seen, [true, true, true, false, true, false, false]);
        assert_eq!((bond(4, 1).0.as_str(), bond(1, 0).0.as_str()), ("802.3ad", "active-backup"));
        assert!(!bond(4, 5).1 && !bond(2, 5).1 && bond(1, 5).1);
    }

    #[test]
    fn a_port_knows_its_bridge_and_a_veth_its_other_end() {
        let port = answer(1, 3, &[attribute(IFLA_MASTER, &9_u32.to_ne_bytes())]);
        assert_eq!((port.port_of, port.kind), (Some(9), None));
        let info = attribute(IFLA_LINKINFO, &attribute(KIND, b"veth\0"));
        let end =
            [attribute(IFLA_LINK, &5_u32.to_ne_bytes()), attribute(IFLA_LINK_NETNSID, &0_i32.to_ne_bytes()), info];
        let veth = answer(1, 3, &end);
        assert_eq!((veth.kind.as_deref(), veth.on, veth.elsewhere), (Some("veth"), Some(5), true));
    }

    #[test]
    fn what_has_no_ethernet_header_is_known_by_its_hardware() {
        // ARPHRD_NONE: WireGuard, a TUN; ARPHRD_PPP; ARPHRD_LOOPBACK has a header of zeros, and is not a wire
        for hardware in [0xfffe, 512, 772] {
            assert!(!answer(hardware, 2, &[]).ethernet, "{hardware}");
        }
    }
}
