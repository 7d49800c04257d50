use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use ipnet::IpNet;

/// Where this host's resolvers stand: with systemd-resolved only itself in the first, whom it asks in the second.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Ourselves, the gateways, the resolvers, and what each is.
pub(super) fn guarded(own: &BTreeSet<IpAddr>, gateways: &[IpAddr]) -> Vec<(IpNet, String)> {
    let files = RESOLVERS.iter().filter_map(|file| fs::read_to_string(file).ok());
    let resolvers: BTreeSet<IpAddr> = files.flat_map(|file| resolvers(&file)).collect();
    let own = own.iter().map(|ip| (*ip, "an address of this host"));
    let gateways = gateways.iter().map(|ip| (*ip, "the default gateway"));
    let resolvers = resolvers.into_iter().map(|ip| (ip, "a resolver of this host"));
    own.chain(gateways).chain(resolvers).map(|(ip, what)| (ip.into(), what.to_owned())).collect()
}

/// The name servers of a resolv.conf(5).
fn resolvers(file: &str) -> Vec<IpAddr> {
    let server = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse().ok();
    file.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_systems_write_them() {
        let file = "# by systemd-resolved\n;x\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 \nnameserver\n\
                    nameserver fe80::1%eth0\nsearch example.org\noptions edns0\n";
        assert_eq!(resolvers(file), ["192.0.2.53".parse::<IpAddr>().expect("v4"), "2001:db8::53".parse().expect("v6")]);
    }

    #[test]
    fn each_is_named_for_what_it_is() {
        let ip = |text: &str| text.parse::<IpAddr>().expect(text);
        let guarded = guarded(&BTreeSet::from([ip("192.0.2.1")]), &[ip("192.0.2.254")]);
        let named: Vec<_> = guarded.iter().map(|(net, what)| (net.to_string(), &**what)).collect();
        let expected = [("192.0.2.1/32", "an address of this host"), ("192.0.2.254/32", "the default gateway")];
        assert_eq!(named[..2], expected.map(|(net, what)| (net.to_owned(), what)));
        assert!(named[2..].iter().all(|(_, what)| *what == "a resolver of this host"), "{named:?}");
    }
}
