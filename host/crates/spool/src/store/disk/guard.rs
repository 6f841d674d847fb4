//! The border to fjall, which panics on some kinds of damage.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does `work`; a panic in it becomes an error with its text.
///
/// What `work` shares may be half changed afterwards. That is sound: the store is read again from
/// disk, or never written again.
pub(super) fn guarded<T, E>(
    work: impl FnOnce() -> Result<T, E>,
    panicked: impl FnOnce(String) -> E,
) -> Result<T, E> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => Err(panicked(format!("the database gave up: {}", text(panic.as_ref())))),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    match panic.downcast_ref::<&str>() {
        Some(text) => text,
        None => panic.downcast_ref::<String>().map_or("it does not say why", String::as_str),
    }
}
