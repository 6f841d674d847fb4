//! Receipts that come back from SMSCs, for plugins that look at them.

use crate::{Address, Plugin, Result};

/// A receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The id of the message that the origin knows.
    pub message_id: u64,
    /// The recipient that it is about.
    pub recipient: Address,
    /// The connector that it came from.
    pub target: String,
    /// SMPP message_state: 2 delivered, 3 expired, 5 undeliverable, 8 rejected.
    pub state: u16,
    /// The error code of the network; empty if there is none.
    pub error: String,
    /// The text of the receipt; empty if there is none.
    pub text: String,
}

/// What becomes of a receipt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tell {
    /// The origin is told, if it asked to be.
    Origin,
    /// It is not.
    Nobody,
}

/// A plugin that sees the receipts for messages from its doors: `plugin!(Type, on_receipt)`.
pub trait OnReceipt: Plugin {
    /// Decides about a receipt that ends a delivery or reports on its way.
    ///
    /// # Errors
    /// A failure of the plugin; the receipt is passed on.
    fn receipt(&mut self, receipt: &Receipt) -> Result<Tell>;
}
