//! One API server on one store member, for trying things with `kubectl`:
//!
//! ```text
//! cargo run -p kontiki-apiserver --example dev_server -- /tmp/dev 16443
//! kubectl --kubeconfig /tmp/dev/kubeconfig get namespaces
//! ```

use std::{error::Error, net::SocketAddr, path::PathBuf};

use kontiki_apiserver::{ApiServer, Options, Secrets};
use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::Tasks,
    tls::{self, ClientCertificates, Roots},
};
use kontiki_raft::{PeerTls, Start, Store, Timing};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: dev_server FOLDER PORT")?);
    let port: u16 = args.next().ok_or("usage: dev_server FOLDER PORT")?.parse()?;
    std::fs::create_dir_all(&folder)?;
    tls::install_provider();
    tracing_subscriber::fmt()
        .with_env_filter("warn,kontiki_apiserver=debug,dev_server=info")
        .init();
    let tasks = Tasks::new();
    let store = open_store(&folder, port, &tasks).await?;
    let cluster = Authority::generate("kontiki-cluster")?;
    let roots = Roots { pem: cluster.certificate_pem.clone() };
    let local = "127.0.0.1".parse()?;
    let secrets = Secrets {
        service_account_key: Authority::generate("sa")?.key_pem,
        cluster_roots: roots.clone(),
        kubelet_client: cluster.issue(&CertificateRequest::client(
            "kube-apiserver-kubelet-client",
            Some("system:masters"),
        ))?,
    };
    // Endpoints may not be loopback addresses; this one only has to look like a host's.
    let mut options = Options::new("dev", "192.0.2.1".parse()?, secrets);
    options.advertise_port = port;
    let server = ApiServer::new(options, store, &tasks)?;
    let serving = cluster.issue(&CertificateRequest::serving(
        "kube-apiserver",
        vec!["localhost".to_owned()],
        vec![local],
        Usage::Server,
    ))?;
    let config =
        tls::server_config(&serving, &roots, ClientCertificates::Optional, &[b"h2", b"http/1.1"])?;
    let listener = tokio::net::TcpListener::bind(SocketAddr::new(local, port)).await?;
    server.serve(listener, config, &tasks);
    let admin = cluster.issue(&CertificateRequest::client("admin", Some("system:masters")))?;
    write_kubeconfig(&folder, port, &cluster, &admin)?;
    server.ready().wait_for(|ready| *ready).await?;
    tracing::info!("ready");
    tokio::signal::ctrl_c().await?;
    tasks.stop().await;
    Ok(())
}

async fn open_store(
    folder: &std::path::Path,
    port: u16,
    tasks: &Tasks,
) -> Result<Store, Box<dyn Error>> {
    let authority = Authority::generate("kontiki-store")?;
    let identity = authority.issue(&CertificateRequest::serving(
        "dev",
        vec!["localhost".to_owned()],
        vec!["127.0.0.1".parse()?],
        Usage::Peer,
    ))?;
    let peers = port + 1;
    let options = kontiki_raft::Options {
        data_dir: folder.join("store"),
        name: "dev".to_owned(),
        listen: SocketAddr::new("127.0.0.1".parse()?, peers),
        peer_address: format!("127.0.0.1:{peers}"),
        api_address: format!("127.0.0.1:{port}"),
        client_address: String::new(),
        tls: PeerTls { identity, roots: Roots { pem: authority.certificate_pem.clone() } },
        timing: Timing::default(),
        tuning: kontiki_raft::Tuning::default(),
        start: Start::Bootstrap,
    };
    Ok(Store::open(options, tasks).await?)
}

fn write_kubeconfig(
    folder: &std::path::Path,
    port: u16,
    cluster: &Authority,
    admin: &tls::Identity,
) -> Result<(), Box<dyn Error>> {
    std::fs::write(folder.join("ca.crt"), &cluster.certificate_pem)?;
    std::fs::write(folder.join("ca.key"), &cluster.key_pem)?;
    std::fs::write(folder.join("admin.crt"), &admin.chain_pem)?;
    std::fs::write(folder.join("admin.key"), &admin.key_pem)?;
    let at = folder.display();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\n\
         clusters: [{{name: dev, cluster: {{server: 'https://127.0.0.1:{port}', \
         certificate-authority: {at}/ca.crt}}}}]\n\
         users: [{{name: admin, user: {{client-certificate: {at}/admin.crt, \
         client-key: {at}/admin.key}}}}]\n\
         contexts: [{{name: dev, context: {{cluster: dev, user: admin}}}}]\n"
    );
    std::fs::write(folder.join("kubeconfig"), text)?;
    Ok(())
}
