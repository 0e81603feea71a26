//! The requests that an unmodified kube-apiserver makes of its etcd, in its own shapes.

use anyhow::{Context, Result, ensure};
use etcd_client::{
    Client, Compare, CompareOp, EventType, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse,
    WatchOptions,
};
use kontiki_tests::{cluster::Cluster, eventually};

use crate::shared::{connect, refusal};

/// A prefix of its own, as `--etcd-prefix` gives one.
const PODS: &str = "/registry/pods/";

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_api_server_gets_what_it_asks_for() -> Result<()> {
    let mut cluster = Cluster::start_store().await?;
    let mut client = connect(&cluster.servers[1]).await?;
    start_up(&mut client).await?;
    create_and_update(&mut client).await?;
    lists_in_pages(&mut client).await?;
    let resume = watch(&mut client).await?;
    compactor(&mut client).await?;
    events_on_leases(&mut client).await?;
    fail_over(&mut cluster, resume).await
}

/// What it does before it serves: it looks whether etcd is there and which features it has.
async fn start_up(client: &mut Client) -> Result<()> {
    let health = client.get("/registry/health", None).await?;
    assert_eq!(health.count(), 0);
    let version = client.status().await?.version().to_owned();
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    assert!(numbers >= vec![3, 5, 13], "{version} lets no requests for progress");
    Ok(())
}

/// A transaction that puts if nothing has changed, and reads otherwise.
fn guarded(key: &str, expected: i64, value: &str) -> Txn {
    Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, expected)])
        .and_then([TxnOp::put(key, value, Some(PutOptions::new()))])
        .or_else([TxnOp::get(key, None)])
}

async fn create_and_update(client: &mut Client) -> Result<()> {
    let key = format!("{PODS}default/a");
    let created = client.txn(guarded(&key, 0, "one")).await?;
    ensure!(created.succeeded());
    let revision = created.header().context("no header")?.revision();
    let responses = created.op_responses();
    let Some(TxnOpResponse::Put(put)) = responses.first() else { anyhow::bail!("no put") };
    assert_eq!(put.header().context("no header")?.revision(), revision);

    // Somebody else was faster: the object comes back, and the update is made again.
    let conflict = client.txn(guarded(&key, 0, "two")).await?;
    ensure!(!conflict.succeeded());
    let responses = conflict.op_responses();
    let Some(TxnOpResponse::Get(found)) = responses.first() else { anyhow::bail!("no get") };
    assert_eq!(
        (found.kvs()[0].value(), found.kvs()[0].mod_revision()),
        (b"one".as_ref(), revision)
    );
    ensure!(client.txn(guarded(&key, revision, "two")).await?.succeeded());

    let at = client.get(key.as_str(), Some(GetOptions::new().with_revision(revision))).await?;
    assert_eq!(at.kvs()[0].value(), b"one");

    let deleted = Txn::new()
        .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, revision + 1)])
        .and_then([TxnOp::delete(key.as_str(), None)])
        .or_else([TxnOp::get(key.as_str(), None)]);
    ensure!(client.txn(deleted).await?.succeeded());
    assert_eq!(client.get(key.as_str(), None).await?.count(), 0);
    Ok(())
}

async fn lists_in_pages(client: &mut Client) -> Result<()> {
    for name in ["a", "b", "c", "d", "e"] {
        ensure!(client.txn(guarded(&format!("{PODS}paged/{name}"), 0, name)).await?.succeeded());
    }
    let end = behind(PODS);
    let page = |from: String, revision: i64| {
        let options = GetOptions::new().with_range(end.clone()).with_limit(2);
        (from, options.with_revision(revision))
    };
    let (from, options) = page(PODS.to_owned(), 0);
    let first = client.get(from, Some(options)).await?;
    let revision = first.header().context("no header")?.revision();
    assert_eq!((first.kvs().len(), first.count(), first.more()), (2, 5, true));
    // A write in between is not in the next pages: they are of the first one's revision.
    ensure!(client.txn(guarded(&format!("{PODS}paged/bb"), 0, "late")).await?.succeeded());
    let mut names = vec!["a".to_owned(), "b".to_owned()];
    loop {
        let last = format!("{PODS}paged/{}\0", names[names.len() - 1]);
        let (from, options) = page(last, revision);
        let next = client.get(from, Some(options)).await?;
        names.extend(next.kvs().iter().map(|kv| String::from_utf8_lossy(kv.value()).into_owned()));
        if !next.more() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let count = GetOptions::new().with_range(end).with_count_only();
    let counted = client.get(PODS, Some(count)).await?;
    assert_eq!((counted.count(), counted.kvs().len()), (6, 0));
    Ok(())
}

fn behind(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// Watches from a list's revision; the revision to resume from.
async fn watch(client: &mut Client) -> Result<i64> {
    let from = client.get(PODS, None).await?.header().context("no header")?.revision() + 1;
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(from)
        .with_prev_key()
        .with_progress_notify()
        .with_fragment();
    let mut stream = client.watch(PODS, Some(options)).await?;
    let key = format!("{PODS}watched/a");
    ensure!(client.txn(guarded(&key, 0, "one")).await?.succeeded());
    ensure!(client.txn(guarded(&key, from, "two")).await?.succeeded());
    client.delete(key.as_str(), None).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = stream.message().await?.context("the watch ended")?;
        for event in message.events() {
            let kv = event.kv().context("no key")?;
            let previous = event.prev_kv().map(|kv| String::from_utf8_lossy(kv.value()).into());
            seen.push((event.event_type(), kv.mod_revision(), previous));
        }
    }
    let previous = |value: &str| Some(value.to_owned());
    assert_eq!(
        seen,
        [
            (EventType::Put, from, None),
            (EventType::Put, from + 1, previous("one")),
            (EventType::Delete, from + 2, previous("two")),
        ]
    );
    // Its cache asks how far a watch is, to answer consistent reads by itself; again and again,
    // for a member may be told of a write's end before it has applied it.
    client.put("elsewhere", "x", None).await?;
    let mut reached = 0;
    while reached < from + 3 {
        stream.request_progress().await?;
        let progress = stream.message().await?.context("the watch ended")?;
        assert!(progress.events().is_empty());
        reached = progress.header().context("no header")?.revision();
    }
    Ok(from + 2)
}

/// One server of several compacts: they settle by a transaction whose turn it is.
async fn compactor(client: &mut Client) -> Result<()> {
    let key = "compact_rev_key";
    let turn = |version: i64| {
        Txn::new()
            .when([Compare::version(key, CompareOp::Equal, version)])
            .and_then([TxnOp::put(key, "1", None)])
            .or_else([TxnOp::get(key, None)])
    };
    ensure!(client.txn(turn(0)).await?.succeeded());
    let lost = client.txn(turn(0)).await?;
    ensure!(!lost.succeeded());
    let revision = lost.header().context("no header")?.revision() - 6;
    client.compact(revision, None).await?;
    let old = GetOptions::new().with_revision(revision - 1);
    let compacted = (11, "etcdserver: mvcc: required revision has been compacted".to_owned());
    assert_eq!(refusal(client.get(PODS, Some(old)).await), Some(compacted.clone()));
    assert_eq!(refusal(client.compact(revision, None).await), Some(compacted));
    // A watch from before is told where it may begin.
    let options = WatchOptions::new().with_prefix().with_start_revision(1);
    let mut stream = client.watch(PODS, Some(options)).await?;
    let cancelled = loop {
        let message = stream.message().await?.context("the watch ended")?;
        if message.canceled() {
            break message;
        }
    };
    assert_eq!(cancelled.compact_revision(), revision);
    Ok(())
}

async fn events_on_leases(client: &mut Client) -> Result<()> {
    let lease = client.lease_grant(3_600, None).await?.id();
    let key = "/registry/events/default/e";
    let attached = PutOptions::new().with_lease(lease);
    let create = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key, "event", Some(attached))])
        .or_else([TxnOp::get(key, None)]);
    ensure!(client.txn(create).await?.succeeded());
    assert_eq!(client.get(key, None).await?.kvs()[0].lease(), lease);
    client.lease_revoke(lease).await?;
    assert_eq!(client.get(key, None).await?.count(), 0);
    Ok(())
}

/// The server it speaks to dies; another goes on where the watch was.
async fn fail_over(cluster: &mut Cluster, resume: i64) -> Result<()> {
    let leader = cluster.leader(0).await?;
    cluster.servers[leader].kill()?;
    let other = (leader + 1) % 3;
    let mut client = connect(&cluster.servers[other]).await?;
    let key = format!("{PODS}after/a");
    eventually("a write", || {
        let mut client = client.clone();
        let key = key.clone();
        async move {
            let done = client.txn(guarded(&key, 0, "one")).await?;
            ensure!(done.succeeded() || done.op_responses().len() == 1);
            Ok(())
        }
    })
    .await?;
    let options = WatchOptions::new().with_prefix().with_start_revision(resume);
    let mut stream = client.watch(PODS, Some(options)).await?;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    while seen.len() < 2 {
        let message = stream.message().await?.context("the watch ended")?;
        seen.extend(message.events().iter().filter_map(|event| Some(event.kv()?.key().to_vec())));
    }
    assert_eq!(seen, [format!("{PODS}watched/a").into_bytes(), key.into_bytes()]);
    Ok(())
}
