//! What a world has beyond mail and SMS. The upper bits of its seed say so: a seed without them gives
//! the world that it gave before there was more.

/// The first of those bits.
const SHIFT: u32 = 48;
/// Worlds of every kind.
const KINDS: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// SMS become mails, and reports about those come back.
    pub(crate) border: bool,
}

impl Scope {
    pub(crate) fn of(seed: u64) -> Self {
        Self { border: seed >> SHIFT & 1 != 0 }
    }
}

/// The seed with a scope that depends on its number, so that a row of seeds has all of them.
pub(crate) const fn spread(seed: u64) -> u64 {
    seed | (seed % KINDS) << SHIFT
}
