//! Which addresses may be dialed.
//!
//! A name in the configuration is trusted as a name, not for wherever its owner (or an attacker of
//! its DNS) points it: only an address literal or `localhost` is consent to an address of this
//! machine or its network. The metadata services of clouds hand out the machine's own credentials
//! to whoever asks, so nothing is consent to those.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The metadata services of clouds, as each documents its own: AWS, Azure, Google, DigitalOcean and
/// OpenStack (169.254.169.254), ECS tasks (169.254.170.2), EKS pods (169.254.170.23), Tencent
/// (169.254.0.23), Scaleway (169.254.42.42), Alibaba (100.100.100.200), Azure's wire server
/// (168.63.129.16) and Oracle (192.0.0.192).
const METADATA_V4: [Ipv4Addr; 8] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(169, 254, 0, 23),
    Ipv4Addr::new(169, 254, 42, 42),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same over IPv6: AWS, EKS pods, Google, Scaleway.
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

/// Whether it is the metadata service of a cloud: refused always, also when written as a literal.
pub fn is_metadata(address: IpAddr) -> bool {
    match meant(address) {
        IpAddr::V4(address) => METADATA_V4.contains(&address),
        IpAddr::V6(address) => METADATA_V6.contains(&address),
    }
}

/// Whether it lies on this machine, in its network, or nowhere: loopback, private (RFC 1918, RFC
/// 4193), shared (RFC 6598), link-local, benchmarking, multicast, unspecified or reserved.
pub fn is_private(address: IpAddr) -> bool {
    match meant(address) {
        IpAddr::V4(address) => {
            let [first, second, third, _] = address.octets();
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || first == 0
                || (first == 100 && second & 0xc0 == 64)
                || (first == 192 && second == 0 && third == 0)
                || (first == 198 && second & 0xfe == 18)
                || first >= 224
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.segments()[0] & 0xffc0 == 0xfec0
        }
    }
}

/// The address that a text is, in any spelling that a resolver takes for one without asking anybody:
/// beside the usual ones those of inet_aton(3), such as `169.254.43518`, `0xa9fea9fe` or `0251.0376.1`.
pub fn literal(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| in_parts(text.strip_suffix('.').unwrap_or(text)).map(IpAddr::V4))
}

/// Up to four numbers, decimal, octal or hexadecimal, of which the last fills all that is left.
fn in_parts(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let parts = text.split('.').map(number).collect::<Option<Vec<_>>>()?;
    let (last, first) = parts.split_last()?;
    let room = 32 - 8 * u32::try_from(first.len()).ok().filter(|count| *count < 4)?;
    if first.iter().any(|part| *part > 255) || u64::from(*last) >> room != 0 {
        return None;
    }
    let high = first.iter().fold(0, |sum: u64, part| sum << 8 | u64::from(*part)) << room;
    u32::try_from(high | u64::from(*last)).ok().map(Ipv4Addr::from)
}

/// The IPv4 address behind an IPv6 one that only wraps it: mapped (`::ffff:a.b.c.d`), compatible
/// (`::a.b.c.d`), NAT64 (`64:ff9b::a.b.c.d`) and 6to4 (`2002:aabb:ccdd::`).
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(outer) = address else { return address };
    let wrapped = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match outer.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => wrapped(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_metadata, is_private, literal};

    #[test]
    fn metadata_services_are_known_in_every_spelling() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "169.254.170.2",
            "100.100.100.200",
            "fd00:ec2::254",
        ] {
            assert!(is_metadata(address.parse().expect(address)), "{address}");
        }
        assert!(!is_metadata("169.254.169.253".parse().expect("an address")));
    }

    #[test]
    fn an_address_is_seen_in_every_spelling_that_resolvers_take() {
        for text in [
            "169.254.169.254",
            "169.254.43518",
            "169.16689662",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0xa9.254.",
        ] {
            let address = literal(text).unwrap_or_else(|| panic!("{text} is an address"));
            assert!(is_metadata(address), "{text} is {address}");
        }
        for name in
            ["", ".", "api.example", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "4294967296", "0x", "1..2", "08"]
        {
            assert_eq!(literal(name), None, "{name}");
        }
    }

    #[test]
    fn addresses_of_this_machine_and_its_network_are_private() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fdab::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(is_private(address.parse().expect(address)), "{address}");
        }
        for address in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "198.20.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            assert!(!is_private(address.parse().expect(address)), "{address}");
        }
    }
}
