//! What the tests with a client library have in common.

use anyhow::Result;
use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use kontiki_tests::server::Server;

/// A client of a server's port, as kube-apiserver is given one: an authority and a certificate.
pub(crate) async fn connect(server: &Server) -> Result<Client> {
    let file = |name: &str| std::fs::read(server.data_dir().join("pki/store").join(name));
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(file("ca.crt")?))
        .identity(Identity::from_pem(file("client.crt")?, file("client.key")?));
    let options = ConnectOptions::new().with_tls(tls).with_require_leader(true);
    Ok(Client::connect([format!("https://{}", server.store_address())], Some(options)).await?)
}

/// Code and text of a refusal.
pub(crate) fn refusal<T>(result: Result<T, Error>) -> Option<(i32, String)> {
    match result {
        Err(Error::GRpcStatus(status)) => Some((status.code() as i32, status.message().to_owned())),
        _ => None,
    }
}
