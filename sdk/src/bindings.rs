//! The interface as wit-bindgen writes it. Nothing outside this crate names it.

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_plugin",
    default_bindings_module: "wirepost_sdk::bindings",
});

/// The hook that takes up a message when its look-ups are answered.
pub mod on_lookup {
    wit_bindgen::generate!({
        path: "wit",
        world: "lookup-hook",
        pub_export_macro: true,
        export_macro_name: "export_on_lookup",
        default_bindings_module: "wirepost_sdk::bindings::on_lookup",
        with: {
            "wirepost:plugin/types@0.9.0": super::wirepost::plugin::types,
            "wirepost:plugin/message-api@0.9.0": super::wirepost::plugin::message_api,
            "wirepost:plugin/receipt-api@0.9.0": super::wirepost::plugin::receipt_api,
            "wirepost:plugin/log@0.9.0": super::wirepost::plugin::log,
            "wirepost:plugin/kv@0.9.0": super::wirepost::plugin::kv,
            "wirepost:plugin/metrics@0.9.0": super::wirepost::plugin::metrics,
            "wirepost:plugin/tables@0.9.0": super::wirepost::plugin::tables,
            "wirepost:plugin/targets@0.9.0": super::wirepost::plugin::targets,
            "wirepost:plugin/lookup@0.9.0": super::wirepost::plugin::lookup,
            "wirepost:plugin/clock@0.9.0": super::wirepost::plugin::clock,
            "wirepost:plugin/random@0.9.0": super::wirepost::plugin::random,
        },
    });
}

/// The hook that sees receipts.
pub mod on_receipt {
    wit_bindgen::generate!({
        path: "wit",
        world: "receipt-hook",
        pub_export_macro: true,
        export_macro_name: "export_on_receipt",
        default_bindings_module: "wirepost_sdk::bindings::on_receipt",
        with: {
            "wirepost:plugin/types@0.9.0": super::wirepost::plugin::types,
            "wirepost:plugin/message-api@0.9.0": super::wirepost::plugin::message_api,
            "wirepost:plugin/receipt-api@0.9.0": super::wirepost::plugin::receipt_api,
            "wirepost:plugin/log@0.9.0": super::wirepost::plugin::log,
            "wirepost:plugin/kv@0.9.0": super::wirepost::plugin::kv,
            "wirepost:plugin/metrics@0.9.0": super::wirepost::plugin::metrics,
            "wirepost:plugin/tables@0.9.0": super::wirepost::plugin::tables,
            "wirepost:plugin/targets@0.9.0": super::wirepost::plugin::targets,
            "wirepost:plugin/lookup@0.9.0": super::wirepost::plugin::lookup,
            "wirepost:plugin/clock@0.9.0": super::wirepost::plugin::clock,
            "wirepost:plugin/random@0.9.0": super::wirepost::plugin::random,
        },
    });
}
