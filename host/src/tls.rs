//! TLS: certificates from files, for both ends of a connection.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::config::{ClientTls, PemFile, ServerTls};

/// Where systems keep the authorities that they trust; the first that is there counts.
const SYSTEM_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// TLS files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or is no PEM.
    #[error("{file}: {problem}")]
    File {
        /// Which one.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and key do not fit, or cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// The authorities for clients cannot be used.
    #[error("the authorities for clients cannot be used: {0}")]
    Authorities(String),
    /// The system keeps no authorities where they are looked for.
    #[error("no system authorities were found; name a file in `ca`")]
    NoAuthorities,
}

/// How a listener speaks TLS.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn server(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| TlsError::Authorities(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(Arc::new(builder.with_single_cert(certificates(&tls.cert)?, key(&tls.key)?)?))
}

/// How a connector speaks TLS. `verify` is whether the certificate must be valid for the host;
/// `tls.insecure` takes any all the same.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn client(tls: &ClientTls, verify: bool) -> Result<Arc<ClientConfig>, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = if verify && !tls.insecure {
        let roots = match &tls.ca {
            Some(file) => authorities(file)?,
            None => system_authorities()?,
        };
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate))
    };
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(private)) => {
            builder.with_client_auth_cert(certificates(cert)?, key(private)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The name that a peer's certificate must be for.
///
/// # Errors
/// If it is neither a host name nor an address.
pub fn server_name(tls: &ClientTls, host: &str) -> io::Result<ServerName<'static>> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {error}")))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    let certificates = certificates.map_err(|error| problem(file, error))?;
    if certificates.is_empty() {
        return Err(problem(file, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn key(file: &PemFile) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| problem(file, error))
}

fn read(file: &PemFile) -> Result<Arc<[u8]>, TlsError> {
    file.octets().map_err(|error| problem(file, error))
}

fn authorities(file: &PemFile) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(certificates(file)?);
    if added == 0 {
        return Err(problem(file, "there is no usable authority in it"));
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|file| file.exists());
    authorities(&found.ok_or(TlsError::NoAuthorities)?.to_path_buf().into())
}

fn problem(file: &PemFile, problem: impl std::fmt::Display) -> TlsError {
    TlsError::File { file: file.path().display().to_string(), problem: problem.to_string() }
}

/// Takes any certificate: encryption without knowing to whom.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::config::TlsMode;

    /// An authority, and a certificate and key that it signed for `name`.
    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new(name: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let ca_key = KeyPair::generate().unwrap();
            let mut ca = CertificateParams::new(Vec::new()).unwrap();
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            let cert = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
            fs::write(folder.path().join("ca"), ca_pem).unwrap();
            fs::write(folder.path().join("cert"), cert.pem()).unwrap();
            fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
            Self { folder }
        }

        fn path(&self, name: &str) -> PemFile {
            self.folder.path().join(name).into()
        }

        fn server(&self, client_ca: Option<PemFile>) -> ServerTls {
            let (cert, key) = (self.path("cert"), self.path("key"));
            ServerTls { cert, key, client_ca, mode: TlsMode::Implicit, required: true }
        }

        fn client(&self) -> ClientTls {
            let ca = Some(self.path("ca"));
            ClientTls { ca, cert: None, key: None, server_name: None, insecure: false }
        }
    }

    /// Whether both get through and one octet reaches the other side.
    async fn shakes_hands(server_tls: &ServerTls, client_tls: &ClientTls, host: &str) -> bool {
        let acceptor = TlsAcceptor::from(server(server_tls).unwrap());
        let connector = TlsConnector::from(client(client_tls, true).unwrap());
        let name = server_name(client_tls, host).unwrap();
        let (near, far) = duplex(64 * 1024);
        let accepting = async {
            let mut socket = acceptor.accept(far).await.ok()?;
            socket.read_u8().await.ok()
        };
        let connecting = async {
            let mut socket = connector.connect(name, near).await.ok()?;
            socket.write_u8(7).await.ok()?;
            socket.flush().await.ok()?;
            socket.read_u8().await.ok()
        };
        tokio::join!(accepting, connecting).0 == Some(7)
    }

    #[tokio::test]
    async fn a_certificate_is_good_for_its_name_and_no_other() {
        let files = Files::new("smsc.example.net");
        let (server, client) = (files.server(None), files.client());
        assert!(shakes_hands(&server, &client, "smsc.example.net").await);
        assert!(!shakes_hands(&server, &client, "other.example.net").await);
        let named = ClientTls { server_name: Some("smsc.example.net".into()), ..client.clone() };
        assert!(shakes_hands(&server, &named, "127.0.0.1").await);
        let insecure = ClientTls { insecure: true, ..client.clone() };
        assert!(shakes_hands(&server, &insecure, "other.example.net").await);
        let stranger = Files::new("smsc.example.net");
        assert!(!shakes_hands(&stranger.server(None), &client, "smsc.example.net").await);
    }

    #[tokio::test]
    async fn a_listener_that_wants_certificates_takes_only_those_of_its_authority() {
        let (files, clients) = (Files::new("smsc.example.net"), Files::new("esme"));
        let server = files.server(Some(clients.path("ca")));
        assert!(!shakes_hands(&server, &files.client(), "smsc.example.net").await);
        let (cert, key) = (Some(clients.path("cert")), Some(clients.path("key")));
        let client = ClientTls { cert, key, ..files.client() };
        assert!(shakes_hands(&server, &client, "smsc.example.net").await);
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let files = Files::new("x");
        let wrong = ServerTls { cert: files.path("nothing"), ..files.server(None) };
        assert!(server(&wrong).unwrap_err().to_string().contains("nothing"));
        let wrong = ServerTls { cert: files.path("key"), ..files.server(None) };
        assert!(server(&wrong).unwrap_err().to_string().contains("no certificate"));
    }
}
