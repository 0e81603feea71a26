//! Kubeconfig files: read for every verb, written for the administrator.
//!
//! Ours name all servers of the cluster in an extension, so that verbs go on when the server in
//! `server` is down; kubectl ignores it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_base::tls::{Identity, Roots};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::with_port;

/// Name of the cluster extension that lists all servers.
const SERVERS_EXTENSION: &str = "kontiki.dev/servers";

/// What a verb needs to speak to a cluster.
#[derive(Debug)]
pub(crate) struct Access {
    /// `host:port` of every known server.
    pub(crate) servers: Vec<String>,
    pub(crate) roots: Roots,
    pub(crate) identity: Identity,
    /// The context's namespace.
    pub(crate) namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<Named>,
    #[serde(default)]
    clusters: Vec<Named>,
    #[serde(default)]
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    context: ContextEntry,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
struct ContextEntry {
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    user: String,
    namespace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    extensions: Vec<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    name: String,
    extension: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
}

/// Reads the access that a kubeconfig's context grants.
pub(crate) fn load(path: &Path, context: Option<&str>) -> Result<Access> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
    access(&text, context, path.parent().unwrap_or(Path::new(".")))
        .with_context(|| format!("kubeconfig {}", path.display()))
}

fn access(text: &str, context: Option<&str>, folder: &Path) -> Result<Access> {
    let config: Kubeconfig = serde_saphyr::from_str(text)?;
    let context = find(&config.contexts, "context", context.unwrap_or(&config.current_context))?;
    let cluster = &find(&config.clusters, "cluster", &context.context.cluster)?.cluster;
    let user = &find(&config.users, "user", &context.context.user)?.user;
    let pem = |what: &str, data: &Option<String>, file: &Option<PathBuf>| match (data, file) {
        (Some(data), _) => decode(what, data),
        (None, Some(file)) => std::fs::read_to_string(folder.join(file))
            .with_context(|| format!("cannot read {what} {}", file.display())),
        (None, None) => bail!("it has no {what}"),
    };
    let ca = pem(
        "certificate-authority",
        &cluster.certificate_authority_data,
        &cluster.certificate_authority,
    )?;
    let identity = Identity {
        chain_pem: pem(
            "client-certificate",
            &user.client_certificate_data,
            &user.client_certificate,
        )?,
        key_pem: pem("client-key", &user.client_key_data, &user.client_key)?,
    };
    Ok(Access {
        servers: servers(cluster),
        roots: Roots { pem: ca },
        identity,
        namespace: context.context.namespace.clone(),
    })
}

fn find<'a>(list: &'a [Named], what: &str, name: &str) -> Result<&'a Named> {
    list.iter().find(|named| named.name == name).with_context(|| {
        let known: Vec<&str> = list.iter().map(|named| named.name.as_str()).collect();
        format!("it has no {what} {name:?}, only {}", known.join(", "))
    })
}

fn decode(what: &str, data: &str) -> Result<String> {
    let bytes = STANDARD.decode(data.trim()).with_context(|| format!("{what}-data"))?;
    String::from_utf8(bytes).with_context(|| format!("{what}-data"))
}

/// `server` first, then what the extension adds.
fn servers(cluster: &Cluster) -> Vec<String> {
    let mut servers = vec![with_port(&cluster.server, 443)];
    let listed = cluster.extensions.iter().filter(|e| e.name == SERVERS_EXTENSION);
    for server in listed.filter_map(|e| e.extension["servers"].as_array()).flatten() {
        if let Some(server) = server.as_str().map(|server| with_port(server, 443))
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers
}

#[derive(Serialize)]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    rest: Value,
}

/// The text of a kubeconfig for one identity; `servers` are `host:port`, the first is the main one.
pub(crate) fn render(servers: &[String], roots: &Roots, identity: &Identity) -> Result<String> {
    let main = servers.first().context("a kubeconfig needs a server")?;
    let rest = json!({
        "clusters": [{ "name": "kontiki", "cluster": {
            "certificate-authority-data": STANDARD.encode(&roots.pem),
            "server": format!("https://{main}"),
            "extensions": [{ "name": SERVERS_EXTENSION, "extension": { "servers": servers } }],
        }}],
        "users": [{ "name": "admin", "user": {
            "client-certificate-data": STANDARD.encode(&identity.chain_pem),
            "client-key-data": STANDARD.encode(&identity.key_pem),
        }}],
        "contexts": [{ "name": "kontiki", "context": { "cluster": "kontiki", "user": "admin" } }],
        "current-context": "kontiki",
    });
    let file = File { api_version: "v1", kind: "Config", rest };
    serde_saphyr::to_string(&file).context("cannot write a kubeconfig")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> String {
        let servers = ["10.0.0.1:6443".to_owned(), "10.0.0.2:6443".to_owned()];
        let identity = Identity { chain_pem: "CHAIN".into(), key_pem: "KEY".into() };
        render(&servers, &Roots { pem: "CA".into() }, &identity).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let access = access(&written(), None, Path::new(".")).unwrap();
        assert_eq!(access.servers, ["10.0.0.1:6443", "10.0.0.2:6443"]);
        assert_eq!(access.roots.pem, "CA");
        assert_eq!(access.identity.key_pem, "KEY");
        assert_eq!(access.namespace, None);
    }

    #[test]
    fn a_missing_context_names_those_there_are() {
        let error = access(&written(), Some("prod"), Path::new(".")).unwrap_err().to_string();
        assert_eq!(error, "it has no context \"prod\", only kontiki");
    }
}
