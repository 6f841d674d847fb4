//! Certificates are renewed by others, at any time, file by file: what is served is what was checked.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wirepost::config::{ClientTls, PemFile};
use wirepost::tls;
use wirepost_tests::wait::until;
use wirepost_tests::world::{config, folder};
use wirepost_tests::{Relay, Smsc, World};

const DOORS: &str = "listeners:
  mail: { smtp: { bind: \"127.0.0.1:0\", hostname: gw.test, allow: [127.0.0.0/8], tls: { cert: cert.pem, key: key.pem, mode: implicit } } }
  esmes: { smpp: { bind: \"127.0.0.1:0\", tls: { cert: cert.pem, key: key.pem } } }
";

/// A certificate for localhost that signed itself, and its key.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// The way certbot and kubelet do it: another file in the place of the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

struct Stage {
    world: World,
    _relay: Relay,
    _smsc: Smsc,
}

impl Stage {
    async fn start((cert, key): &(String, String)) -> Self {
        let (relay, smsc) = (Relay::start().await, Smsc::start().await);
        let text = config(relay.address, smsc.address, "  - { name: all, to: relay }\n");
        let (before, rest) = text.split_once("listeners:\n").unwrap();
        let (_plain, after) = rest.split_once("domains:\n").unwrap();
        let text = format!("{before}{DOORS}domains:\n{after}");
        let text = text.replace("tls: none", "tls: verify, tls_files: { ca: ca.pem }");
        let folder = folder(&text);
        for (name, text) in [("cert.pem", cert), ("key.pem", key), ("ca.pem", cert)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { world: World::start_in(folder).await, _relay: relay, _smsc: smsc }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.folder.path().join(name)
    }

    /// Whether a door shows a certificate that this one is good for.
    async fn shows(&self, door: &str, (cert, _key): &(String, String)) -> bool {
        let file = self.path("expected.pem");
        fs::write(&file, cert).unwrap();
        let ca = Some(PemFile::from(file));
        let files = ClientTls { ca, cert: None, key: None, server_name: None, insecure: false };
        let connector = TlsConnector::from(tls::client(&files, true).unwrap());
        let name = tls::server_name(&files, "localhost").unwrap();
        let tcp = TcpStream::connect(self.world.address(door)).await.unwrap();
        let Ok(mut socket) = connector.connect(name, tcp).await else { return false };
        if door == "mail" {
            assert_eq!(socket.read_u8().await.unwrap(), b'2');
        }
        true
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_being_asked_for() {
    let (old, new) = (pair(), pair());
    let stage = Stage::start(&old).await;
    for door in ["mail", "esmes"] {
        assert!(stage.shows(door, &old).await, "{door}");
    }
    replace(&stage.path("key.pem"), &new.1);
    replace(&stage.path("cert.pem"), &new.0);
    let router = &stage.world.app().router;
    until("the reload", || (router.generation().number > 1).then_some(())).await;
    for door in ["mail", "esmes"] {
        assert!(stage.shows(door, &new).await && !stage.shows(door, &old).await, "{door}");
    }
}

#[tokio::test]
async fn a_pair_that_does_not_match_is_refused_and_the_old_one_is_served() {
    let (old, new) = (pair(), pair());
    let stage = Stage::start(&old).await;
    // Nobody has connected yet: nothing may be read later than it is checked.
    replace(&stage.path("cert.pem"), &new.0);
    let report = stage.world.app().reload.reload(false).await;
    assert!(!report.ok && report.lines.iter().any(|line| line.contains("tls")), "{report:?}");
    for door in ["mail", "esmes"] {
        assert!(stage.shows(door, &old).await, "{door}");
    }
    replace(&stage.path("key.pem"), &new.1);
    let report = stage.world.app().reload.reload(false).await;
    assert!(report.ok, "{report:?}");
    for door in ["mail", "esmes"] {
        assert!(stage.shows(door, &new).await, "{door}");
    }
}

#[tokio::test]
async fn other_authorities_of_a_relay_are_a_change() {
    let (old, new) = (pair(), pair());
    let stage = Stage::start(&old).await;
    replace(&stage.path("ca.pem"), &new.0);
    let report = stage.world.app().reload.reload(false).await;
    assert!(report.ok && report.lines.contains(&"connectors changed".to_owned()), "{report:?}");
    let report = stage.world.app().reload.reload(false).await;
    assert_eq!(report.lines, ["nothing changed"]);
    fs::write(stage.path("ca.pem"), "no certificate").unwrap();
    let report = stage.world.app().reload.reload(false).await;
    assert!(!report.ok && report.lines.iter().any(|line| line.contains("ca.pem")), "{report:?}");
}
