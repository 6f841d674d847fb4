//! Return addresses of mail that was an SMS: their key, where they lead, and who may use them.

use bytes::Bytes;
use message::{Address, MessageId};
use spool::{Batch, Spool};

use super::Router;
use crate::config::{Bounces, ListenerKind};
use crate::generation::Generation;
use crate::intake::Refusal;
use crate::pipeline::reply;
use crate::receipt::return_path::{ReturnPath, ReturnPaths};

/// Octets of the key.
pub(crate) const KEY_OCTETS: usize = 32;
/// Where the spool keeps it, so that addresses live on after a restart.
const KEY: &[u8] = b"keys/return-path";

impl Router {
    /// The return address of a leg that was an SMS; none where no report could come in.
    pub(super) fn return_address(
        &self,
        generation: &Generation,
        leg: MessageId,
    ) -> Option<Address> {
        let bounces = generation.config.bounces.as_ref()?;
        let listens = |kind: &ListenerKind| matches!(kind, ListenerKind::Smtp(_));
        let takes_mail = generation.config.listeners.values().any(|it| listens(&it.kind));
        takes_mail.then(|| self.return_paths(bounces).address(leg, &bounces.domain))
    }

    /// The leg that a mailbox is the return address of; none if it is no return address at all. Who
    /// relays from where does not matter: nobody but us makes such addresses.
    ///
    /// # Errors
    /// The refusal: a stranger made it, it is too old, or the sender is not that of a report.
    pub fn report_on(
        &self,
        generation: &Generation,
        sender: &Address,
        mailbox: &Address,
    ) -> Result<Option<MessageId>, Refusal> {
        let (Some(bounces), true) = (&generation.config.bounces, mailbox.is_mailbox()) else {
            return Ok(None);
        };
        let (ttl, now) = (generation.config.spool.receipts_ttl, self.clock.now());
        let refused = |code, enhanced, text| {
            Err(Refusal::from_reply(&reply(code, enhanced, 0x0B, text), true))
        };
        match self.return_paths(bounces).read(&mailbox.value, &bounces.domain, ttl, now) {
            ReturnPath::Other => Ok(None),
            ReturnPath::Forged => refused(550, "5.1.1", "No such return address"),
            ReturnPath::Expired => refused(550, "5.1.1", "This return address has expired"),
            ReturnPath::Ours(_) if !sender.is_null() => {
                refused(550, "5.7.1", "This address takes reports from the null sender only")
            }
            ReturnPath::Ours(leg) => Ok(Some(leg)),
        }
    }

    fn return_paths<'a>(&'a self, bounces: &'a Bounces) -> ReturnPaths<'a> {
        // The spool's own key opens what it sealed before a secret was configured.
        let own = std::iter::once(&self.return_key[..]);
        match bounces.keys.split_first() {
            Some((first, others)) => {
                let others = others.iter().map(|key| key.reveal().as_bytes());
                ReturnPaths::new(first.reveal().as_bytes(), others.chain(own))
            }
            None => ReturnPaths::new(&self.return_key, []),
        }
    }
}

/// The key of this spool, made at its first start. Others than return addresses use it for purposes of
/// their own.
pub(crate) async fn own_key(spool: &Spool) -> anyhow::Result<[u8; KEY_OCTETS]> {
    if let Some(key) = spool.find(KEY)?
        && let Ok(key) = <[u8; KEY_OCTETS]>::try_from(&key[..])
    {
        return Ok(key);
    }
    let mut key = [0; KEY_OCTETS];
    aws_lc_rs::rand::fill(&mut key)
        .map_err(|_unspecified| anyhow::anyhow!("the system gives no random numbers"))?;
    let mut batch = Batch::new();
    batch.put_key(Bytes::from_static(KEY), Bytes::copy_from_slice(&key), spool::NEVER_MS);
    let _durable = spool.commit(batch).await?;
    Ok(key)
}
