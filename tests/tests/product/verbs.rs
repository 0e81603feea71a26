//! Our verbs and the real kubectl do the same things to the same objects.

use anyhow::{Context, Result, ensure};
use kontiki_tests::{
    command::{Finished, kubectl, run},
    eventually,
    server::Server,
};

use crate::manifests::SHOP;

/// One flow, driven by either command.
async fn flow(
    server: &Server,
    command: impl Fn(&[&str], Option<&str>) -> Result<Finished>,
) -> Result<()> {
    let apply = || command(&["apply", "-f", "-"], Some(SHOP))?.success();
    let created = apply()?;
    for line in ["namespace/shop created", "deployment.apps/web created", "service/web created"] {
        ensure!(created.contains(line), "{line} in {created}");
    }
    let again = apply()?;
    ensure!(again.matches("unchanged").count() == 4, "{again}");

    eventually("three pods of the Deployment", || async {
        let pods = command(&["get", "pods", "-n", "shop", "-l", "app=web", "-o", "name"], None)?;
        let pods = pods.success()?;
        ensure!(pods.lines().count() == 3, "{pods}");
        Ok(())
    })
    .await?;
    let table = command(&["get", "deployments", "-n", "shop"], None)?.success()?;
    ensure!(table.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE\n"), "{table}");
    ensure!(table.contains("web    0/3"), "{table}");

    let scaled = command(&["scale", "deployment/web", "-n", "shop", "--replicas=1"], None)?;
    ensure!(scaled.success()?.contains("deployment.apps/web scaled"), "scale");
    let json = command(&["get", "deploy", "web", "-n", "shop", "-o", "json"], None)?.success()?;
    let object: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(object["spec"]["replicas"] == 1 && object["kind"] == "Deployment", "{json}");

    let described = command(&["describe", "service", "web", "-n", "shop"], None)?.success()?;
    ensure!(described.contains("web") && described.contains("NodePort"), "{described}");

    let missing = command(&["get", "pod", "nobody", "-n", "shop"], None)?.failure()?;
    ensure!(
        missing.trim() == "Error from server (NotFound): pods \"nobody\" not found",
        "{missing}"
    );
    let unknown = command(&["get", "wombats"], None)?.failure()?;
    ensure!(
        unknown.trim() == "error: the server doesn't have a resource type \"wombats\"",
        "{unknown}"
    );

    let deleted = command(&["delete", "-f", "-"], Some(SHOP))?.success()?;
    ensure!(deleted.contains("namespace \"shop\" deleted"), "{deleted}");
    let gone = server.client()?.call(http::Method::GET, "/api/v1/namespaces/shop", None).await;
    ensure!(gone.as_ref().is_err_and(kontiki_client::Error::is_not_found), "{gone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_verbs_do_what_kubectls_do() -> Result<()> {
    let mut server = Server::new("one")?;
    server.start_ready().await?;
    flow(&server, |arguments, input| server.kontiki_with_input(arguments, input))
        .await
        .context("kontiki")?;
    if kubectl(&server.kubeconfig(), &[]).is_none() {
        return Ok(()); // Not every machine has one; CI does.
    }
    flow(&server, |arguments, input| {
        let command = kubectl(&server.kubeconfig(), arguments).context("no kubectl")?;
        run(command, input)
    })
    .await
    .context("kubectl")
}
