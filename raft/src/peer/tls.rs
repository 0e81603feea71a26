//! TLS among members: both sides show a certificate of the store's authority. Names and addresses
//! in certificates are not compared: who a member is, the handshake says, and its address may
//! change at any time.

use kontiki_base::tls::{self, ClientCertificates, JudgeChain};
use rustls::{
    ClientConfig, Error, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, UnixTime},
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
    config.dangerous().set_certificate_verifier(tls::verifier(verifier));
    Ok(config)
}

/// Verifies the chain, not the name.
#[derive(Debug)]
struct ByAuthority {
    roots: RootCertStore,
    provider: CryptoProvider,
}

impl JudgeChain for ByAuthority {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }
}
