//! The data folder's keys and certificates.
//!
//! A cluster has separate roots, so that one leaked key opens one door: `cluster` (API serving,
//! clients, kubelets), `store` (members and the store's port), `front-proxy` (aggregated APIs) and
//! the key pair that signs service account tokens. Every server holds them all; what a server
//! itself presents is issued anew at each start, so it never expires in a server that is
//! restarted once a year.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use kontiki_base::{
    pki::{self, Authority, CertificateRequest, Usage},
    tls::{self, Identity, Roots},
};
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;

use crate::files;

/// Name that every API server's certificate carries and no other certificate does.
pub(crate) const API_SERVER_NAME: &str = "kubernetes.default.svc";

/// A root of trust as it travels to a joining server.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Root {
    certificate: String,
    key: String,
}

impl Root {
    fn generate(name: &str) -> Result<Root> {
        let authority = Authority::generate(name)?;
        Ok(Root { certificate: authority.certificate_pem, key: authority.key_pem })
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority { certificate_pem: self.certificate.clone(), key_pem: self.key.clone() }
    }

    /// What those who believe in it need.
    pub(crate) fn roots(&self) -> Roots {
        Roots { pem: self.certificate.clone() }
    }
}

/// All that servers share and nobody else has.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) cluster: Root,
    pub(crate) store: Root,
    pub(crate) front_proxy: Root,
    /// PKCS#8 PEM of the key that signs service account tokens.
    pub(crate) service_account_key: String,
}

impl Secrets {
    /// The secrets of a new cluster.
    pub(crate) fn generate() -> Result<Secrets> {
        let (_request, service_account_key) = pki::signing_request()?;
        Ok(Secrets {
            cluster: Root::generate("kontiki-cluster")?,
            store: Root::generate("kontiki-store")?,
            front_proxy: Root::generate("kontiki-front-proxy")?,
            service_account_key,
        })
    }

    /// What join tokens pin.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        Ok(self.cluster.authority().fingerprint()?)
    }
}

/// The `pki` folder of a data folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// Files of the shared secrets, relative to the folder.
const CLUSTER: (&str, &str) = ("ca.crt", "ca.key");
const STORE: (&str, &str) = ("store/ca.crt", "store/ca.key");
const FRONT_PROXY: (&str, &str) = ("front-proxy/ca.crt", "front-proxy/ca.key");
const SERVICE_ACCOUNT: &str = "service-account.key";

impl Folder {
    /// The folder below `data_dir`; nothing is touched yet.
    pub(crate) fn of(data_dir: &Path) -> Folder {
        Folder { path: data_dir.join("pki") }
    }

    /// The shared secrets, if this folder's server has them already. The cluster's CA is written
    /// last, so without it there is no set; with it, a missing file is an error: making a new one
    /// would cut this server off from its cluster.
    pub(crate) fn load(&self) -> Result<Option<Secrets>> {
        if files::read_if_there(&self.path.join(CLUSTER.0))?.is_none() {
            return Ok(None);
        }
        let files = [CLUSTER.0, CLUSTER.1, STORE.0, STORE.1, FRONT_PROXY.0, FRONT_PROXY.1];
        let mut texts = Vec::new();
        for name in files.into_iter().chain([SERVICE_ACCOUNT]) {
            let path = self.path.join(name);
            let text = files::read_if_there(&path)?;
            texts.push(text.with_context(|| {
                format!("{} is missing; restore it from another server", path.display())
            })?);
        }
        let mut texts = texts.into_iter();
        let mut next = || texts.next().expect("one text per file");
        let mut root = || Root { certificate: next(), key: next() };
        let (cluster, store, front_proxy) = (root(), root(), root());
        Ok(Some(Secrets { cluster, store, front_proxy, service_account_key: next() }))
    }

    /// Writes the shared secrets. The cluster's CA comes last: with it, the set is whole.
    pub(crate) fn save(&self, secrets: &Secrets) -> Result<()> {
        for folder in ["", "store", "front-proxy"] {
            files::create_private_folder(&self.path.join(folder))?;
        }
        let write = |name: &str, text: &str| files::write_private(&self.path.join(name), text);
        write(SERVICE_ACCOUNT, &secrets.service_account_key)?;
        for (names, root) in [
            (FRONT_PROXY, &secrets.front_proxy),
            (STORE, &secrets.store),
            (CLUSTER, &secrets.cluster),
        ] {
            write(names.1, &root.key)?;
            write(names.0, &root.certificate)?;
        }
        Ok(())
    }

    /// Writes an identity as `NAME.crt` and `NAME.key`, for people and their tools.
    pub(crate) fn save_identity(&self, name: &str, identity: &Identity) -> Result<()> {
        let path = |extension: &str| self.path.join(format!("{name}.{extension}"));
        files::write_private(&path("key"), &identity.key_pem)?;
        files::write_private(&path("crt"), &identity.chain_pem)
    }

    /// An identity written before.
    pub(crate) fn identity(&self, name: &str) -> Result<Option<Identity>> {
        let path = |extension: &str| self.path.join(format!("{name}.{extension}"));
        let (chain, key) =
            (files::read_if_there(&path("crt"))?, files::read_if_there(&path("key"))?);
        let (Some(chain_pem), Some(key_pem)) = (chain, key) else { return Ok(None) };
        Ok(Some(Identity { chain_pem, key_pem }))
    }

    /// Path of a file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// What a server presents, and to whom. All issued at start.
pub(crate) struct ServerIdentities {
    /// The API server's certificate.
    pub(crate) api: Identity,
    /// This member of the store, as server and as client.
    pub(crate) peer: Identity,
    /// The API server as a client of kubelets.
    pub(crate) kubelet_client: Identity,
    /// The administrator.
    pub(crate) admin: Identity,
    /// A client of the store's port.
    pub(crate) store_client: Identity,
}

impl ServerIdentities {
    /// Issues them for a server of those names, the node's first, and addresses.
    pub(crate) fn issue(
        secrets: &Secrets,
        mut names: Vec<String>,
        mut addresses: Vec<IpAddr>,
        domain: &str,
    ) -> Result<ServerIdentities> {
        let node_name = names.first().cloned().unwrap_or_default();
        let (cluster, store) = (secrets.cluster.authority(), secrets.store.authority());
        let own = ["localhost", "kubernetes", "kubernetes.default", API_SERVER_NAME];
        names.extend(own.map(str::to_owned));
        names.push(format!("{API_SERVER_NAME}.{domain}"));
        names.sort();
        names.dedup();
        addresses.sort();
        addresses.dedup();
        let serving = |usage| {
            CertificateRequest::serving(&node_name, names.clone(), addresses.clone(), usage)
        };
        let client = |user: &str, group| CertificateRequest::client(user, group);
        Ok(ServerIdentities {
            api: cluster.issue(&serving(Usage::Server))?,
            peer: store.issue(&serving(Usage::Peer))?,
            kubelet_client: cluster
                .issue(&client("kube-apiserver-kubelet-client", Some("system:masters")))?,
            admin: cluster.issue(&client("admin", Some("system:masters")))?,
            store_client: store.issue(&client("root", None))?,
        })
    }
}

/// The certificate requests of a node: its kubelet as a client, and as a server.
pub(crate) fn node_requests(
    node_name: &str,
    addresses: &[IpAddr],
) -> (CertificateRequest, CertificateRequest) {
    let user = format!("system:node:{node_name}");
    let client = CertificateRequest::client(&user, Some("system:nodes"));
    let names = vec![node_name.to_owned()];
    let mut serving = CertificateRequest::serving(&user, names, addresses.to_vec(), Usage::Server);
    serving.organization = Some("system:nodes".to_owned());
    (client, serving)
}

/// Whether the first certificate of a chain is valid now; says since when it is not.
pub(crate) fn check_validity(what: &str, chain_pem: &str) -> Result<()> {
    let certificates = tls::certificates(chain_pem).with_context(|| format!("in {what}"))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificates[0])
        .with_context(|| format!("cannot read {what}"))?;
    let (validity, now) = (certificate.validity(), jiff::Timestamp::now().as_second());
    let time = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap_or_default();
    if now > validity.not_after.timestamp() {
        bail!("{what} expired on {}", time(validity.not_after.timestamp()));
    }
    if now < validity.not_before.timestamp() {
        bail!(
            "{what} is valid only from {}; is this machine's clock ({}) behind?",
            time(validity.not_before.timestamp()),
            time(now)
        );
    }
    Ok(())
}

/// How much of its life the first certificate of a chain has behind it: 0 is fresh, 1 is over.
pub(crate) fn age(chain_pem: &str) -> Result<f64> {
    let certificates = tls::certificates(chain_pem)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificates[0])?;
    let validity = certificate.validity();
    let (first, last) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let now = jiff::Timestamp::now().as_second();
    Ok((now - first) as f64 / (last - first).max(1) as f64)
}

/// Whether the first certificate of a chain is for all these addresses.
pub(crate) fn names_all(chain_pem: &str, addresses: &[IpAddr]) -> Result<bool> {
    let certificates = tls::certificates(chain_pem)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificates[0])?;
    let extension = certificate.subject_alternative_name()?;
    let names = extension.map_or(&[][..], |extension| extension.value.general_names.as_slice());
    let named = |address: &IpAddr| {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        names.iter().any(|name| matches!(name, GeneralName::IPAddress(own) if **own == bytes[..]))
    };
    Ok(addresses.iter().all(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_after_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::of(data.path());
        assert!(folder.load().unwrap().is_none());
        let secrets = Secrets::generate().unwrap();
        folder.save(&secrets).unwrap();
        let loaded = folder.load().unwrap().unwrap();
        assert_eq!(loaded.fingerprint().unwrap(), secrets.fingerprint().unwrap());
        assert_eq!(loaded.service_account_key, secrets.service_account_key);
    }

    #[test]
    fn a_lost_key_is_named_and_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::of(data.path());
        folder.save(&Secrets::generate().unwrap()).unwrap();
        std::fs::remove_file(folder.file("store/ca.key")).unwrap();
        let error = folder.load().err().unwrap().to_string();
        assert!(error.contains("store/ca.key is missing"), "{error}");
    }

    #[test]
    fn a_nodes_certificate_names_its_addresses_and_ages() {
        let root = Authority::generate("test").unwrap();
        let own: Vec<IpAddr> = vec![[10, 0, 0, 1].into()];
        let (_, serving) = node_requests("w1", &own);
        let chain = root.issue(&serving).unwrap().chain_pem;
        assert!(names_all(&chain, &own).unwrap());
        assert!(!names_all(&chain, &[[10, 0, 0, 2].into()]).unwrap());
        assert!(age(&chain).unwrap() < 0.01);
    }

    #[test]
    fn an_expired_certificate_says_since_when() {
        let root = Authority::generate("test").unwrap();
        let mut request = CertificateRequest::client("admin", None);
        check_validity("it", &root.issue(&request).unwrap().chain_pem).unwrap();
        request.lifetime = std::time::Duration::ZERO;
        let expired = root.issue(&request).unwrap().chain_pem;
        // Certificates have whole seconds: the one just made ends within this one.
        let error = loop {
            if let Err(error) = check_validity("the admin certificate", &expired) {
                break error.to_string();
            }
            std::thread::yield_now();
        };
        assert!(error.starts_with("the admin certificate expired on 20"), "{error}");
    }
}
