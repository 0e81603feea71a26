//! What cannot work is refused in one sentence with the value and the remedy, and an exit code.

use std::time::Duration;

use anyhow::Result;
use kontiki_base::pki::{Authority, CertificateRequest};
use kontiki_tests::{
    command::{kontiki, run, run_kontiki},
    eventually,
    server::Server,
};

fn one_sentence(stderr: &str) {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "one line, not: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("stack backtrace"), "{stderr}");
}

#[test]
fn wrong_settings_are_named_with_their_value() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().to_string_lossy().into_owned();
    let cases: &[(&[&str], &str)] = &[
        (
            &["server", "--api-port=7000", "--peer-port=7000"],
            "error: --api-port 7000, --store-port",
        ),
        (
            &["server", "--node-name=Big_Name"],
            "error: --node-name \"Big_Name\" is no valid node name",
        ),
        (&["server", "--cluster-dns=10.9.0.1"], "error: --cluster-dns 10.9.0.1 is not within"),
        (&["server", "--disable=kubelet"], "error: --disable \"kubelet\" is unknown"),
        (&["server", "--log-format=xml"], "error: --log-format \"xml\" is unknown"),
        (&["server", "--join=127.0.0.1:1"], "error: --join needs --token TOKEN the first time"),
        (
            &["server", "--join=127.0.0.1:1", "--token=secret"],
            "error: the token is not of the form K10<hash>::<id>.<secret>",
        ),
        (&["agent"], "error: an agent needs a cluster: give --join HOST --token TOKEN"),
    ];
    for (arguments, expected) in cases {
        let mut arguments = arguments.to_vec();
        let flag = format!("--data-dir={data}");
        arguments.extend(["--node-ip=127.0.0.1", &flag]);
        if !arguments.iter().any(|argument| argument.starts_with("--node-name")) {
            arguments.push("--node-name=x");
        }
        let finished = run_kontiki(&arguments)?;
        assert_eq!(finished.code, Some(1), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.starts_with(expected), "{arguments:?}: {}", finished.stderr);
        one_sentence(&finished.stderr);
    }
    Ok(())
}

#[test]
fn a_configuration_file_with_an_unknown_key_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, "api-prot: 1\n")?;
    let path = file.to_string_lossy().into_owned();
    let stderr = run_kontiki(&["server", "--config", &path])?.failure()?;
    assert!(stderr.contains("config.yaml: unknown field `api-prot`"), "{stderr}");
    one_sentence(&stderr);
    Ok(())
}

#[test]
fn a_verb_without_a_cluster_says_where_it_looked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = kontiki(&["get", "pods", "--data-dir"])?;
    command.arg(folder.path()).env("HOME", folder.path());
    let stderr = run(command, None)?.failure()?;
    assert!(stderr.starts_with("error: no kubeconfig at "), "{stderr}");
    assert!(stderr.contains("name one with --kubeconfig"), "{stderr}");
    one_sentence(&stderr);
    Ok(())
}

#[test]
fn nobody_at_the_address_is_said_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let token = format!("K10{}::abcdef.0123456789abcdef", "0a".repeat(32));
    let mut command = kontiki(&["server", "--no-agent", "--node-name=x", "--join=127.0.0.1:1"])?;
    command.arg(format!("--token={token}")).arg("--data-dir").arg(folder.path());
    let stderr = run(command, None)?.failure()?;
    assert!(stderr.contains("error: cannot reach 127.0.0.1:1: "), "{stderr}");
    assert!(stderr.contains("is a Kontiki server running there?"), "{stderr}");
    one_sentence(&stderr);
    Ok(())
}

/// Credentials of another cluster, and credentials that are over.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_apart() -> Result<()> {
    let (mut ours, mut theirs) = (Server::new("ours")?, Server::new("theirs")?);
    ours.start_ready().await?;
    theirs.start_ready().await?;
    let stderr = ours.kontiki(&["get", "nodes", "--servers", &theirs.address()])?.failure()?;
    assert!(stderr.starts_with("error: cannot reach the API server: "), "{stderr}");
    assert!(stderr.contains("is the kubeconfig that of another cluster?"), "{stderr}");
    one_sentence(&stderr);

    let pki = ours.data_dir().join("pki");
    let authority = Authority {
        certificate_pem: std::fs::read_to_string(pki.join("ca.crt"))?,
        key_pem: std::fs::read_to_string(pki.join("ca.key"))?,
    };
    let mut request = CertificateRequest::client("admin", Some("system:masters"));
    request.lifetime = Duration::ZERO;
    let expired = authority.issue(&request)?;
    std::fs::write(pki.join("admin.crt"), &expired.chain_pem)?;
    std::fs::write(pki.join("admin.key"), &expired.key_pem)?;
    let kubeconfig = pki.join("expired.kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: \
         {{cluster: x, user: x}}}}]\nclusters: [{{name: x, cluster: {{server: \"https://{}\", \
         certificate-authority: ca.crt}}}}]\nusers: [{{name: x, user: {{client-certificate: \
         admin.crt, client-key: admin.key}}}}]\n",
        ours.address()
    );
    std::fs::write(&kubeconfig, text)?;
    let path = kubeconfig.to_string_lossy().into_owned();
    let stderr = eventually("the end of a certificate's life", || async {
        run_kontiki(&["get", "nodes", "--kubeconfig", &path])?.failure()
    })
    .await?;
    assert!(stderr.starts_with("error: the client certificate expired on 20"), "{stderr}");
    one_sentence(&stderr);
    let refusal = ours.get("/api/v1/nodes").await.err().map(|error| format!("{error:#}"));
    assert!(refusal.is_some(), "the server, too, refuses it");
    Ok(())
}

/// What goes wrong with a cluster at hand.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_neighbours_are_told_apart() -> Result<()> {
    let mut server = Server::new("one")?;
    server.start_ready().await?;
    let server_token = server.token("server").await?;
    let agent_token = server.token("agent").await?;

    let refuse = |other: &Server, expected: &str| -> Result<()> {
        let stderr = run(other.command()?, None)?.failure()?;
        assert!(stderr.contains(expected), "{expected}: {stderr}");
        one_sentence(&stderr);
        Ok(())
    };
    let address = server.address();
    let join = |token: &str| {
        Ok::<_, anyhow::Error>(Server::new("two")?.with(&["--join", &address, "--token", token]))
    };

    let unknown = format!("{}ffff", &server_token[..server_token.len() - 4]);
    refuse(&join(&unknown)?, "does not accept the token: it is unknown or expired")?;
    refuse(&join(&agent_token)?, "this token lets a machine join as an agent, not as a server")?;
    let (_, credential) = server_token.split_once("::").unwrap_or_default();
    let elsewhere = format!("K10{}::{credential}", "0a".repeat(32));
    refuse(&join(&elsewhere)?, "it belongs to another cluster: its CA hash is")?;

    // The same folder, once with the process alive and once as another cluster's.
    refuse(&server.twin(), "is in use by another kontiki process")?;
    server.signal("TERM")?;
    assert!(server.ended().await?.success(), "{}", server.log());
    let twin = server.twin().with(&["--token", &elsewhere]);
    refuse(&twin, "belongs to another cluster: its CA hash is")?;
    Ok(())
}
