//! The one place where this program trusts octets without checking each of them: machine code that
//! its own compiler wrote.

use wasmtime::component::Component;

use crate::plugin::engine::Engine;
use crate::plugin::fault::{LoadError, LoadStep};
use crate::plugin::slots::larger_than_a_slot;

/// Machine code of a module, for the engine of this process.
pub(super) struct MachineCode(Vec<u8>);

impl std::fmt::Debug for MachineCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MachineCode({} octets)", self.0.len())
    }
}

impl MachineCode {
    /// Octets that come from a compiler that this process started, or from an entry of the cache
    /// whose seal is whole. Nothing else may be given here: it would be run as it is.
    pub(super) const fn of_our_compiler(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Makes it ready to run. The engine compares its own version, its settings and the processor's
    /// features with those that the code was made for.
    #[expect(
        unsafe_code,
        reason = "the engine cannot check machine code; see the ADR on compiling"
    )]
    pub(super) fn open(&self, engine: &Engine) -> Result<Component, LoadError> {
        // SAFETY: `deserialize` asks for octets that `precompile_component` made and nobody changed.
        // A value of this type holds nothing else: see `of_our_compiler`, whose two callers are the
        // reader of our own child's pipe and the cache, which verifies the seal first.
        let opened = unsafe { Component::deserialize(engine.wasmtime(), &self.0) };
        opened.map_err(|error| {
            if let Some(refusal) = larger_than_a_slot(&error) {
                return refusal;
            }
            LoadError::new(
                LoadStep::Compile,
                format!("its machine code does not fit this engine: {error:#}"),
                "report it with the module: this is our mistake",
            )
        })
    }
}
