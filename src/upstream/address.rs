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

/// The same over IPv6: AWS, EKS pods, Google, Scaleway, OpenStack and Oracle.
const METADATA_V6: [Ipv6Addr; 6] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Names of such services: where an outbound proxy looks names up, its own cloud would answer.
const METADATA_NAMES: [&str; 9] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "metadata.platformequinix.com",
    "api.metadata.cloud.ibm.com",
];

/// Whether it is the metadata service of a cloud: refused always, also when written as a literal.
pub fn is_metadata(address: IpAddr) -> bool {
    let is_one = |address: IpAddr| match address {
        IpAddr::V4(address) => METADATA_V4.contains(&address),
        IpAddr::V6(address) => METADATA_V6.contains(&address),
    };
    is_one(address) || wrapped(address).is_some_and(|inner| is_one(inner.into()))
}

/// Whether a host is a name of the metadata service of a cloud, in any spelling.
pub fn is_metadata_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    METADATA_NAMES.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// Whether it is of no use beyond this machine and its network: loopback, private (RFC 1918, RFC 4193),
/// shared (RFC 6598), link-local, multicast, and all else that is not globally reachable by the registries
/// of special addresses (RFC 6890); also behind an IPv6 address that wraps one of IPv4.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match wrapped(address.into()) {
            Some(inner) => is_private_v4(inner) || is_private_v6(address),
            None => is_private_v6(address),
        },
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || first == 0
        || (first == 100 && second & 0xc0 == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && second & 0xfe == 18)
        || first >= 224
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, fourth, ..] = address.segments();
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast()
        // Site-local (RFC 3879), and translation within one network (RFC 8215).
        || first & 0xffc0 == 0xfec0
        || (first, second, third) == (0x64, 0xff9b, 1)
        // To be discarded (RFC 6666), for benchmarks (RFC 5180), for documentation (RFC 3849, RFC 9637), and
        // identifiers of segment routing (RFC 9602).
        || (first, second, third, fourth & 0xfffe) == (0x100, 0, 0, 0)
        || (first, second, third) == (0x2001, 2, 0)
        || (first, second) == (0x2001, 0xdb8)
        || (first, second & 0xf000) == (0x3fff, 0)
        || first == 0x5f00
}

/// The address that a text is, in any spelling that a resolver takes for one without asking anybody:
/// beside the usual ones those of inet_aton(3), such as `169.254.43518`, `0xa9fea9fe` or `0251.0376.1`, and those
/// with a zone behind them (RFC 6874).
pub fn literal(text: &str) -> Option<IpAddr> {
    let text = text.split('%').next().unwrap_or(text);
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

/// The IPv4 address to which an IPv6 one leads that wraps it: mapped (`::ffff:a.b.c.d`), compatible
/// (`::a.b.c.d`), translated (`::ffff:0:a.b.c.d`, RFC 2765), NAT64 (`64:ff9b::a.b.c.d`, and `64:ff9b:1::` within
/// one network), 6to4 (`2002:aabb:ccdd::`), Teredo (`2001::`, its last bits inverted, RFC 4380) and ISATAP
/// (`::5efe:a.b.c.d` behind any prefix, RFC 5214).
fn wrapped(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(outer) = address else { return None };
    let inner = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match outer.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0x2001, 0, .., high, low] => inner(!high, !low),
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..]
        | [.., 0 | 0x200, 0x5efe, high, low] => inner(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_metadata, is_metadata_name, is_private, literal};

    #[test]
    fn names_of_metadata_services_are_known() {
        for name in ["metadata.google.internal", "METADATA.google.internal.", "instance-data", "metadata"] {
            assert!(is_metadata_name(name), "{name}");
        }
        for name in ["metadata.example", "google.internal", "my-metadata", "", "."] {
            assert!(!is_metadata_name(name), "{name}");
        }
    }

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
            "168.63.129.16",
            "192.0.0.192",
            "fe80::a9fe:a9fe",
            "::ffff:0:169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:2:3:4:a9fe:a9fe",
            "2001:0:1:2:3:4:5601:5601",
            "2001:db8::5efe:a9fe:a9fe",
            "fe80::200:5efe:a9fe:a9fe",
            "::ffff:100.100.100.200",
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
            "fe80::a9fe:a9fe%eth0",
            "fe80::a9fe:a9fe%25eth0",
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
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b:1::808:808",
            "2002:a00:1::1",
            "2002:c0a8:101::",
            "2001:0:808:808::f5ff:fffe",
            "2606:4700::5efe:a00:1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "2001:2::1",
            "5f00::1",
            "240.0.0.1",
        ] {
            assert!(is_private(address.parse().expect(address)), "{address}");
        }
        for address in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2001:0:808:808::f7f7:f7f7",
            "3ffe::1",
        ] {
            assert!(!is_private(address.parse().expect(address)), "{address}");
        }
    }
}
