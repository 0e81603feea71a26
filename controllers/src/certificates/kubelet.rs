//! What kubelets may ask for, with upstream's words for what they may not.

use kontiki_base::pki::requested::Requested;

/// Checks a request for the certificate that a kubelet is a client with.
pub(super) fn check_client(asked: &Requested, usages: &[&str]) -> Result<(), String> {
    is_in_nodes(asked)?;
    let forbidden = [
        (asked.dns_names.is_empty(), "DNS"),
        (asked.emails.is_empty(), "Email"),
        (asked.addresses.is_empty(), "IP"),
        (asked.uris.is_empty(), "URI"),
    ];
    if let Some((_, what)) = forbidden.iter().find(|(empty, _)| !empty) {
        return Err(format!("{what} subjectAltNames are not allowed"));
    }
    is_node(asked)?;
    has_usages(usages, "client auth")
}

/// Checks a request for the certificate that a kubelet serves with.
pub(super) fn check_serving(asked: &Requested, usages: &[&str]) -> Result<(), String> {
    is_in_nodes(asked)?;
    if asked.dns_names.is_empty() && asked.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    for (empty, what) in [(asked.emails.is_empty(), "Email"), (asked.uris.is_empty(), "URI")] {
        if !empty {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    has_usages(usages, "server auth")?;
    is_node(asked)
}

fn is_in_nodes(asked: &Requested) -> Result<(), String> {
    if asked.organizations == ["system:nodes"] {
        return Ok(());
    }
    Err("subject organization is not system:nodes".to_owned())
}

fn is_node(asked: &Requested) -> Result<(), String> {
    if asked.common_name.starts_with("system:node:") {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:".to_owned())
}

/// RSA keys also encipher keys; others do not have to say so.
fn has_usages(usages: &[&str], purpose: &str) -> Result<(), String> {
    let mut found = usages.to_vec();
    found.sort_unstable();
    found.dedup();
    let mut wanted = vec!["digital signature", "key encipherment", purpose];
    wanted.sort_unstable();
    let without: Vec<&str> =
        wanted.iter().copied().filter(|usage| *usage != "key encipherment").collect();
    if found == wanted || found == without {
        return Ok(());
    }
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}
