//! Eats memory at the word `hog`; at `nibble` it takes some and gives it back.

use wirepost_sdk::prelude::*;

filter!(judge);

fn judge(m: &mut Message) -> Verdict {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    let bites = if m.text().contains("hog") { usize::MAX } else { 20 };
    while eaten.len() < bites && !m.text().contains("fast") {
        eaten.push(std::hint::black_box(vec![1; 1 << 20]));
    }
    next()
}
