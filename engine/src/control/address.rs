//! What an operator types as an address or CIDR, read strictly: whatever could mean two things is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// Why a text is not taken as an address or CIDR. Every message names the fix.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing was written.
    #[error("the address is empty: write one such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48")]
    Empty,
    /// Not made of the characters that addresses are made of.
    #[error(
        "`{text}` is not an address; names are not looked up, because what they point to changes: write the address itself"
    )]
    Name {
        /// What was written.
        text: String,
    },
    /// Blanks inside or around.
    #[error("`{text}` has a blank in it: write the address without it")]
    Blank {
        /// What was written.
        text: String,
    },
    /// An IPv4 address needs four parts.
    #[error("`{text}` has {parts} parts, an IPv4 address has four: write it in full, such as 203.0.113.0/24")]
    Parts {
        /// What was written.
        text: String,
        /// How many parts it has.
        parts: usize,
    },
    /// A part of an IPv4 address is out of range or no number.
    #[error("`{text}`: part {index}, `{part}`, is not a number from 0 to 255: correct that part")]
    Part {
        /// What was written.
        text: String,
        /// Which part, 1 to 4.
        index: usize,
        /// The part.
        part: String,
    },
    /// A leading zero: C libraries read such a part as octal, people as decimal.
    #[error(
        "`{text}`: part {index}, `{part}`, starts with a zero, which some programs read as octal: write it without"
    )]
    Octal {
        /// What was written.
        text: String,
        /// Which part, 1 to 4.
        index: usize,
        /// The part.
        part: String,
    },
    /// Not an IPv6 address.
    #[error(
        "`{text}` is not an IPv6 address: write up to eight groups of hex digits with one `::`, such as 2001:db8::1"
    )]
    V6 {
        /// What was written.
        text: String,
    },
    /// A port behind the address.
    #[error("`{text}` carries a port or brackets; rules are for all ports: write the bare address")]
    Port {
        /// What was written.
        text: String,
    },
    /// A zone (`%eth0`): rules are for sources of any interface, and link-local traffic is never judged.
    #[error(
        "`{text}` has a zone; link-local sources are left to the kernel and rules know no zones: write the address without `%...`"
    )]
    Zone {
        /// What was written.
        text: String,
    },
    /// An IPv4 address written as IPv6.
    #[error("`{text}` is an IPv4 address in IPv6 clothes: write it as {v4}")]
    Mapped {
        /// What was written.
        text: String,
        /// The IPv4 form.
        v4: IpNet,
    },
    /// An IPv6 prefix so wide that every IPv4-mapped address lies in it.
    #[error(
        "`{text}` would also cover IPv4, which is held as ::ffff:0:0/96: write 2000::/3 for the public IPv6 space, 0.0.0.0/0 for IPv4"
    )]
    CoversV4 {
        /// What was written.
        text: String,
    },
    /// The prefix length is no number or too long.
    #[error(
        "`{text}`: the prefix length `{length}` is not a number from 0 to {max}: correct it, or leave out the `/` for one address"
    )]
    Length {
        /// What was written.
        text: String,
        /// What stands behind the slash.
        length: String,
        /// 32 or 128.
        max: u8,
    },
    /// Bits behind the prefix are set.
    #[error("`{text}`: host bits set: did you mean {network} or {host}?")]
    HostBits {
        /// What was written.
        text: String,
        /// The network the address lies in.
        network: IpNet,
        /// The address alone.
        host: IpNet,
    },
}

/// Reads an address (`203.0.113.7`, taken as /32 or /128) or a CIDR (`2001:db8::/48`).
pub fn parse(text: &str) -> Result<IpNet, AddressError> {
    let owned = || text.to_owned();
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(AddressError::Blank { text: owned() });
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    if address.contains('%') {
        return Err(AddressError::Zone { text: owned() });
    }
    let v4_shaped = |s: &str| s.contains('.') && s.bytes().next().is_some_and(|b| b.is_ascii_digit());
    let address = if address.starts_with('[') {
        return Err(AddressError::Port { text: owned() });
    } else if address.contains(':') {
        if address.split_once(':').is_some_and(|(host, port)| v4_shaped(host) && !port.contains(':')) {
            return Err(AddressError::Port { text: owned() });
        }
        IpAddr::V6(address.parse::<Ipv6Addr>().map_err(|_| AddressError::V6 { text: owned() })?)
    } else {
        IpAddr::V4(parse_v4(text, address)?)
    };
    let max = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(max), |length| parse_length(text, length, max))?;
    check(text, address, length)
}

fn parse_v4(text: &str, address: &str) -> Result<Ipv4Addr, AddressError> {
    let parts: Vec<&str> = address.split('.').collect();
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !parts.iter().any(|part| numeric(part)) || parts.iter().any(|part| part.contains('-')) {
        return Err(AddressError::Name { text: text.to_owned() });
    }
    if parts.len() != 4 {
        return Err(AddressError::Parts { text: text.to_owned(), parts: parts.len() });
    }
    let mut octets = [0; 4];
    for (index, (part, octet)) in parts.iter().zip(&mut octets).enumerate() {
        let (text, index, part) = (text.to_owned(), index + 1, (*part).to_owned());
        if !numeric(&part) {
            return Err(AddressError::Part { text, index, part });
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err(AddressError::Octal { text, index, part });
        }
        *octet = part.parse().map_err(|_| AddressError::Part { text, index, part })?;
    }
    Ok(octets.into())
}

fn parse_length(text: &str, length: &str, max: u8) -> Result<u8, AddressError> {
    let error = || AddressError::Length { text: text.to_owned(), length: length.to_owned(), max };
    // `parse` would take "+24" and "024" as well.
    let plain = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    match length.parse::<u8>() {
        Ok(number) if plain && number <= max => Ok(number),
        _ => Err(error()),
    }
}

/// Checks what the numbers mean, now that they are numbers.
fn check(text: &str, address: IpAddr, length: u8) -> Result<IpNet, AddressError> {
    let net = match address {
        IpAddr::V4(v4) => Ipv4Net::new(v4, length).map(IpNet::V4),
        IpAddr::V6(v6) => Ipv6Net::new(v6, length).map(IpNet::V6),
    };
    // parse_length has bounded the length
    let net = net.map_err(|_| AddressError::Length {
        text: text.to_owned(),
        length: length.to_string(),
        max: if address.is_ipv4() { 32 } else { 128 },
    })?;
    if let IpNet::V6(v6) = net {
        let mapped = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
        if let Some(v4) = v6.addr().to_ipv4_mapped()
            && mapped.contains(&v6)
        {
            let v4 = IpNet::V4(Ipv4Net::new_assert(v4, length - 96)).trunc();
            return Err(AddressError::Mapped { text: text.to_owned(), v4 });
        }
        if v6.contains(&mapped) {
            return Err(AddressError::CoversV4 { text: text.to_owned() });
        }
    }
    if net.trunc() != net {
        return Err(AddressError::HostBits { text: text.to_owned(), network: net.trunc(), host: address.into() });
    }
    Ok(net)
}

/// Is it such as [`parse`] gives: without host bits, and of one family?
pub fn is_sound(net: IpNet) -> bool {
    check("", net.addr(), net.prefix_len()).is_ok()
}

/// An address or CIDR as people write it: without `/32` and `/128`.
pub fn show(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_cidrs_of_both_families_are_taken() {
        for (text, net) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("255.255.255.255", "255.255.255.255/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:DB8::/48", "2001:db8::/48"),
            ("2000::/3", "2000::/3"),
            ("64:ff9b::203.0.113.7", "64:ff9b::cb00:7107/128"),
        ] {
            assert_eq!(parse(text).map(|n| n.to_string()).as_deref(), Ok(net), "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_wrong_is_refused_with_the_reason_and_the_fix() {
        for (text, reason, fix) in [
            ("", "empty", "write one such as"),
            (" 10.0.0.1", "blank", "without it"),
            ("999.1.1.1", "part 1, `999`", "correct that part"),
            ("010.1.1.1", "octal", "write it without"),
            ("1.2.3.x", "part 4, `x`", "correct that part"),
            ("1.2.3.", "part 4, ``", "correct that part"),
            ("1.2.3", "has 3 parts", "write it in full"),
            ("1.2.3.4.5", "has 5 parts", "write it in full"),
            ("16909060", "has 1 parts", "write it in full"),
            ("10.0.0.1/33", "`33`", "0 to 32"),
            ("10.0.0.1/", "``", "0 to 32"),
            ("10.0.0.0/+8", "`+8`", "0 to 32"),
            ("10.0.0.0/08", "`08`", "0 to 32"),
            ("10.0.0.0/255.0.0.0", "`255.0.0.0`", "0 to 32"),
            ("10.0.0.0/8/8", "`8/8`", "0 to 32"),
            ("2001:db8::/129", "`129`", "0 to 128"),
            ("10.0.0.1/24", "host bits set", "did you mean 10.0.0.0/24 or 10.0.0.1/32?"),
            ("2001:db8::1/48", "host bits set", "did you mean 2001:db8::/48 or 2001:db8::1/128?"),
            ("::ffff:1.2.3.4", "IPv4 address", "write it as 1.2.3.4/32"),
            ("::ffff:1.2.3.0/120", "IPv4 address", "write it as 1.2.3.0/24"),
            ("::/0", "also cover IPv4", "2000::/3"),
            ("fe80::1%eth0", "zone", "without `%...`"),
            ("1.2.3.4:5060", "port", "bare address"),
            ("[2001:db8::1]", "brackets", "bare address"),
            ("[2001:db8::1]:5060", "port", "bare address"),
            ("2001:db8:::1", "not an IPv6 address", "one `::`"),
            ("sip.example.com", "not an address", "write the address itself"),
            ("localhost", "not an address", "write the address itself"),
            ("1.2.3.4-1.2.3.9", "not an address", "write the address itself"),
            ("１.2.3.4", "part 1", "correct that part"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(message.contains(reason) && message.contains(fix), "{text}: {message}");
        }
    }

    proptest! {
        /// The standard library is the second opinion: what both take is the same address.
        #[test]
        fn the_standard_library_agrees(text in "[0-9a-f:./%x ]{0,24}") {
            if let Ok(net) = parse(&text) {
                let address = text.split('/').next().unwrap_or_default();
                prop_assert_eq!(net.addr(), address.parse::<IpAddr>().expect("accepted by one only"));
                prop_assert_eq!(net.trunc(), net);
            }
        }

        #[test]
        fn every_address_is_taken_as_it_prints(bits: u128, v4: u32) {
            let (v6, v4) = (Ipv6Addr::from(bits | 1 << 127), Ipv4Addr::from(v4));
            prop_assert_eq!(parse(&v4.to_string()), Ok(IpAddr::V4(v4).into()));
            prop_assert_eq!(parse(&v6.to_string()), Ok(IpAddr::V6(v6).into()));
            prop_assert_eq!(show(IpAddr::V4(v4).into()), v4.to_string());
        }
    }
}
