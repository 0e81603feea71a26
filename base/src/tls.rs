//! TLS configurations made from identities and roots of trust.
//!
//! Every connection between parts of a cluster is mutual TLS on rustls with ring. An [`Identity`]
//! is a certificate chain with its key; [`Roots`] are the authorities that a side believes.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Why an identity or a configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM file could not be read.
    #[error("cannot read {what} from {path}")]
    Read {
        /// What was expected in the file.
        what: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A PEM text does not hold what it should.
    #[error("no valid {what} in PEM: {reason}")]
    Pem {
        /// What was expected.
        what: &'static str,
        /// The parser's reason.
        reason: String,
    },
    /// The TLS library refused the configuration.
    #[error("TLS configuration refused: {0}")]
    Config(String),
}

/// A certificate chain with its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Leaf first, then intermediates (and, for servers that joiners pin, the root).
    pub chain_pem: String,
    /// PKCS#8 private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads chain and key from PEM files.
    pub fn load(chain: &Path, key: &Path) -> Result<Identity, Error> {
        Ok(Identity { chain_pem: read("certificate", chain)?, key_pem: read("private key", key)? })
    }

    fn parse(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|e| Error::Pem { what: "private key", reason: e.to_string() })?;
        Ok((certificates(&self.chain_pem)?, key))
    }
}

/// Authorities that are believed, as PEM certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// One or more certificates.
    pub pem: String,
}

impl Roots {
    /// Reads a PEM bundle.
    pub fn load(path: &Path) -> Result<Roots, Error> {
        Ok(Roots { pem: read("CA certificate", path)? })
    }

    fn store(&self) -> Result<Arc<RootCertStore>, Error> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(&self.pem)? {
            store.add(certificate).map_err(|e| Error::Config(e.to_string()))?;
        }
        Ok(Arc::new(store))
    }
}

/// Makes ring the process's provider. Harmless when called again.
pub fn install_provider() {
    let _ = ring::default_provider().install_default();
}

/// Whether a server insists on a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// No certificate, no connection.
    Required,
    /// A certificate is verified when shown; others may authenticate another way.
    Optional,
}

/// The configuration of a server.
pub fn server_config(
    identity: &Identity,
    client_roots: &Roots,
    clients: ClientCertificates,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    install_provider();
    let builder = WebPkiClientVerifier::builder(client_roots.store()?);
    let builder = match clients {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional => builder.allow_unauthenticated(),
    };
    let verifier = builder.build().map_err(|e| Error::Config(e.to_string()))?;
    let (chain, key) = identity.parse()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| Error::Config(e.to_string()))?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

/// The configuration of a client, with or without an identity of its own.
pub fn client_config(
    roots: &Roots,
    identity: Option<&Identity>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    install_provider();
    let builder = ClientConfig::builder().with_root_certificates(roots.store()?);
    let mut config = match identity {
        Some(identity) => {
            let (chain, key) = identity.parse()?;
            builder.with_client_auth_cert(chain, key).map_err(|e| Error::Config(e.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

/// Decides whether to believe a server by its certificates, where that is not a matter of its
/// name. That the server holds their key is checked beside it, by [`verifier`].
pub trait JudgeChain: std::fmt::Debug + Send + Sync {
    /// Believes the chain, or says why not.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), rustls::Error>;
}

/// A verifier of servers with a judgement of its own, and signatures as everywhere.
pub fn verifier(judge: impl JudgeChain + 'static) -> Arc<dyn ServerCertVerifier> {
    let algorithms = ring::default_provider().signature_verification_algorithms;
    Arc::new(Judged { judge, algorithms })
}

#[derive(Debug)]
struct Judged<J> {
    judge: J,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<J: JudgeChain> ServerCertVerifier for Judged<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(end_entity, intermediates, ocsp_response, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// All certificates of a PEM text; none is an error.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let list = parsed.map_err(|e| Error::Pem { what: "certificate", reason: e.to_string() })?;
    if list.is_empty() {
        return Err(Error::Pem { what: "certificate", reason: "the text holds none".to_owned() });
    }
    Ok(list)
}

fn read(what: &'static str, path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read {
        what,
        path: path.display().to_string(),
        source,
    })
}
