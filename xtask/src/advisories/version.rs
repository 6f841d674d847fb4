//! Versions and requirements, as far as advisories use them.

use std::fmt;

use anyhow::{Context, Result};

/// A version without its pre-release and its build: advisories about those are not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    /// Numbers that are not given are zero.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers = text.trim().split(['-', '+']).next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse::<u64>().ok());
        let major = numbers.next()??;
        let minor = numbers.next().unwrap_or(Some(0))?;
        let patch = numbers.next().unwrap_or(Some(0))?;
        numbers.next().is_none().then_some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether a version meets one of some requirements.
///
/// # Errors
/// If one is no requirement.
pub(super) fn matches_any(version: &Version, requirements: &[String]) -> Result<bool> {
    let mut met = false;
    for requirement in requirements {
        met |= matches(version, requirement)?;
    }
    Ok(met)
}

/// Comparisons with commas between them, all of which must hold.
fn matches(version: &Version, requirement: &str) -> Result<bool> {
    let mut met = true;
    for comparison in requirement.split(',') {
        let comparison = comparison.trim();
        let number = comparison.trim_start_matches(['<', '>', '=']);
        let sign = comparison.strip_suffix(number).unwrap_or_default();
        let wrong = || format!("`{comparison}` is no comparison of versions");
        let bound = Version::parse(number).with_context(wrong)?;
        met &= match sign {
            ">=" => *version >= bound,
            ">" => *version > bound,
            "<=" => *version <= bound,
            "<" => *version < bound,
            "=" => *version == bound,
            _ => anyhow::bail!(wrong()),
        };
    }
    Ok(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: &str, requirement: &str, expect: Option<bool>) {
        let version = Version::parse(version).unwrap();
        assert_eq!(matches(&version, requirement).ok(), expect, "{version} {requirement}");
    }

    #[test]
    fn requirements_hold_or_not() {
        check("48.0.8", ">= 48.0.9, < 49.0.0", Some(false));
        check("48.0.9", ">= 48.0.9, < 49.0.0", Some(true));
        check("48.10.0", ">48.9.9", Some(true));
        check("49.0.0", "<49", Some(false));
        check("0.9.34+deprecated", "<=0.9.34", Some(true));
        check("1.2.3", "=1.2.3", Some(true));
        for wrong in ["1.2.3", "~1.2", ">=", "", ">=a.b", ">=1.2.3.4"] {
            check("1.2.3", wrong, None);
        }
    }
}
