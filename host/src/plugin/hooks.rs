//! The hooks of a component: those that every plugin has, and those that it may have.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::on_lookup::{LookupHook, LookupHookIndices};
use super::bindings::on_receipt::{ReceiptHook, ReceiptHookIndices};
use super::bindings::{Plugin, PluginIndices};
use super::session::Context;

/// Where the hooks of a component are.
pub(super) struct HooksPre {
    instance: InstancePre<Context>,
    plugin: PluginIndices,
    lookup: Option<LookupHookIndices>,
    receipt: Option<ReceiptHookIndices>,
}

/// Why there is no instance.
pub(super) enum NoInstance {
    /// It did not start.
    Stopped(wasmtime::Error),
    /// What it exports has other types than ours.
    Unfit(wasmtime::Error),
}

/// The hooks of an instance.
pub(super) struct Hooks {
    pub(super) plugin: Plugin,
    /// It takes up messages whose look-ups are answered.
    pub(super) lookup: Option<LookupHook>,
    /// It sees receipts.
    pub(super) receipt: Option<ReceiptHook>,
}

impl HooksPre {
    /// Looks for the hooks of a component.
    ///
    /// # Errors
    /// One that every plugin has is missing.
    pub(super) fn new(instance: InstancePre<Context>) -> wasmtime::Result<Self> {
        let plugin = PluginIndices::new(&instance)?;
        // One that is not there is no mistake: the plugin does without it.
        let lookup = LookupHookIndices::new(&instance).ok();
        let receipt = ReceiptHookIndices::new(&instance).ok();
        Ok(Self { instance, plugin, lookup, receipt })
    }

    /// Makes an instance in this store.
    pub(super) async fn instantiate(
        &self,
        store: &mut Store<Context>,
    ) -> Result<Hooks, NoInstance> {
        let instance = self.instance.instantiate_async(&mut *store).await;
        let instance = instance.map_err(NoInstance::Stopped)?;
        self.load(store, &instance).map_err(NoInstance::Unfit)
    }

    fn load(&self, store: &mut Store<Context>, instance: &Instance) -> wasmtime::Result<Hooks> {
        let lookup = self.lookup.as_ref();
        let receipt = self.receipt.as_ref();
        Ok(Hooks {
            plugin: self.plugin.load(&mut *store, instance)?,
            lookup: lookup.map(|hook| hook.load(&mut *store, instance)).transpose()?,
            receipt: receipt.map(|hook| hook.load(&mut *store, instance)).transpose()?,
        })
    }

    /// Whether the plugin sees receipts.
    pub(super) const fn sees_receipts(&self) -> bool {
        self.receipt.is_some()
    }
}
