//! The interface as wasmtime's macro writes it. Nothing outside this module's parent names it.

wasmtime::component::bindgen!({
    path: "../sdk/wit",
    world: "wirepost:plugin/plugin",
    imports: {
        "wirepost:plugin/kv.get": async,
        "wirepost:plugin/kv.set-if-absent": async,
        "wirepost:plugin/kv.delete": async,
    },
    exports: { default: async },
    with: {
        "wirepost:plugin/message-api.message": super::host_calls::Handle,
    },
});
