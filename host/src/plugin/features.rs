//! The WebAssembly proposals that a plugin may use: one list, for the validator and for the engine.
//!
//! It holds what stable Rust and clang emit for `wasm32-unknown-unknown`, and what components of
//! JavaScript and Python need: measured, and named in `docs/PLUGINS.md`. Everything else is off:
//! nobody needs it, and most of what went wrong in engines went wrong there.

use wasmparser::WasmFeatures;

/// The proposals, by the names that compilers and `docs/PLUGINS.md` give them.
const PROPOSALS: [(&str, WasmFeatures); 9] = [
    ("mutable-globals", WasmFeatures::MUTABLE_GLOBAL),
    ("nontrapping-fptoint", WasmFeatures::SATURATING_FLOAT_TO_INT),
    ("sign-ext", WasmFeatures::SIGN_EXTENSION),
    ("multivalue", WasmFeatures::MULTI_VALUE),
    ("bulk-memory", WasmFeatures::BULK_MEMORY),
    ("reference-types", WasmFeatures::REFERENCE_TYPES),
    ("simd128", WasmFeatures::SIMD),
    ("extended-const", WasmFeatures::EXTENDED_CONST),
    ("component-model", WasmFeatures::COMPONENT_MODEL),
];

/// The first version of WebAssembly, and those proposals.
pub(super) const ALLOWED: WasmFeatures = {
    let mut allowed = WasmFeatures::FLOATS;
    let mut rest: &[(&str, WasmFeatures)] = &PROPOSALS;
    while let [(_, proposal), others @ ..] = rest {
        allowed = allowed.union(*proposal);
        rest = others;
    }
    allowed
};

/// All the others.
pub(super) const FORBIDDEN: WasmFeatures = WasmFeatures::all().difference(ALLOWED);

/// A proposal that is not allowed, as its document calls it.
pub(super) fn name_of(proposal: WasmFeatures) -> String {
    let names = proposal.iter_names().map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_one_that_authors_are_told() {
        let told = include_str!("../../../docs/PLUGINS.md");
        for (name, _) in PROPOSALS {
            assert!(told.contains(&format!("`{name}`")), "docs/PLUGINS.md does not name {name}");
        }
    }

    /// Each of these was the way out of an engine once, or needs a collector that ours has not.
    #[test]
    fn what_nobody_needs_is_off() {
        let off = WasmFeatures::GC
            | WasmFeatures::GC_TYPES
            | WasmFeatures::FUNCTION_REFERENCES
            | WasmFeatures::TAIL_CALL
            | WasmFeatures::THREADS
            | WasmFeatures::SHARED_EVERYTHING_THREADS
            | WasmFeatures::RELAXED_SIMD
            | WasmFeatures::MULTI_MEMORY
            | WasmFeatures::MEMORY64
            | WasmFeatures::EXCEPTIONS
            | WasmFeatures::LEGACY_EXCEPTIONS
            | WasmFeatures::STACK_SWITCHING
            | WasmFeatures::CUSTOM_PAGE_SIZES
            | WasmFeatures::WIDE_ARITHMETIC
            | WasmFeatures::CM_ASYNC;
        assert!(!ALLOWED.intersects(off), "{}", name_of(ALLOWED & off));
        assert_eq!(name_of(WasmFeatures::TAIL_CALL), "tail-call");
    }
}
