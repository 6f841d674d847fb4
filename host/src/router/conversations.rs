//! Conversations in the spool: what was said, and who answers it.

use message::{Message, Origin, Recipient, record};

use super::Router;
use crate::conversation::{self, Conversation};
use crate::generation::Generation;
use crate::intake::Refusal;

impl Router {
    /// As [`Router::admit_recipient`], for what an SMSC sends us: a message that answers a mail goes to
    /// that mail's sender if a route takes it there, else where its number leads.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit_answer(
        &self,
        generation: &Generation,
        origin: &Origin,
        message: &mut Message,
        recipient: Recipient,
    ) -> Result<Recipient, Refusal> {
        if let Some(conversation) = self.conversation(message, &recipient) {
            let answering = conversation::answer(message, &recipient, &conversation);
            let sender = &message.sender;
            match self.admit_recipient(generation, origin, sender, answering, true) {
                Ok(answering) => return Ok(answering),
                Err(refusal) if !refusal.permanent => return Err(refusal),
                Err(_no_route) => conversation::forget(message),
            }
        }
        self.admit_recipient(generation, origin, &message.sender, recipient, true)
    }

    fn conversation(&self, message: &Message, recipient: &Recipient) -> Option<Conversation> {
        let key = conversation::key(&recipient.address, &message.sender);
        match self.spool.find(&key) {
            Ok(found) => found.and_then(|value| record::decode(&value).ok()),
            Err(error) => {
                tracing::error!(event = "spool.read", id = %message.id, %error);
                None
            }
        }
    }
}
