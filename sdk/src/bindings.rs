//! The interface as wit-bindgen writes it. Nothing outside this crate names it.

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_plugin",
    default_bindings_module: "wirepost_sdk::bindings",
});
