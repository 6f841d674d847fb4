//! What a world has beyond mail and SMS. The upper bits of its seed say so: a seed without them gives
//! the world that it gave before there was more.

/// The first of those bits.
const SHIFT: u32 = 48;
/// Worlds of every kind.
const KINDS: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// SMS become mails, and reports about those come back.
    pub(crate) border: bool,
    /// Accounts go, come back, and change.
    pub(crate) accounts: bool,
    /// Plugins refuse, rewrite and split, and are swapped.
    pub(crate) plugins: bool,
    /// Members of a list have messages of their own, and share one answer.
    pub(crate) forks: bool,
    /// SMS come in parts and become mails.
    pub(crate) parts: bool,
}

impl Scope {
    pub(crate) fn of(seed: u64) -> Self {
        let has = |bit: u32| seed >> (SHIFT + bit) & 1 != 0;
        let (border, accounts, plugins) = (has(0), has(1), has(2));
        Self { border, accounts, plugins, forks: has(3), parts: has(4) }
    }
}

/// The seed with a scope that depends on its number, so that a row of seeds has all of them.
pub(crate) const fn spread(seed: u64) -> u64 {
    seed | (seed % KINDS) << SHIFT
}
