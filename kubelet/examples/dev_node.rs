//! One kubelet with a private containerd, beside the API server's `dev_server` example:
//!
//! ```text
//! cargo run -p kontiki-apiserver --example dev_server -- /tmp/dev 16443
//! cargo run -p kontiki-kubelet --example dev_node -- /tmp/dev 16443 /tmp/node ADDRESS
//! kubectl --kubeconfig /tmp/dev/kubeconfig patch node dev-node -p '{"spec":{"podCIDR":"10.251.0.0/24","podCIDRs":["10.251.0.0/24"]}}'
//! ```

use std::{error::Error, net::IpAddr, path::PathBuf};

use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::{TaskKind, Tasks},
    telemetry,
    tls::Roots,
};
use kontiki_client::{Client, ConnectOptions, ServerList};
use kontiki_kubelet::{Options, Service};

const NODE: &str = "dev-node";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [api_folder, port, folder, address] = &arguments[..] else {
        return Err("usage: dev_node API_FOLDER API_PORT FOLDER ADDRESS".into());
    };
    telemetry::init("info,kontiki_kubelet=debug", telemetry::LogFormat::Text)?;
    let api_folder = PathBuf::from(api_folder);
    let authority = Authority {
        certificate_pem: std::fs::read_to_string(api_folder.join("ca.crt"))?,
        key_pem: std::fs::read_to_string(api_folder.join("ca.key"))?,
    };
    let roots = Roots { pem: authority.certificate_pem.clone() };
    let address: IpAddr = address.parse()?;
    let user = format!("system:node:{NODE}");
    let identity = authority.issue(&CertificateRequest::client(&user, Some("system:nodes")))?;
    let serving = authority.issue(&CertificateRequest::serving(
        &user,
        vec![],
        vec![address],
        Usage::Server,
    ))?;
    let client = Client::remote(ConnectOptions {
        servers: ServerList::new(vec![format!("127.0.0.1:{port}")]),
        roots: roots.clone(),
        identity: Some(identity),
    })?;
    let mut options = Options::new(NODE, vec![address], PathBuf::from(folder), serving, roots);
    options.cgroup_root = format!("/{NODE}/kubepods");
    options.listen = (address, 20250).into();
    options.cluster_dns = vec!["10.43.0.10".parse()?];
    options.manifest_dir = Some(PathBuf::from(folder).join("manifests"));
    let tasks = Tasks::new();
    let own = tasks.clone();
    tasks.spawn(TaskKind::vital("kubelet"), async move {
        Service::new(options, client).run(&own).await
    });
    let shutdown = tasks.shutdown();
    tokio::select! { biased;
        () = shutdown.cancelled() => {}
        signal = tokio::signal::ctrl_c() => signal?,
    }
    tasks.stop().await;
    match tasks.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}
