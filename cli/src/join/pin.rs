//! Recognising a cluster by the hash of its CA.

use std::sync::Arc;

use kontiki_base::{
    pki::fingerprint,
    tls::{self, JudgeChain},
};
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::pki::API_SERVER_NAME;

/// A TLS client that believes exactly the CA with that hash, and of what it signed only API
/// servers: a worker's certificate does not get anybody's token.
pub(crate) fn client_config(ca_fingerprint: &str) -> Result<ClientConfig, Error> {
    tls::install_provider();
    let provider = Arc::new(ring::default_provider());
    let verifier = Pinned { fingerprint: ca_fingerprint.to_owned(), provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(tls::verifier(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// The pinned CA among the certificates that the server showed.
    fn root(
        &self,
        end_entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<CertificateDer<'static>, Error> {
        let all = others.iter().chain([end_entity]);
        let found = all.clone().find(|certificate| fingerprint(certificate) == self.fingerprint);
        found.map(|certificate| certificate.clone().into_owned()).ok_or_else(|| {
            let shown = others.last().map_or_else(|| fingerprint(end_entity), |c| fingerprint(c));
            Error::General(format!(
                "it belongs to another cluster: its CA hash is {}…, the token's is {}…",
                head(&shown),
                head(&self.fingerprint)
            ))
        })
    }
}

/// Enough of a hash for people to compare.
pub(crate) fn head(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

impl JudgeChain for Pinned {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root(end_entity, intermediates)?)?;
        let inner =
            WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        // Whatever was dialled, possibly a balancer: it must be an API server of the cluster.
        let name = ServerName::try_from(API_SERVER_NAME)
            .map_err(|_| Error::InvalidCertificate(CertificateError::NotValidForName))?;
        inner.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use kontiki_base::pki::{Authority, CertificateRequest, Usage};

    use super::*;

    fn verify(pin: &str, authority: &Authority, names: &[&str]) -> Result<(), String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = CertificateRequest::serving("x", names, vec![], Usage::Server);
        let identity = authority.issue(&request).unwrap();
        let chain = tls::certificates(&identity.chain_pem).unwrap();
        let pinned =
            Pinned { fingerprint: pin.to_owned(), provider: Arc::new(ring::default_provider()) };
        pinned
            .judge(&chain[0], &chain[1..], &[], UnixTime::now())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_an_api_server_of_the_pinned_cluster_is_believed() {
        let ours = Authority::generate("ours").unwrap();
        let theirs = Authority::generate("theirs").unwrap();
        let pin = ours.fingerprint().unwrap();
        assert_eq!(verify(&pin, &ours, &[API_SERVER_NAME]), Ok(()));
        let worker = verify(&pin, &ours, &["worker-1"]).unwrap_err();
        assert!(worker.contains("certificate"), "{worker}");
        let other = verify(&pin, &theirs, &[API_SERVER_NAME]).unwrap_err();
        assert!(other.contains("it belongs to another cluster: its CA hash is"), "{other}");
    }
}
