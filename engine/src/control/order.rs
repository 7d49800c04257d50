//! The order of prefixes, that of lists and of the tree that holds them: an address family, an address, the wider first.

use std::iter;

use ipnet::{IpNet, Ipv6Net};

/// The subtrees that together hold every prefix behind `net`, in order.
pub(super) fn behind(net: IpNet) -> impl Iterator<Item = IpNet> {
    let beneath = halves(net).into_iter().flatten();
    let ancestors = iter::successors(Some(net), IpNet::supernet);
    let beside = ancestors.filter_map(|net| halves(net.supernet()?)?.into_iter().find(|half| *half > net));
    let v6 = matches!(net, IpNet::V4(_)).then(|| Ipv6Net::default().into());
    beneath.chain(beside).chain(v6)
}

fn halves(net: IpNet) -> Option<[IpNet; 2]> {
    let mut halves = net.subnets(net.prefix_len() + 1).ok()?;
    Some([halves.next()?, halves.next()?])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn nets() -> impl Strategy<Value = IpNet> {
        // few bits, so that they lie in and beside each other
        let v4 =
            (any::<u8>(), 0..=32_u8).prop_map(|(bits, length)| (IpAddr::V4(Ipv4Addr::new(bits, 0, 0, bits)), length));
        let v6 = (any::<u8>(), 0..=128_u8).prop_map(|(bits, length)| {
            let bits = u16::from(bits);
            (IpAddr::V6(Ipv6Addr::new(bits << 8, 0, 0, 0, 0, 0, 0, bits)), length)
        });
        prop_oneof![v4, v6].prop_map(|(address, length)| IpNet::new(address, length).expect("a length").trunc())
    }

    proptest! {
        #[test]
        fn what_is_behind_is_what_sorts_behind(net in nets(), others in proptest::collection::btree_set(nets(), 0..64)) {
            let subtrees = behind(net).collect::<Vec<_>>();
            let found = subtrees.iter().flat_map(|tree| others.iter().filter(|other| tree.contains(*other)));
            let sorted: BTreeSet<_> = others.iter().filter(|other| **other > net).collect();
            prop_assert_eq!(found.collect::<Vec<_>>(), sorted.into_iter().collect::<Vec<_>>());
        }
    }
}
