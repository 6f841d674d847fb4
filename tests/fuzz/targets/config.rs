//! YAML of any kind: no text panics, a configuration comes out exactly if nothing is wrong, and
//! every finding points into the text.
//!
//! It takes the files that read a configuration, and not the host, whose engine takes minutes to build.
#![no_main]

use std::path::Path;

use config::{CheckOptions, load_text};
use libfuzzer_sys::fuzz_target;

#[path = "../../../host/src/config/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the host uses more of it")]
mod config;

/// What it reads files and users with.
#[path = "../../../host/src/platform"]
#[expect(dead_code, reason = "the host uses more of it")]
mod platform {
    pub mod file;
    pub mod user;
}

/// Certificates are read only if the environment is checked, which a fuzzer leaves alone.
mod tls {
    use crate::config::{ClientTls, ServerTls};

    pub fn server(_tls: &ServerTls) -> Result<(), &'static str> {
        Err("no file is read here")
    }

    pub fn client(_tls: &ClientTls, _verify: bool) -> Result<(), &'static str> {
        Err("no file is read here")
    }
}

fuzz_target!(|octets: &[u8]| {
    let text = String::from_utf8_lossy(octets);
    // Nothing is there to be included.
    let main = Path::new("/nonexistent/wirepost.yaml");
    let loaded = load_text(main, &text, CheckOptions { environment: false });
    assert_eq!(loaded.config.is_some(), loaded.errors() == 0, "{:?}", loaded.findings);
    // A lone CR ends a line in YAML, too.
    let lines = text.split(['\n', '\r']).count();
    for finding in loaded.findings.iter().filter(|finding| finding.file == main) {
        assert!(usize::try_from(finding.line).is_ok_and(|line| line <= lines + 1), "{finding:?}");
        assert!(!finding.message.is_empty());
    }
});
