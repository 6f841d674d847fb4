//! Computes for ever at the word `spin`.

use wirepost_sdk::prelude::*;

filter!(judge);

fn judge(m: &mut Message) -> Verdict {
    let mut turns = 0_u64;
    while m.text().contains("spin") {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
    next()
}
