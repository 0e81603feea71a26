//! A client library, and what a server beside an API server lets it do.

use std::ffi::OsString;

use anyhow::{Context, Result, ensure};
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, LockOptions, ProclaimOptions, PutOptions, ResignOptions, Txn, TxnOp,
    WatchOptions,
};
use kontiki_tests::{command, etcdctl::Etcdctl, eventually, server::Server};
use tokio::task::JoinSet;

use crate::shared::{connect, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_one_member_serves_a_library_and_survives_a_restart() -> Result<()> {
    let mut server = Server::new("alone")?.with(&["--store-only"]);
    server.start_ready().await?;
    let mut client = connect(&server).await?;
    let lease = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(77))).await?;
    assert_eq!((lease.id(), lease.ttl()), (77, 60));
    let exists = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(77))).await;
    assert_eq!(refusal(exists), Some((9, "etcdserver: lease already exists".to_owned())));
    client.put("a", "1", Some(PutOptions::new().with_lease(77))).await?;
    let before = client.put("a", "2", Some(PutOptions::new().with_prev_key().with_lease(77)));
    let before = before.await?;
    assert_eq!(before.prev_key().context("no previous")?.value(), b"1");
    let (mut keeper, mut kept) = client.lease_keep_alive(77).await?;
    keeper.keep_alive().await?;
    assert_eq!(kept.message().await?.context("no answer")?.ttl(), 60);
    let status =
        client.lease_time_to_live(77, Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    assert_eq!(status.keys(), [b"a".to_vec()]);

    // A transaction within a transaction, decided by what was there before.
    let inner = Txn::new()
        .when([Compare::version("a", CompareOp::Equal, 2)])
        .and_then([TxnOp::put("b", "inner", None)])
        .or_else([TxnOp::put("b", "wrong", None)]);
    let outer = Txn::new().when([Compare::lease("a", CompareOp::Equal, 77)]).and_then([
        TxnOp::txn(inner),
        TxnOp::delete("a", None),
        TxnOp::get("b", None),
    ]);
    let done = client.txn(outer).await?;
    assert!(done.succeeded());
    assert_eq!(done.op_responses().len(), 3);
    client.lease_revoke(77).await?;
    locks(&client).await?;
    elections(&client).await?;

    server.signal("TERM")?;
    assert!(server.ended().await?.success(), "{}", server.log());
    server.start_ready().await?;
    let mut client = eventually("the port", || connect(&server)).await?;
    let all = client.get("", Some(GetOptions::new().with_all_keys())).await?;
    let found: Vec<_> = all.kvs().iter().map(|kv| (kv.key(), kv.value())).collect();
    assert_eq!(found, [(b"b".as_ref(), b"inner".as_ref())]);
    Ok(())
}

/// A lock goes to who waits next, also when its holder's lease ends.
async fn locks(client: &Client) -> Result<()> {
    let (mut first, mut second) = (client.clone(), client.clone());
    let lease = first.lease_grant(60, None).await?.id();
    let held = first.lock("mutex", Some(LockOptions::new().with_lease(lease))).await?;
    assert_eq!(held.key(), format!("mutex/{lease:x}").as_bytes());
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { second.lock("mutex", None).await });
    let queue = GetOptions::new().with_prefix().with_count_only();
    eventually("somebody in the queue", || {
        let (mut client, queue) = (client.clone(), queue.clone());
        async move {
            ensure!(client.get("mutex/", Some(queue)).await?.count() == 2);
            Ok(())
        }
    })
    .await?;
    assert!(waiting.try_join_next().is_none());
    first.lease_revoke(lease).await?;
    let next = waiting.join_next().await.context("nobody waits")???;
    assert_ne!(next.key(), held.key());
    first.unlock(next.key()).await?;
    assert_eq!(first.get("mutex/", Some(queue)).await?.count(), 0);
    let late = first.lock("mutex", Some(LockOptions::new().with_lease(lease))).await;
    assert_eq!(refusal(late), Some((2, "etcdserver: requested lease not found".to_owned())));
    Ok(())
}

/// Somebody leads, is seen to, says something new, and is followed by who waits.
async fn elections(client: &Client) -> Result<()> {
    let (mut first, mut second, mut third) = (client.clone(), client.clone(), client.clone());
    let nobody = first.leader("throne").await;
    assert_eq!(refusal(nobody), Some((2, "election: no leader".to_owned())));
    let mut seen = third.observe("throne").await?;
    let lease = first.lease_grant(60, None).await?.id();
    let elected = first.campaign("throne", "one", lease).await?;
    let key = elected.leader().context("no key")?.clone();
    assert_eq!(key.key(), format!("throne/{lease:x}").as_bytes());
    assert_eq!((key.name(), key.lease()), (b"throne".as_ref(), lease));
    // Whoever leads already is told so, and what it says now counts.
    let again = first.campaign("throne", "two", lease).await?;
    assert_eq!(again.leader().context("no key")?.rev(), key.rev());
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { second.campaign("throne", "three", 0).await });
    let queue = GetOptions::new().with_prefix().with_count_only();
    eventually("somebody in the queue", || {
        let (mut client, queue) = (client.clone(), queue.clone());
        async move {
            ensure!(client.get("throne/", Some(queue)).await?.count() == 2);
            Ok(())
        }
    })
    .await?;
    let options = || ProclaimOptions::new().with_leader(key.clone());
    first.proclaim("still me", Some(options())).await?;
    let leads = first.leader("throne").await?;
    assert_eq!(leads.kv().context("no leader")?.value(), b"still me");
    assert!(waiting.try_join_next().is_none());
    first.resign(Some(ResignOptions::new().with_leader(key.clone()))).await?;
    let next = waiting.join_next().await.context("nobody waits")???;
    let next = next.leader().context("no key")?.clone();
    assert_ne!(next.key(), key.key());
    // Who leads no more says nothing more; to resign twice is no mistake.
    let late = first.proclaim("me again", Some(options())).await;
    assert_eq!(refusal(late), Some((2, "election: not leader".to_owned())));
    first.resign(Some(ResignOptions::new().with_leader(key))).await?;
    let mut said = Vec::new();
    while said.len() < 4 {
        let seen = seen.message().await?.context("the observation ended")?;
        said.push(String::from_utf8(seen.kv().context("no leader")?.value().to_vec())?);
    }
    assert_eq!(said, ["one", "two", "still me", "three"]);
    first.lease_revoke(next.lease()).await?;
    let nobody = first.leader("throne").await;
    assert_eq!(refusal(nobody), Some((2, "election: no leader".to_owned())));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_watches_hear_of_progress_as_often_as_configured() -> Result<()> {
    let flags = ["--store-only", "--watch-progress-notify-interval", "200ms"];
    let mut server = Server::new("progress")?.with(&flags);
    server.start_ready().await?;
    let mut client = connect(&server).await?;
    let mut told = client.watch("a", Some(WatchOptions::new().with_progress_notify())).await?;
    let revision = client.put("b", "x", None).await?.header().context("no header")?.revision();
    for _ in 0..3 {
        let progress = told.message().await?.context("the watch ended")?;
        assert!(progress.events().is_empty() && !progress.canceled(), "{progress:?}");
    }
    let progress = told.message().await?.context("the watch ended")?;
    assert_eq!(progress.header().context("no header")?.revision(), revision);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_api_server_its_keys_are_read_only() -> Result<()> {
    let mut server = Server::new("whole")?;
    server.start_ready().await?;
    let mut client = eventually("the port", || connect(&server)).await?;
    let namespaces = GetOptions::new().with_prefix().with_keys_only();
    let found = client.get("/registry/namespaces/", Some(namespaces)).await?;
    assert!(found.kvs().iter().any(|kv| kv.key() == b"/registry/namespaces/default"));

    let denied = |outcome: Option<(i32, String)>, what: &str| {
        let (code, message) = outcome.unwrap_or_default();
        assert_eq!(code, 7, "{what}: {message}");
        assert!(message.starts_with("etcdserver: permission denied"), "{what}: {message}");
    };
    denied(refusal(client.put("/registry/x", "y", None).await), "put");
    let everything = DeleteOptions::new().with_all_keys();
    denied(refusal(client.delete("", Some(everything)).await), "delete");
    let hidden = Txn::new().when([Compare::version("no", CompareOp::Greater, 0)]);
    let hidden = hidden.and_then([TxnOp::delete("/registry/namespaces/default", None)]);
    denied(refusal(client.txn(hidden).await), "txn");
    // Events hang on leases: ending one would delete them.
    client.put("other/key", "mine", None).await?;
    assert_eq!(client.get("other/key", None).await?.kvs()[0].value(), b"mine");

    let etcdctl = Etcdctl::of(std::slice::from_ref(&server))?;
    let complaint = etcdctl.fail(&["del", "/registry/", "--prefix"])?;
    assert!(complaint.contains("etcdserver: permission denied"), "{complaint}");
    let environment = std::fs::read_to_string(server.data_dir().join("etcdctl.env"))?;
    assert!(environment.contains(&server.store_address()), "{environment}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_a_kubernetes_do_not_mix() -> Result<()> {
    let mut store = Server::new("store")?.with(&["--store-only"]);
    store.start_ready().await?;
    let (join, token) = (store.address(), store.token("server").await?);
    let mut whole = Server::new("whole")?.with(&["--join", &join, "--token", &token]);
    whole.start()?;
    assert!(!whole.ended().await?.success());
    assert!(whole.log().contains("start its servers with --store-only"), "{}", whole.log());
    let (head, secret) = token.split_at(token.len() - 16);
    let wrong = format!("{head}{}", secret.chars().map(|_| 'z').collect::<String>());
    let flags = ["--store-only", "--join", &join, "--token", &wrong];
    let mut stranger = Server::new("stranger")?.with(&flags);
    stranger.start()?;
    assert!(!stranger.ended().await?.success());
    assert!(stranger.log().contains("does not accept the token"), "{}", stranger.log());
    // The folder remembers what it is.
    store.signal("TERM")?;
    store.ended().await?;
    let arguments: Vec<OsString> = store
        .command()?
        .get_args()
        .filter(|argument| *argument != "--store-only")
        .map(OsString::from)
        .collect();
    let complaint = command::run(command::kontiki(&arguments)?, None)?.failure()?;
    assert!(complaint.contains("start its servers with --store-only"), "{complaint}");
    Ok(())
}
