//! Files that a configuration names, with something else in their place: nothing is waited for, and no
//! file without an end is read.

use std::fs;
use std::path::Path;
use std::process::Command;

use wirepost::config::{CheckOptions, Loaded, SpoolPlace, load, spool_place};

/// Checks a configuration whose file `what` is a pipe, and one whose file is a device without an end.
#[track_caller]
fn check(yaml: &str, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("wirepost.yaml");
    fs::write(&main, yaml).unwrap();
    let path = folder.path().join(what);
    if path != main {
        refused(&main, &path, "there");
    }
    let pipe = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(pipe.success());
    refused(&main, &path, "a pipe");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    refused(&main, &path, "a device");
}

#[track_caller]
fn refused(main: &Path, path: &Path, words: &str) {
    let Loaded { config, findings, .. } = load(main, CheckOptions::default());
    let name = path.file_name().unwrap().to_str().unwrap();
    let told = findings.iter().any(|finding| finding.message.contains(name));
    assert!(config.is_none() && told, "{name}, {words}: {findings:#?}");
    let exact = findings.iter().any(|finding| finding.message.contains(words));
    // Certificates are looked for first, and only a regular file is one.
    assert!(exact || words == "there" || name.ends_with(".pem"), "{words}: {findings:#?}");
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_a_file_is_an_error() {
    check("tables: { t: { file: t.csv } }\n", "t.csv");
    check("routes: { include: more.yaml }\n", "more.yaml");
    let account = "accounts: { a: { smpp: { system_id: a, password: { file: secret } } } }\n";
    check(account, "secret");
    let relay = "connectors: { r: { smtp: { host: localhost, tls: verify, tls_files: { ca: ca.pem } } } }\n";
    check(relay, "ca.pem");
}

#[test]
fn a_main_file_that_is_a_pipe_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("wirepost.yaml");
    assert!(Command::new("mkfifo").arg(&main).status().unwrap().success());
    refused(&main, &main, "a pipe");
    // Where its spool would be is not waited for either.
    assert_eq!(spool_place(&main), SpoolPlace::Disk(folder.path().join("spool")));
}
