//! What a plugin may ask of a receipt.

use super::super::bindings::wirepost::plugin::receipt_api;
use super::super::bindings::wirepost::plugin::types as wit;
use super::super::judgement::SeenReceipt;
use super::super::session::Context;
use super::super::translate::lower;
use super::Receipt;

impl receipt_api::Host for Context {}

impl receipt_api::HostReceipt for Context {
    fn message_id(&mut self, _this: Receipt) -> u64 {
        self.receipt().map_or(0, |receipt| receipt.message.as_u64())
    }

    fn recipient(&mut self, _this: Receipt) -> wit::Address {
        let empty = || wit::Address { value: String::new(), kind: 1, ton: 0, npi: 0 };
        self.receipt().map_or_else(empty, |receipt| lower(&receipt.recipient))
    }

    fn target(&mut self, _this: Receipt) -> String {
        self.receipt().map(|receipt| receipt.target.to_string()).unwrap_or_default()
    }

    fn state(&mut self, _this: Receipt) -> u16 {
        self.receipt().map_or(0, |receipt| u16::from(receipt.state))
    }

    /// The book of receipts keeps no notes of messages.
    fn meta(&mut self, _this: Receipt, _key: String) -> Option<String> {
        None
    }

    fn field(&mut self, _this: Receipt, key: String) -> wit::Value {
        let text = self.receipt().and_then(|receipt| match &*key {
            "receipt.error" => Some(receipt.error.to_string()),
            "receipt.text" => Some(receipt.text.to_string()),
            _ => None,
        });
        self.copy(key.len().saturating_add(text.as_ref().map_or(0, String::len)));
        text.filter(|text| !text.is_empty()).map_or(wit::Value::None, wit::Value::Text)
    }

    fn drop(&mut self, _this: Receipt) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl Context {
    fn receipt(&self) -> Option<&SeenReceipt> {
        self.session.as_ref()?.receipt.as_ref()
    }
}
