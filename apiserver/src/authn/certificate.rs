//! The user of a client certificate: common name is the user, organisations are groups.

use kontiki_base::pki;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::user::UserInfo;

/// Reads the subject of a certificate that the handshake has verified. One without a common name
/// is nobody's.
pub fn user_of(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    let mut user = UserInfo::new(name, &groups);
    let key = "authentication.kubernetes.io/credential-id".to_owned();
    // Audit logs tell certificates of one user apart by it.
    user.extra.insert(key, vec![format!("X509SHA256={}", pki::fingerprint(der))]);
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_base::{
        pki::{Authority, CertificateRequest},
        tls,
    };

    #[test]
    fn a_subject_becomes_user_and_groups() {
        let root = Authority::generate("test").unwrap();
        let request = CertificateRequest::client("system:node:w1", Some("system:nodes"));
        let chain = root.issue(&request).unwrap().chain_pem;
        let user = user_of(&tls::certificates(&chain).unwrap()[0]).unwrap();
        assert_eq!(user.name, "system:node:w1");
        assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
        assert_eq!(user.node_name(), Some("w1"));
        let credential = &user.extra["authentication.kubernetes.io/credential-id"][0];
        assert!(credential.starts_with("X509SHA256=") && credential.len() == 11 + 64);
    }
}
