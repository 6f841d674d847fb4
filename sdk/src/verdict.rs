//! What a plugin decides about a message.

use std::time::Duration;

/// What a plugin decides. Build one with the functions of this module.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Carry on: the next plugin, then the route tables.
    Next,
    /// Skip the remaining plugins, go to the route tables.
    Accept,
    /// These targets, in order, instead of the route tables; later plugins still run.
    Route(Vec<String>),
    /// Refuse for good.
    Reject(Reply),
    /// Refuse for now. At the door the peer retries, in the queue we do; the hint is ours.
    Defer(Reply, Option<Duration>),
    /// Acknowledge, then discard; the reason is recorded.
    Drop(String),
    /// Quarantine with a reason, for an operator to release or delete.
    Hold(String),
    /// Not yet: what was asked by [`crate::lookup::ask`] is answered first, then
    /// [`resume`](crate::lookup::OnLookup::resume) gets this back.
    Wait(Vec<u8>),
    /// A verdict of a later host by its code. A host that does not know it reports a fault.
    Other(u16, String),
}

/// The answer that the origin gets. What is left out, the host chooses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// The SMTP reply code; 0: the host's choice. 5xx for a reject, 4xx for a defer.
    pub smtp_code: u16,
    /// The enhanced status code (RFC 3463) such as `5.7.1`; empty: the host's choice.
    pub enhanced: String,
    /// The SMPP command status; 0: the host's choice.
    pub smpp_status: u32,
    /// The reason in words.
    pub text: String,
}

/// Carry on with the next plugin.
#[must_use]
pub const fn next() -> Verdict {
    Verdict::Next
}

/// Skip the remaining plugins.
#[must_use]
pub const fn accept() -> Verdict {
    Verdict::Accept
}

/// Send to this target (a connector or an account), whatever the route tables say.
#[must_use]
pub fn route(target: impl Into<String>) -> Verdict {
    Verdict::Route(vec![target.into()])
}

/// Send to the first of these targets that works.
#[must_use]
pub fn route_any<T: Into<String>>(targets: impl IntoIterator<Item = T>) -> Verdict {
    Verdict::Route(targets.into_iter().map(Into::into).collect())
}

/// Refuse for good, with a reason for the origin.
#[must_use]
pub fn reject(why: impl Into<String>) -> Verdict {
    Verdict::Reject(Reply { text: why.into(), ..Reply::default() })
}

/// Refuse for now, with a reason for the origin.
#[must_use]
pub fn defer(why: impl Into<String>) -> Verdict {
    Verdict::Defer(Reply { text: why.into(), ..Reply::default() }, None)
}

/// Acknowledge and discard; the reason is recorded.
#[must_use]
pub fn drop_message(why: impl Into<String>) -> Verdict {
    Verdict::Drop(why.into())
}

/// Quarantine with a reason.
#[must_use]
pub fn hold(why: impl Into<String>) -> Verdict {
    Verdict::Hold(why.into())
}

/// Wait for what was asked; [`resume`](crate::lookup::OnLookup::resume) gets `state` back, at most 64 KiB.
#[must_use]
pub fn wait(state: impl Into<Vec<u8>>) -> Verdict {
    Verdict::Wait(state.into())
}

impl Verdict {
    /// The SMTP reply code and enhanced status of a reject or a defer; nothing on other verdicts.
    #[must_use]
    pub fn smtp(mut self, code: u16, enhanced: &str) -> Self {
        if let Self::Reject(reply) | Self::Defer(reply, _) = &mut self {
            reply.smtp_code = code;
            enhanced.clone_into(&mut reply.enhanced);
        }
        self
    }

    /// The SMPP command status of a reject or a defer; nothing on other verdicts.
    #[must_use]
    pub fn smpp(mut self, status: u32) -> Self {
        if let Self::Reject(reply) | Self::Defer(reply, _) = &mut self {
            reply.smpp_status = status;
        }
        self
    }

    /// When to try a deferred message again; nothing on other verdicts.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        if let Self::Defer(_, hint) = &mut self {
            *hint = Some(wait);
        }
        self
    }
}
