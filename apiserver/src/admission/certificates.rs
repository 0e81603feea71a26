//! Who may approve and sign requests for certificates, and whose name they may not carry.

use async_trait::async_trait;
use kontiki_api::Status;

use super::{Attempt, Operation, Step};
use crate::{authz::Attributes, core::Core, user::MASTERS};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

fn is_request(attempt: &Attempt<'_>, operation: Operation, subresource: &str) -> bool {
    attempt.operation == operation
        && attempt.subresource == subresource
        && attempt.resource.row.group == GROUP
        && attempt.resource.row.resource == REQUESTS
}

/// Whether the writer has a verb on a signer, by name or on all of its domain.
fn may(core: &Core, attempt: &Attempt<'_>, verb: &str, signer: &str) -> bool {
    let ask = |name: &str| {
        core.allows(&Attributes {
            user: &attempt.writer.user,
            verb,
            is_resource: true,
            namespace: "",
            group: GROUP,
            resource: "signers",
            subresource: "",
            name,
            path: "",
        })
    };
    let domain = signer.split('/').next().unwrap_or_default();
    ask(signer) || ask(&format!("{domain}/*"))
}

fn judge(core: &Core, attempt: &Attempt<'_>, verb: &str) -> Result<(), Status> {
    let source = attempt.old.unwrap_or(attempt.object);
    let signer = source["spec"]["signerName"].as_str().unwrap_or_default();
    if may(core, attempt, verb, signer) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(attempt.forbidden(&why))
}

/// Only who may `approve` for a signer approves or denies.
pub(super) struct CertificateApproval;

#[async_trait]
impl Step for CertificateApproval {
    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        if is_request(attempt, Operation::Update, "approval") {
            judge(core, attempt, "approve")?;
        }
        Ok(())
    }
}

/// Only who may `sign` for a signer issues certificates.
pub(super) struct CertificateSigning;

#[async_trait]
impl Step for CertificateSigning {
    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        if !is_request(attempt, Operation::Update, "status") {
            return Ok(());
        }
        let (new, old) = (&attempt.object["status"], attempt.old.map(|old| &old["status"]));
        let unchanged = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
        if unchanged("certificate") && unchanged("conditions") {
            return Ok(());
        }
        judge(core, attempt, "sign")
    }
}

/// Nobody becomes an administrator by certificate.
pub(super) struct CertificateSubjectRestriction;

#[async_trait]
impl Step for CertificateSubjectRestriction {
    async fn validate(&self, _: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
        let spec = &attempt.object["spec"];
        if !is_request(attempt, Operation::Create, "") || spec["signerName"] != SIGNER {
            return Ok(());
        }
        let request = spec["request"].as_str().unwrap_or_default();
        let organizations = organizations(request).map_err(|why| attempt.forbidden(&why))?;
        if organizations.iter().any(|organization| organization == MASTERS) {
            return Err(attempt.forbidden(&format!(
                "use of {SIGNER} signer with {MASTERS} group is not allowed"
            )));
        }
        Ok(())
    }
}

/// The organizations in the subject of a request, which is PEM in base64.
fn organizations(request: &str) -> Result<Vec<String>, String> {
    use base64::Engine as _;
    use x509_parser::prelude::FromDer as _;

    let failed = |what: &dyn std::fmt::Display| format!("failed to parse CSR: {what}");
    let pem = base64::engine::general_purpose::STANDARD
        .decode(request)
        .map_err(|error| failed(&error))?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).map_err(|error| failed(&error))?;
    let (_, request) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents)
            .map_err(|error| failed(&error))?;
    let subject = &request.certification_request_info.subject;
    let all = subject.iter_organization().filter_map(|attribute| attribute.as_str().ok());
    Ok(all.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    #[test]
    fn the_organizations_of_a_request_are_read() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = base64::engine::general_purpose::STANDARD.encode(pem);
        assert_eq!(organizations(&request).unwrap(), ["system:masters"]);
        assert!(organizations("AAAA").is_err());
    }
}
