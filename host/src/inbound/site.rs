//! Where a peer speaks from, as limits count it.

use std::net::{IpAddr, Ipv6Addr};

/// The bits of an IPv6 address that name a network; the rest is the choice of whoever is in it
/// (RFC 4291 §2.5.1).
const V6_BITS: u32 = 64;

/// An IPv4 address, or the /64 of an IPv6 address: one subscriber has all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(IpAddr);

impl Site {
    /// The site of an address. One of IPv4 that is mapped into IPv6 counts as what it is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let mask = u128::MAX << (u128::BITS - V6_BITS);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        })
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/{V6_BITS}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expect: &str) {
        assert_eq!(Site::of(address.parse().unwrap()).to_string(), expect);
    }

    #[test]
    fn a_network_of_ipv6_is_one_site_and_so_is_an_address_of_ipv4() {
        check("192.0.2.1", "192.0.2.1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
        check("2001:db8:1:2::", "2001:db8:1:2::/64");
        check("2001:db8:1:3::1", "2001:db8:1:3::/64");
        check("::1", "::/64");
    }
}
