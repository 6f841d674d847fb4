//! `wirepost plugin inspect`: what a module says about itself.

use std::path::PathBuf;

use anyhow::{Error, Result};
use clap::Args;

use crate::plugin::Module;

/// What to inspect.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The module.
    file: PathBuf,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let module = Module::read(&super::read(&args.file)?, None).map_err(Error::from)?;
    let manifest = module.manifest.clone().unwrap_or_default();
    let kind = if module.was_core { "module" } else { "component" };
    if args.json {
        let report = serde_json::json!({
            "name": manifest.name, "version": manifest.version, "api": manifest.api,
            "sdk": manifest.sdk, "sha256": module.sha256_hex(), "size_bytes": module.size_bytes,
            "kind": kind, "imports": module.imports, "exports": module.exports,
        });
        println!("{report}");
        return Ok(());
    }
    println!("name     {} {}", manifest.name, manifest.version);
    println!("api      {} (SDK {})", manifest.api, manifest.sdk);
    println!("size     {} octets, a {kind}", module.size_bytes);
    println!("sha256   {}", module.sha256_hex());
    for import in &module.imports {
        println!("imports  {}", import.escape_debug());
    }
    for export in &module.exports {
        println!("exports  {}", export.escape_debug());
    }
    if let Err(error) = module.check_imports(None::<&[&str]>) {
        println!("refused  {error}");
    }
    Ok(())
}
