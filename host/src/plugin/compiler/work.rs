//! The work itself: octets of strangers in, machine code out. It runs in a process of its own, whose
//! limits are set before it reads a single one of those octets.

use std::io::{Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limits::Allowance;
use crate::platform::confine::{self, Bounds};
use crate::plugin::bounds;
use crate::plugin::engine::{self, Settings};
use crate::plugin::fault::{LoadError, LoadStep};
use crate::plugin::module::Module;
use crate::plugin::slots::larger_than_a_slot;

/// Octets before a head: its length.
const LENGTH_OCTETS: usize = 4;
/// A head is longer if something is wrong with it.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    /// The engine that will run it.
    pub(super) settings: Settings,
    /// What it may use up.
    pub(super) allowance: Allowance,
    /// How large a module may be.
    pub(super) module_bytes_max: u64,
    /// The only hash that is accepted.
    pub(super) pin: Option<[u8; 32]>,
    /// The interfaces that it may import; none are all of them.
    pub(super) granted: Option<Vec<String>>,
}

/// What is said about a module before its machine code.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What the module says about itself, or why it is refused.
    pub(super) module: Result<Module, LoadError>,
    /// Whether the process had no way to files, sockets and other processes.
    pub(super) is_confined: bool,
}

impl Request {
    /// Reads a module and compiles it.
    pub(super) fn work(&self, octets: &Bytes) -> Result<(Module, Vec<u8>), LoadError> {
        let module = Module::read_up_to(octets, self.pin.as_ref(), self.module_bytes_max)?;
        bounds::check(octets)?;
        self.check(&module)?;
        let engine = self.settings.compiling().map_err(|error| not_compiled(&error))?;
        let artifact =
            engine.precompile_component(&module.component).map_err(|error| not_compiled(&error))?;
        Ok((module, artifact))
    }

    /// What depends on the operator and not on the octets alone.
    pub(super) fn check(&self, module: &Module) -> Result<(), LoadError> {
        module.check_pin(self.pin.as_ref())?;
        module.check_imports(self.granted.as_deref())
    }
}

pub(in crate::plugin) fn not_compiled(error: &engine::Error) -> LoadError {
    if let Some(refusal) = larger_than_a_slot(error) {
        return refusal;
    }
    LoadError::new(
        LoadStep::Compile,
        format!("it does not compile: {error:#}"),
        "build it with stable Rust for wasm32-unknown-unknown, without extra target features",
    )
}

/// Serves one request: the child's whole life.
///
/// # Errors
/// A sentence for the parent about what it could not do; a module that is refused is none.
pub fn serve(mut input: impl Read, mut output: impl Write) -> Result<(), String> {
    let say = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let head = read_head(&mut input).map_err(say("the request cannot be read"))?;
    let request: Request = serde_json::from_slice(&head)
        .map_err(|error| format!("the request is damaged: {error}"))?;
    let Allowance { cpu, memory_bytes, .. } = request.allowance;
    confine::bound(Bounds { cpu, memory_bytes }).map_err(say("the limits cannot be set"))?;
    // Where the kernel has no such filter, the limits and the missing rights have to do.
    let is_confined = confine::confine().is_ok();
    let mut octets = Vec::new();
    let most = request.module_bytes_max.saturating_add(1);
    input.take(most).read_to_end(&mut octets).map_err(say("the module cannot be read"))?;
    let (module, artifact) = match request.work(&octets.into()) {
        Ok((module, artifact)) => (Ok(module), artifact),
        Err(error) => (Err(error), Vec::new()),
    };
    let answer = framed(&Answer { module, is_confined })
        .map_err(|error| format!("the answer cannot be written: {error}"))?;
    output.write_all(&answer).map_err(say("the answer cannot be sent"))?;
    output.write_all(&artifact).map_err(say("the machine code cannot be sent"))?;
    output.flush().map_err(say("the machine code cannot be sent"))
}

/// A head with its length before it.
pub(super) fn framed(head: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_vec(head)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    Ok([&length.to_be_bytes()[..], &text].concat())
}

/// Splits a head from what follows it.
pub(super) fn unframed<T: for<'a> Deserialize<'a>>(octets: &[u8]) -> Option<(T, usize)> {
    let mut rest = octets;
    let head = read_head(&mut rest).ok()?;
    Some((serde_json::from_slice(&head).ok()?, LENGTH_OCTETS + head.len()))
}

fn read_head(input: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; LENGTH_OCTETS];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > HEAD_BYTES_MAX {
        return Err(std::io::Error::other("its head is too long"));
    }
    let mut head = vec![0; length];
    input.read_exact(&mut head)?;
    Ok(head)
}
