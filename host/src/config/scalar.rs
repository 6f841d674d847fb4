//! The small values that a configuration is made of: rates, networks, secrets, and how they are
//! spelled. Durations and sizes are spelled here too and become `Duration` and `u64`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The name of a listener, account, connector, plugin, table or route: cheap to clone and compare.
pub type Name = Arc<str>;

/// So many messages in so much time, for example `200/s` or `100/m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many in one period; at least one.
    pub count: u32,
    /// The period: a second, a minute, an hour or a day.
    pub per: Duration,
}

impl Rate {
    /// Messages per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            60 => "m",
            3600 => "h",
            86_400 => "d",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A network in CIDR notation; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` lies in this network. An IPv4 address that arrives mapped into IPv6
    /// (`::ffff:192.0.2.1`, as a dual-stack socket reports it) counts as the IPv4 address it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// Whether it is of IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// The bits of its prefix.
    #[must_use]
    pub fn bits(&self) -> u128 {
        Self::bits_of(self.address, self.prefix)
    }

    /// The first `prefix` bits of an address: those that a network with such a prefix compares.
    #[must_use]
    pub fn bits_of(address: IpAddr, prefix: u8) -> u128 {
        let prefix = u32::from(prefix);
        match address {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                bits.checked_shr(32_u32.saturating_sub(prefix)).unwrap_or(0).into()
            }
            IpAddr::V6(address) => {
                address.to_bits().checked_shr(128_u32.saturating_sub(prefix)).unwrap_or(0)
            }
        }
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether these are the whole Internet of a family together, in however many pieces.
    #[must_use]
    pub fn are_everything(networks: &[Self]) -> bool {
        let covers = |bits: u32, all: Vec<(u128, u8)>| {
            let last = u128::MAX >> (128 - bits);
            let mut next = 0;
            let mut sorted = all;
            sorted.sort_unstable();
            for (first, prefix) in sorted {
                if first > next {
                    return false;
                }
                let size_bits = bits.saturating_sub(u32::from(prefix));
                let end = first | (u128::MAX.checked_shr(128 - size_bits).unwrap_or(0) & last);
                if end >= last {
                    return true;
                }
                next = next.max(end + 1);
            }
            false
        };
        let of = |v6: bool| {
            let family = networks.iter().filter(move |network| network.address.is_ipv6() == v6);
            let bits = family.map(|network| match network.address {
                IpAddr::V4(address) => (u128::from(address.to_bits()), network.prefix),
                IpAddr::V6(address) => (address.to_bits(), network.prefix),
            });
            bits.collect()
        };
        covers(32, of(false)) || covers(128, of(true))
    }

    /// Reads `192.0.2.0/24`, `2001:db8::/32` or a bare address.
    ///
    /// # Errors
    ///
    /// A sentence about what is wrong: not an address, a prefix that is too long, or bits set
    /// behind the prefix.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_error| format!("\"{address}\" is not an IP address"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= longest)
                .ok_or_else(|| format!("the prefix length is a number from 0 to {longest}"))?,
        };
        let network = Self { address, prefix };
        let first = network.first();
        if first == address {
            Ok(network)
        } else {
            Err(format!("{address} has bits set behind /{prefix}; the network is {first}/{prefix}"))
        }
    }

    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A password or token, resolved from the environment, a file or the YAML itself. It is never
/// printed: `Debug` shows dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a value that must not be printed.
    #[must_use]
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends or compares it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The longest duration that a configuration may name: ten years. It keeps every sum of times far
/// from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Reads `250ms`, `30s`, `5m`, `2h`, `7d` and sums such as `1h30m`.
///
/// # Errors
///
/// A sentence about what is wrong.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "a duration is a number and a unit: 250ms, 30s, 5m, 2h, 7d, 1h30m";
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(HELP.to_owned());
    }
    while !rest.is_empty() {
        let (number, unit, behind) = number_and_unit(rest).ok_or_else(|| HELP.to_owned())?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(HELP.to_owned()),
        };
        let millis = number.checked_mul(millis).ok_or_else(|| HELP.to_owned())?;
        total = total
            .checked_add(Duration::from_millis(millis))
            .filter(|total| *total <= DURATION_MAX)
            .ok_or_else(|| "a duration is at most ten years".to_owned())?;
        rest = behind;
    }
    Ok(total)
}

/// Reads `512`, `64KiB`, `10MiB`, `2GiB` and the decimal `10MB`; the result is in octets.
///
/// # Errors
///
/// A sentence about what is wrong.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const HELP: &str = "a size is a number of octets, or one with a unit: 64KiB, 10MiB, 2GiB";
    let (number, unit, rest) = number_and_unit(text).ok_or_else(|| HELP.to_owned())?;
    let octets: u64 = match unit {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(HELP.to_owned()),
    };
    if !rest.is_empty() {
        return Err(HELP.to_owned());
    }
    number.checked_mul(octets).ok_or_else(|| HELP.to_owned())
}

/// Reads `200/s`, `100/m`, `5000/h` or `100000/d`.
///
/// # Errors
///
/// A sentence about what is wrong.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    const HELP: &str = "a rate is a count and a period: 200/s, 100/m, 5000/h, 100000/d";
    let (count, period) = text.split_once('/').ok_or_else(|| HELP.to_owned())?;
    let count: u32 = count.trim().parse().map_err(|_error| HELP.to_owned())?;
    let seconds = match period.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(HELP.to_owned()),
    };
    if count == 0 {
        return Err("a rate is at least one; leave the key out for no limit".to_owned());
    }
    Ok(Rate { count, per: Duration::from_secs(seconds) })
}

/// Splits `1h30m` into 1, `h` and `30m`.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let number = number.parse().ok()?;
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, behind) = rest.split_at_checked(letters)?;
    Some((number, unit, behind))
}

/// How a duration is spelled in a message: the largest unit that divides it.
#[must_use]
pub fn spell_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// How a size is spelled in a message: the largest unit that divides it.
#[must_use]
pub fn spell_size(octets: u64) -> String {
    for (unit, size) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if octets >= size && octets.is_multiple_of(size) {
            return format!("{}{unit}", octets / size);
        }
    }
    octets.to_string()
}
