//! Which addresses a look-up may ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::LookupUrl;

/// Where clouds tell a machine its own secrets, beside the link-local address that they share.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Whether the host of this URL may be asked at an address that its name led to. What is not public
/// must be written in the URL: a name that suddenly leads into our own network is not believed.
pub(super) fn may_ask(url: &LookupUrl, address: IpAddr) -> bool {
    let address = address.to_canonical();
    if is_forbidden(address) {
        return false;
    }
    let written = url.address().map(|written| written.to_canonical());
    is_public(address)
        || written == Some(address)
        || (&*url.host == "localhost" && address.is_loopback())
}

/// Never asked, whatever the configuration says.
fn is_forbidden(address: IpAddr) -> bool {
    let by_kind = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    by_kind || address.is_multicast() || METADATA.contains(&address)
}

/// Whether it is an address of the Internet and not of somebody's own network.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special =
                (a == 192 && b == 0 && c == 0) || (a == 198 && (b & 0xfe) == 18) || a >= 240;
            !(v4.is_private() || v4.is_loopback() || shared || special)
        }
        IpAddr::V6(v6) => {
            // Addresses that carry one of IPv4 inside are as public as that one.
            let embedded = match v6.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => Some(v4_of(a, b)),
                _ => None,
            };
            let global = (v6.segments()[0] & 0xe000) == 0x2000 || embedded.is_some();
            global && embedded.is_none_or(|v4| is_public(v4) && !is_forbidden(v4))
        }
    }
}

fn v4_of(high: u16, low: u16) -> IpAddr {
    let bits = (u32::from(high) << 16) | u32::from(low);
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, address: &str, expect: bool) {
        let url = LookupUrl::parse(&format!("https://{url}/{{key}}")).unwrap();
        assert_eq!(may_ask(&url, address.parse().unwrap()), expect, "{address}");
    }

    #[test]
    fn public_addresses_are_asked_private_ones_if_written_and_link_local_ones_never() {
        for public in ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"] {
            check("hlr.example", public, true);
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "::1",
            "fc00::1",
            "::ffff:10.1.2.3",
            "64:ff9b::a01:203",
            "2002:a01:203::1",
            "198.18.0.1",
        ] {
            check("hlr.example", private, false);
        }
        for written in ["127.0.0.1", "10.1.2.3", "[::1]", "[fc00::1]"] {
            check(written, written.trim_matches(['[', ']']), true);
        }
        check("10.1.2.3", "10.1.2.4", false);
        check("localhost", "127.0.0.1", true);
        check("localhost", "10.0.0.1", false);
        for never in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "::",
        ] {
            check("hlr.example", never, false);
            let written = if never.contains(':') { format!("[{never}]") } else { never.to_owned() };
            check(&written, never, false);
        }
        check("hlr.example", "::ffff:169.254.169.254", false);
        check("hlr.example", "64:ff9b::a9fe:a9fe", false);
    }
}
