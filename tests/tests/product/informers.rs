//! Informers over the death of the leader: a watch goes on at its last revision on another server.
//! Nobody lists again, nothing is lost, nothing comes twice.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use futures::{AsyncBufReadExt, Stream, StreamExt, io::Lines, pin_mut};
use kontiki_api::k8s_openapi::api::core::v1::ConfigMap;
use kontiki_tests::{SOON, cluster::Cluster, eventually, server::Server};
use kube::{Api, Client};
use kube_runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::time::timeout;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A watch without any library: the answer's lines.
struct RawWatch {
    lines: Lines<Box<dyn futures::AsyncBufRead + Send + Unpin>>,
}

impl RawWatch {
    async fn open(client: &Client, from: &str) -> Result<RawWatch> {
        let uri = format!(
            "{MAPS}?watch=1&allowWatchBookmarks=true&labelSelector=informed&resourceVersion={from}"
        );
        let request = http::Request::get(uri).body(Vec::new())?;
        let body: Box<dyn futures::AsyncBufRead + Send + Unpin> =
            Box::new(Box::pin(client.request_stream(request).await?));
        Ok(RawWatch { lines: body.lines() })
    }

    /// The next event that is no bookmark: type, name, revision.
    async fn next(&mut self) -> Result<(String, String, String)> {
        loop {
            let line = timeout(SOON, self.lines.next()).await.context("no event")?;
            let event: Value = serde_json::from_str(&line.context("the watch ended")??)?;
            let metadata = &event["object"]["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match event["type"].as_str() {
                Some("BOOKMARK") => {}
                Some("ERROR") => bail!("{event}"),
                kind => {
                    let kind = kind.unwrap_or_default().to_owned();
                    return Ok((kind, text(&metadata["name"]), text(&metadata["resourceVersion"])));
                }
            }
        }
    }

    /// Reads on until the server is gone.
    async fn until_it_breaks(&mut self) -> Result<()> {
        let broken = async { while let Some(Ok(_)) = self.lines.next().await {} };
        timeout(SOON, broken).await.context("the server is dead and the watch goes on")
    }
}

async fn create(through: &Server, name: &str) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"informed": "yes"}}});
    let object = object.to_string().into_bytes();
    let client = through.client()?;
    eventually("a write", || async {
        let made =
            client.call(http::Method::POST, MAPS, Some(("application/json", object.clone()))).await;
        match made {
            Err(error) if !error.is_already_exists() => Err(error.into()),
            _ => Ok(()),
        }
    })
    .await
}

/// Reads what kube-rs' watcher says until it knows so many objects; counts what it did for it.
async fn follow(
    events: &mut (impl Stream<Item = Result<watcher::Event<ConfigMap>, watcher::Error>> + Unpin),
    seen: &mut BTreeMap<String, usize>,
    lists: &mut usize,
    count: usize,
) -> Result<()> {
    while seen.len() < count {
        let event = timeout(SOON, events.next()).await.context("no event")?;
        match event.context("the watcher ended")? {
            Ok(watcher::Event::Init) => *lists += 1,
            Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                *seen.entry(map.metadata.name.unwrap_or_default()).or_default() += 1;
            }
            Ok(watcher::Event::Delete(map)) => bail!("{map:?} was not deleted"),
            // Its server has died; it tries again.
            Ok(watcher::Event::InitDone) | Err(_) => {}
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_outlive_the_leader_without_a_list() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let leader = cluster.leader(0).await?;
    let (witness, other) = ((leader + 1) % 3, (leader + 2) % 3);
    for number in 0..5 {
        create(&cluster.servers[witness], &format!("before-{number}")).await?;
    }

    // kube-rs, which is connected to the leader first and knows the others.
    let addresses = [leader, other, witness].map(|index| cluster.servers[index].address());
    let client = cluster.servers[witness].client_of(addresses.to_vec())?;
    let api: Api<ConfigMap> = Api::namespaced(client.kube(), "default");
    let wanted = watcher::Config::default().labels("informed");
    let events = watcher(api, wanted).default_backoff();
    pin_mut!(events);
    let (mut seen, mut lists) = (BTreeMap::new(), 0);
    follow(&mut events, &mut seen, &mut lists, 5).await?;

    // Nothing but HTTP, connected to the leader alone.
    let list = cluster.servers[leader].get(&format!("{MAPS}?labelSelector=informed")).await?;
    let from = list["metadata"]["resourceVersion"].as_str().context("no revision")?.to_owned();
    let mut raw = RawWatch::open(&cluster.servers[leader].client()?.kube(), &from).await?;
    create(&cluster.servers[witness], "last-words").await?;
    let (kind, name, last) = raw.next().await?;
    ensure!((kind.as_str(), name.as_str()) == ("ADDED", "last-words"), "{kind} {name}");
    follow(&mut events, &mut seen, &mut lists, 6).await?;

    cluster.servers[leader].kill()?;
    raw.until_it_breaks().await?;
    for number in 0..5 {
        create(&cluster.servers[witness], &format!("after-{number}")).await?;
    }
    follow(&mut events, &mut seen, &mut lists, 11).await?;
    ensure!(lists == 1, "listed {lists} times");
    ensure!(seen.values().all(|times| *times == 1), "{seen:?}");

    // Both survivors know what came after the last revision that the dead one told.
    for survivor in [witness, other] {
        let client = cluster.servers[survivor].client()?.kube();
        let mut raw = RawWatch::open(&client, &last).await?;
        let mut revision: u64 = last.parse()?;
        for number in 0..5 {
            let (kind, name, at) = raw.next().await?;
            ensure!(kind == "ADDED" && name == format!("after-{number}"), "{kind} {name}");
            let at: u64 = at.parse()?;
            ensure!(at > revision, "{at} after {revision}");
            revision = at;
        }
    }
    Ok(())
}
