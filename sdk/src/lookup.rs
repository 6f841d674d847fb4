//! Slow questions, which the host asks for the plugin: an HLR, a directory, any service that the operator
//! declared under `lookups`.
//!
//! Ask, then return [`wait`](crate::verdict::wait). Nobody waits inside of the plugin: the message is put
//! aside until the answers are there, and [`OnLookup::resume`] takes it up. Until then nothing of the call
//! counts, and the whole of it, `process` included, happens again.

use crate::{Error, Message, Plugin, Result, Verdict, backend};

/// What a look-up said: a text without white space at its ends. [`Error::NotFound`]: the service does not
/// know the key; anything else: it did not answer as it should.
pub type Answer = std::result::Result<String, Error>;

/// Asks a look-up of the YAML for a key. The number is the answer's place in what `resume` gets.
///
/// # Errors
/// [`Error::NotFound`] if there is no such look-up, [`Error::Exhausted`] after eight questions,
/// [`Error::TooLarge`] and [`Error::Invalid`] if the key is none.
pub fn ask(name: &str, key: &str) -> std::result::Result<u32, Error> {
    backend::lookup_ask(name, key)
}

/// A plugin that takes up messages when its questions are answered: `plugin!(Type, on_lookup)`.
pub trait OnLookup: Plugin {
    /// Decides about a message whose questions are answered. `state` is what `wait` was given.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    fn resume(
        &mut self,
        message: &mut Message<'_>,
        state: &[u8],
        answers: &[Answer],
    ) -> Result<Verdict>;
}
