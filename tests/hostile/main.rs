//! What somebody puts into the router's way on purpose or by mistake, and what it does to anything
//! else: nothing.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod files;
mod engine;
