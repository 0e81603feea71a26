//! Certificate authorities and what they sign.
//!
//! A cluster has separate roots (store, cluster, front-proxy); each is an [`Authority`]. Keys are
//! ECDSA P-256. Subjects follow Kubernetes: the common name is the user, organisations are groups.

pub mod requested;

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use sha2::{Digest, Sha256};

use crate::tls::Identity;

/// Validity of authorities: ten years.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Validity of certificates that authorities sign: one year, as kubeadm does.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Clocks of a cluster may differ by this much when a certificate is fresh.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {reason}")]
pub struct Error {
    /// What was tried.
    pub action: &'static str,
    /// The library's reason.
    pub reason: String,
}

fn failed<E: std::fmt::Display>(action: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error { action, reason: error.to_string() }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS client.
    Client,
    /// TLS server.
    Server,
    /// Both, as members of the store are.
    Peer,
}

/// The subject, names and use of a certificate to be signed.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// Kubernetes user.
    pub common_name: String,
    /// Kubernetes group. The certificate library keeps one value per kind of name.
    pub organization: Option<String>,
    /// DNS names it serves.
    pub dns_names: Vec<String>,
    /// Addresses it serves.
    pub addresses: Vec<IpAddr>,
    /// What it may be used for.
    pub usage: Usage,
    /// How long from now.
    pub lifetime: Duration,
}

impl CertificateRequest {
    /// A client of the given user in a group.
    pub fn client(user: &str, group: Option<&str>) -> CertificateRequest {
        CertificateRequest {
            common_name: user.to_owned(),
            organization: group.map(str::to_owned),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            usage: Usage::Client,
            lifetime: LEAF_LIFETIME,
        }
    }

    /// A server (or peer) of the given names and addresses.
    pub fn serving(
        common_name: &str,
        dns_names: Vec<String>,
        addresses: Vec<IpAddr>,
        usage: Usage,
    ) -> CertificateRequest {
        CertificateRequest {
            common_name: common_name.to_owned(),
            organization: None,
            dns_names,
            addresses,
            usage,
            lifetime: LEAF_LIFETIME,
        }
    }

    fn params(&self, now: time::OffsetDateTime) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        if let Some(organization) = &self.organization {
            name.push(DnType::OrganizationName, organization.as_str());
        }
        name.push(DnType::CommonName, self.common_name.as_str());
        params.distinguished_name = name;
        for dns_name in &self.dns_names {
            let name = dns_name.as_str().try_into().map_err(failed("use a DNS name"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(self.addresses.iter().map(|a| SanType::IpAddress(*a)));
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = match self.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Peer => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.not_before = now - CLOCK_TOLERANCE;
        params.not_after = now + self.lifetime;
        Ok(params)
    }
}

/// A certificate authority: its certificate and key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// The authority's own certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new self-signed root.
    pub fn generate(common_name: &str) -> Result<Authority, Error> {
        let key = KeyPair::generate().map_err(failed("generate a key"))?;
        let now = time::OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.not_before = now - CLOCK_TOLERANCE;
        params.not_after = now + AUTHORITY_LIFETIME;
        let certificate = params.self_signed(&key).map_err(failed("sign an authority"))?;
        Ok(Authority { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// A new key with a certificate for it. The chain holds the root too, so that a joiner can
    /// compare it with the hash in its token.
    pub fn issue(&self, request: &CertificateRequest) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(failed("generate a key"))?;
        let certificate = request
            .params(time::OffsetDateTime::now_utc())?
            .signed_by(&key, &self.issuer()?)
            .map_err(failed("sign a certificate"))?;
        Ok(Identity {
            chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            key_pem: key.serialize_pem(),
        })
    }

    /// Signs the public key of a signing request. Subject, names and usages come from `request`,
    /// never from what the requester wrote.
    pub fn sign(&self, csr_pem: &str, request: &CertificateRequest) -> Result<String, Error> {
        let csr = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(failed("read the signing request"))?;
        let certificate = request
            .params(time::OffsetDateTime::now_utc())?
            .signed_by(&csr.public_key, &self.issuer()?)
            .map_err(failed("sign a certificate"))?;
        Ok(format!("{}{}", certificate.pem(), self.certificate_pem))
    }

    /// SHA-256 of the certificate's DER in lower-case hex: what join tokens pin.
    pub fn fingerprint(&self) -> Result<String, Error> {
        let certificates = crate::tls::certificates(&self.certificate_pem)
            .map_err(failed("read the authority's certificate"))?;
        Ok(fingerprint(&certificates[0]))
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        let key = KeyPair::from_pem(&self.key_pem).map_err(failed("read the authority's key"))?;
        Issuer::from_ca_cert_pem(&self.certificate_pem, key)
            .map_err(failed("read the authority's certificate"))
    }
}

/// SHA-256 of a certificate's DER in lower-case hex.
pub fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new key and a signing request for it: `(request, key)`, both PEM. The private key never
/// leaves the machine that asked.
pub fn signing_request() -> Result<(String, String), Error> {
    let key = KeyPair::generate().map_err(failed("generate a key"))?;
    let request = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(failed("write a signing request"))?;
    Ok((request, key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    fn subject(pem: &str) -> (String, String) {
        let der = crate::tls::certificates(pem).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der[0]).unwrap();
        (certificate.subject().to_string(), certificate.issuer().to_string())
    }

    #[test]
    fn an_issued_client_carries_user_and_groups() {
        let root = Authority::generate("kontiki-cluster").unwrap();
        let identity =
            root.issue(&CertificateRequest::client("admin", Some("system:masters"))).unwrap();
        assert_eq!(
            subject(&identity.chain_pem),
            ("O=system:masters, CN=admin".to_owned(), "CN=kontiki-cluster".to_owned())
        );
    }

    #[test]
    fn the_subject_of_a_signing_request_is_ignored() {
        let root = Authority::generate("kontiki-cluster").unwrap();
        let (csr, _key) = signing_request().unwrap();
        let request = CertificateRequest::client("system:node:w1", Some("system:nodes"));
        let chain = root.sign(&csr, &request).unwrap();
        assert_eq!(subject(&chain).0, "O=system:nodes, CN=system:node:w1");
    }
}
