//! Where the server is and who we are: flags or a kubeconfig, for any Kubernetes API server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use kontiki_base::tls::{self, Identity, Roots};
use rustls::ClientConfig;
use serde_json::Value;

/// Flags that name a server and our identity.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// Address of an API server, `host:port` or a URL; repeat it for several, clients are shared
    /// out among them
    #[arg(long = "server", value_name = "HOST:PORT")]
    pub servers: Vec<String>,
    /// Kubeconfig with the credentials, and with the address unless --server is given
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// CA certificate, in place of a kubeconfig
    #[arg(long, value_name = "FILE", requires_all = ["cert", "key"])]
    pub ca: Option<PathBuf>,
    /// Client certificate
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Client key
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// A server to be measured.
#[derive(Clone)]
pub struct Target {
    /// `host:port` of each server.
    pub servers: Vec<String>,
    /// How to speak TLS to them.
    pub tls: Arc<ClientConfig>,
}

impl Target {
    /// Reads files and checks that nothing is missing.
    pub fn new(args: &TargetArgs) -> Result<Target> {
        let (mut servers, roots, identity) = match (&args.ca, &args.cert, &args.key) {
            (Some(ca), Some(cert), Some(key)) => {
                (Vec::new(), Roots::load(ca)?, Identity::load(cert, key)?)
            }
            _ => match &args.kubeconfig {
                Some(path) => from_kubeconfig(path)?,
                None => bail!("no credentials: give --kubeconfig, or --ca, --cert and --key"),
            },
        };
        if !args.servers.is_empty() {
            servers.clone_from(&args.servers);
        }
        if servers.is_empty() {
            bail!("no server: give --server HOST:PORT");
        }
        let servers = servers.iter().map(|server| authority(server)).collect();
        let tls = tls::client_config(&roots, Some(&identity), &[b"h2"])?;
        Ok(Target { servers, tls: Arc::new(tls) })
    }

    /// The server of the client with this number.
    pub fn server(&self, client: usize) -> &str {
        &self.servers[client % self.servers.len()]
    }
}

/// `host:port` of an address or URL.
fn authority(server: &str) -> String {
    let server = server.trim_start_matches("https://").trim_end_matches('/');
    if server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        server.to_owned()
    } else {
        format!("{server}:6443")
    }
}

fn from_kubeconfig(path: &Path) -> Result<(Vec<String>, Roots, Identity)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
    let config: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("kubeconfig {} is not YAML", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let context = named(&config, "contexts", "context", &config["current-context"])?;
    let cluster = named(&config, "clusters", "cluster", &context["cluster"])?;
    let user = named(&config, "users", "user", &context["user"])?;
    let roots = Roots { pem: pem(cluster, "certificate-authority", folder)? };
    let identity = Identity {
        chain_pem: pem(user, "client-certificate", folder)?,
        key_pem: pem(user, "client-key", folder)?,
    };
    let servers = cluster["server"].as_str().map(str::to_owned).into_iter().collect();
    Ok((servers, roots, identity))
}

/// The entry of a kubeconfig's list with a name.
fn named<'a>(config: &'a Value, list: &str, field: &str, name: &Value) -> Result<&'a Value> {
    let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let entry = entries.iter().find(|entry| entry["name"] == *name && !name.is_null());
    entry.map(|entry| &entry[field]).with_context(|| format!("kubeconfig: no {field} {name}"))
}

/// PEM from `KEY-data` (base64) or from the file that `KEY` names.
fn pem(entry: &Value, key: &str, folder: &Path) -> Result<String> {
    if let Some(data) = entry[format!("{key}-data")].as_str() {
        let bytes = base64_decode(data).with_context(|| format!("{key}-data"))?;
        return String::from_utf8(bytes).with_context(|| format!("{key}-data is not PEM"));
    }
    let Some(file) = entry[key].as_str() else { bail!("kubeconfig: no {key}") };
    let path = folder.join(file);
    std::fs::read_to_string(&path).with_context(|| format!("{key}: {}", path.display()))
}

fn base64_decode(text: &str) -> Result<Vec<u8>> {
    use base64::Engine;
    Ok(base64::engine::general_purpose::STANDARD.decode(text.trim())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_or_without_scheme_and_port() {
        let cases = [
            ("https://10.0.0.1:6443", "10.0.0.1:6443"),
            ("host", "host:6443"),
            ("https://host/", "host:6443"),
            ("[::1]:7443", "[::1]:7443"),
        ];
        for (given, expected) in cases {
            assert_eq!(authority(given), expected);
        }
    }
}
