//! TLS among members: both sides show a certificate of the store's authority. Names and addresses
//! in certificates are not compared: who a member is, the handshake says, and its address may
//! change at any time.

use std::sync::Arc;

use kontiki_base::tls::{self, ClientCertificates};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::options::PeerTls;

const ALPN: &[&[u8]] = &[b"h2"];

/// For accepting peers.
pub(super) fn server(peer: &PeerTls) -> Result<ServerConfig, tls::Error> {
    tls::server_config(&peer.identity, &peer.roots, ClientCertificates::Required, ALPN)
}

/// For dialling peers.
pub(super) fn client(peer: &PeerTls) -> Result<ClientConfig, tls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(&peer.roots.pem)? {
        roots.add(certificate).map_err(|error| tls::Error::Config(error.to_string()))?;
    }
    let mut config = tls::client_config(&peer.roots, Some(&peer.identity), ALPN)?;
    let verifier = ByAuthority { roots, provider: ring::default_provider() };
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    Ok(config)
}

/// Verifies the chain, not the name.
#[derive(Debug)]
struct ByAuthority {
    roots: RootCertStore,
    provider: CryptoProvider,
}

impl ServerCertVerifier for ByAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
