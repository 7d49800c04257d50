//! Interfaces, addresses and routes, asked of the kernel over rtnetlink (`rtnetlink(7)`).
//!
//! Not through `/sys/class/net`: that shows the network namespace in which it was mounted, not the engine's own.

/// Questions and answers of any netlink protocol.
mod connection;
/// What interfaces are made of.
mod device;
/// What drivers say of XDP.
pub mod xdp_features;

pub(crate) use connection::Connection;
pub use device::{Bond, Device};

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, VlanProtocol, XdpAttached,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netlink_sys::protocols::NETLINK_ROUTE;

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The program's id (`bpftool prog show id N`).
    pub id: u32,
    /// Does it run in the driver?
    pub native: bool,
}

/// A network interface.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Its index in this network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; zeros where it has none.
    pub mac: [u8; 6],
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// RX queues that it was created with.
    pub rx_queues: u32,
    /// Is it administratively up?
    pub up: bool,
    /// The XDP program on it.
    pub xdp: Option<Attached>,
}

/// Where a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The interface's index.
    pub interface: u32,
    /// Whose MAC address it goes to: the gateway, or on the link the destination itself.
    pub to: IpAddr,
}

/// A neighbour on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Has it been heard of lately, or has an operator set it? Else the kernel wants to make sure of it with the next packet
    /// that it sends there (`STALE`, RFC 4861 §7.3.2).
    pub sure: bool,
}

/// A connection to the kernel's routing tables.
#[derive(Debug)]
pub struct Netlink(Connection);

impl Netlink {
    /// Opens a socket in the network namespace of this thread.
    pub fn open() -> io::Result<Self> {
        Connection::open(NETLINK_ROUTE).map(Self)
    }

    /// The interface of this name; `NotFound` if there is none.
    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        self.link_message(name).map(read_link)
    }

    fn link_message(&mut self, name: &str) -> io::Result<LinkMessage> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answer = self.0.ask(Message::GetLink(ask), 0).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => io::Error::new(io::ErrorKind::NotFound, error),
            _ => error,
        })?;
        answer
            .into_iter()
            .find_map(|message| match message {
                Message::NewLink(link) => Some(link),
                _ => None,
            })
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Gives an interface a MAC address and sets it up.
    pub fn set_up(&mut self, index: u32, mac: [u8; 6], mtu: u32) -> io::Result<()> {
        let mut set = LinkMessage::default();
        set.header.index = index;
        set.attributes.push(LinkAttribute::Address(mac.to_vec()));
        set.attributes.push(LinkAttribute::Mtu(mtu));
        self.0.ask(Message::SetLink(set), NLM_F_ACK)?;
        let mut up = LinkMessage::default();
        up.header.index = index;
        up.header.flags = LinkFlags::Up;
        up.header.change_mask = LinkFlags::Up;
        self.0.ask(Message::SetLink(up), NLM_F_ACK).map(drop)
    }

    /// Every address of this host with the prefix it stands in.
    pub fn addresses(&mut self) -> io::Result<Vec<IpNet>> {
        Ok(self.addresses_by_interface()?.into_iter().map(|(_, net)| net).collect())
    }

    /// The addresses of one interface.
    pub fn addresses_on(&mut self, interface: u32) -> io::Result<Vec<IpAddr>> {
        let all = self.addresses_by_interface()?.into_iter();
        Ok(all.filter(|(index, _)| *index == interface).map(|(_, net)| net.addr()).collect())
    }

    fn addresses_by_interface(&mut self) -> io::Result<Vec<(u32, IpNet)>> {
        let answer = self.0.ask(Message::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let mut addresses = Vec::new();
        for message in answer {
            let Message::NewAddress(address) = message else { continue };
            let length = address.header.prefix_len;
            // On a point-to-point link Address is the peer, Local is ours.
            let local = address
                .attributes
                .iter()
                .find_map(|a| if let AddressAttribute::Local(ip) = a { Some(*ip) } else { None });
            let plain = address
                .attributes
                .iter()
                .find_map(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None });
            if let Some(ip) = local.or(plain) {
                addresses.extend(IpNet::new(ip, length).map(|net| (address.header.index, net)));
            }
        }
        Ok(addresses)
    }

    /// The next hops of the default routes.
    pub fn gateways(&mut self) -> io::Result<Vec<IpAddr>> {
        let mut gateways = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut ask = RouteMessage::default();
            ask.header.address_family = family;
            for message in self.0.ask(Message::GetRoute(ask), NLM_F_DUMP)? {
                let Message::NewRoute(route) = message else { continue };
                if route.header.destination_prefix_length != 0 {
                    continue;
                }
                gateways.extend(route.attributes.iter().filter_map(|a| match a {
                    RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
                    RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
                    _ => None,
                }));
            }
        }
        Ok(gateways)
    }

    /// Would the kernel take a packet from `src` to `dst` that arrives on interface `iif`? Its own input routing
    /// answers, rp_filter, martians and policy rules included (`ip route get DST from SRC iif IIF`).
    pub fn would_accept(&mut self, src: IpAddr, dst: IpAddr, iif: u32) -> io::Result<bool> {
        let mut ask = route(src, dst);
        ask.attributes.push(RouteAttribute::Iif(iif));
        match self.0.ask(Message::GetRoute(ask), 0) {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EXDEV | libc::EINVAL | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EACCES) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// The VLANs of an interface that have a device: tag and device.
    pub fn vlans(&mut self, parent: u32) -> io::Result<Vec<(u16, Link)>> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]));
        let answer = self.0.ask(Message::GetLink(ask), NLM_F_DUMP)?;
        let vlans = answer.into_iter().filter_map(|message| match message {
            Message::NewLink(link) => Some((vlan_of(&link, parent)?, read_link(link))),
            _ => None,
        });
        Ok(vlans.collect())
    }

    /// Are there policy rules beside those that every network namespace begins with (`ip rule`)?
    pub fn has_rules(&mut self, v4: bool) -> io::Result<bool> {
        // local, main and default; IPv6 has no default
        let (family, usual) = if v4 { (AddressFamily::Inet, 3) } else { (AddressFamily::Inet6, 2) };
        let mut ask = RuleMessage::default();
        ask.header.family = family;
        Ok(self.0.ask(Message::GetRule(ask), NLM_F_DUMP)?.len() > usual)
    }

    /// Where a packet of this host's from `src` to `dst` leaves (`ip route get DST from SRC`). `None`: it does not leave,
    /// or not as it is: it is for this host, for many, refused, or goes into a tunnel.
    pub fn next_hop(&mut self, src: IpAddr, dst: IpAddr) -> io::Result<Option<Hop>> {
        let answer = self.0.ask(Message::GetRoute(route(src, dst)), 0)?;
        let route = answer.into_iter().find_map(|m| if let Message::NewRoute(route) = m { Some(route) } else { None });
        Ok(route.as_ref().and_then(|route| read_hop(route, dst)))
    }

    /// The neighbour that a packet goes to, if the kernel has its MAC address.
    pub fn neighbour(&mut self, hop: &Hop) -> io::Result<Option<Neighbour>> {
        let mut ask = NeighbourMessage::default();
        ask.header.ifindex = hop.interface;
        ask.header.family = family(hop.to);
        ask.attributes.push(NeighbourAttribute::Destination(match hop.to {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        }));
        let answer = self.0.ask(Message::GetNeighbour(ask), 0)?;
        Ok(answer.into_iter().find_map(|message| match message {
            Message::NewNeighbour(neighbour) => read_neighbour(&neighbour),
            _ => None,
        }))
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The question for a route.
fn route(src: IpAddr, dst: IpAddr) -> RouteMessage {
    let mut ask = RouteMessage::default();
    let length = if dst.is_ipv4() { 32 } else { 128 };
    ask.header.address_family = family(dst);
    ask.header.destination_prefix_length = length;
    ask.header.source_prefix_length = length;
    ask.attributes.push(RouteAttribute::Destination(dst.into()));
    ask.attributes.push(RouteAttribute::Source(src.into()));
    ask
}

fn read_hop(route: &RouteMessage, dst: IpAddr) -> Option<Hop> {
    let mut hop = Hop { interface: 0, to: dst };
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => hop.interface = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
                hop.to = IpAddr::V4(*ip);
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
                hop.to = IpAddr::V6(*ip);
            }
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::Encap(_) => return None,
            _ => {}
        }
    }
    (hop.interface != 0).then_some(hop)
}

fn read_neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    let sure = match message.header.state {
        Reachable | Delay | Probe | Permanent => true,
        Stale => false,
        _ => return None,
    };
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => Some(Neighbour { mac: mac.as_slice().try_into().ok()?, sure }),
        _ => None,
    })
}

fn read_link(message: LinkMessage) -> Link {
    let mut link =
        Link { index: message.header.index, up: message.header.flags.contains(LinkFlags::Up), ..Link::default() };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::NumRxQueues(queues) => link.rx_queues = queues,
            LinkAttribute::Address(mac) => link.mac = mac.try_into().unwrap_or_default(),
            LinkAttribute::Xdp(xdp) => link.xdp = read_xdp(&xdp),
            _ => {}
        }
    }
    link
}

/// The tag of a VLAN device on that interface (IEEE 802.1Q).
fn vlan_of(message: &LinkMessage, parent: u32) -> Option<u16> {
    let attributes = &message.attributes;
    if !attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Link(index) if *index == parent)) {
        return None;
    }
    let infos =
        attributes.iter().filter_map(|a| if let LinkAttribute::LinkInfo(infos) = a { Some(infos) } else { None });
    let data = infos.flatten().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let ad = data.iter().any(|info| matches!(info, InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)));
    data.iter().find_map(|info| if let InfoVlan::Id(id) = info { Some(*id) } else { None }).filter(|_| !ad)
}

fn read_xdp(xdp: &[LinkXdp]) -> Option<Attached> {
    let id = xdp.iter().find_map(|x| if let LinkXdp::ProgId(id) = x { Some(*id) } else { None })?;
    let native = xdp.iter().any(|x| matches!(x, LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware)));
    (id != 0).then_some(Attached { id, native })
}
