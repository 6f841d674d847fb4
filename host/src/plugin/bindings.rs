//! The interface as wasmtime's macro writes it: what every plugin has, and the hooks that it may have.
//! Nothing outside this module's parent names it.

wasmtime::component::bindgen!({
    path: "../sdk/wit",
    world: "wirepost:plugin/plugin",
    imports: {
        "wirepost:plugin/kv.get": async,
        "wirepost:plugin/kv.set": async,
        "wirepost:plugin/kv.set-if-absent": async,
        "wirepost:plugin/kv.delete": async,
    },
    exports: { default: async },
    with: {
        "wirepost:plugin/message-api.message": super::host_calls::Handle,
        "wirepost:plugin/receipt-api.receipt": super::host_calls::ReceiptHandle,
    },
});

/// The hook that takes up a message when its look-ups are answered.
pub(super) mod on_lookup {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "wirepost:plugin/lookup-hook",
        exports: { default: async },
        with: {
            "wirepost:plugin/types": super::wirepost::plugin::types,
            "wirepost:plugin/message-api": super::wirepost::plugin::message_api,
            "wirepost:plugin/receipt-api": super::wirepost::plugin::receipt_api,
            "wirepost:plugin/log": super::wirepost::plugin::log,
            "wirepost:plugin/kv": super::wirepost::plugin::kv,
            "wirepost:plugin/metrics": super::wirepost::plugin::metrics,
            "wirepost:plugin/tables": super::wirepost::plugin::tables,
            "wirepost:plugin/targets": super::wirepost::plugin::targets,
            "wirepost:plugin/lookup": super::wirepost::plugin::lookup,
            "wirepost:plugin/clock": super::wirepost::plugin::clock,
            "wirepost:plugin/random": super::wirepost::plugin::random,
        },
    });
}

/// The hook that sees receipts.
pub(super) mod on_receipt {
    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "wirepost:plugin/receipt-hook",
        exports: { default: async },
        with: {
            "wirepost:plugin/types": super::wirepost::plugin::types,
            "wirepost:plugin/message-api": super::wirepost::plugin::message_api,
            "wirepost:plugin/receipt-api": super::wirepost::plugin::receipt_api,
            "wirepost:plugin/log": super::wirepost::plugin::log,
            "wirepost:plugin/kv": super::wirepost::plugin::kv,
            "wirepost:plugin/metrics": super::wirepost::plugin::metrics,
            "wirepost:plugin/tables": super::wirepost::plugin::tables,
            "wirepost:plugin/targets": super::wirepost::plugin::targets,
            "wirepost:plugin/lookup": super::wirepost::plugin::lookup,
            "wirepost:plugin/clock": super::wirepost::plugin::clock,
            "wirepost:plugin/random": super::wirepost::plugin::random,
        },
    });
}
