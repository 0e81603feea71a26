//! A server whose member may serve nobody any more.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kontiki_apiserver::storage::backend::{Backend, BackendError, Changes};
use kontiki_base::CancellationToken;
use kontiki_raft::{
    Store,
    types::{LeaseId, RangeReply, RangeRequest, Revision, Txn, TxnReply, WatchRequest},
};

use crate::support::{CONFIG_MAPS, Cluster, config_map};

/// A store whose member is dismissed when the test says so. Whoever asks it nevertheless gets an
/// answer: refusing is left to the server.
struct Dismissible {
    store: Store,
    dismissed: CancellationToken,
}

fn reason() -> BackendError {
    BackendError::Unavailable("its state differs".to_owned())
}

#[async_trait]
impl Backend for Dismissible {
    async fn txn(&self, txn: Txn) -> Result<TxnReply, BackendError> {
        Backend::txn(&self.store, txn).await
    }
    async fn range(&self, request: RangeRequest) -> Result<RangeReply, BackendError> {
        Backend::range(&self.store, request).await
    }
    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn Changes>, BackendError> {
        Backend::watch(&self.store, request).await
    }
    async fn read_index(&self) -> Result<Revision, BackendError> {
        Backend::read_index(&self.store).await
    }
    async fn compact(&self, revision: Revision) -> Result<(), BackendError> {
        Backend::compact(&self.store, revision).await
    }
    fn may_serve(&self) -> Result<(), BackendError> {
        if self.dismissed.is_cancelled() { Err(reason()) } else { Ok(()) }
    }
    async fn dismissed(&self) -> BackendError {
        self.dismissed.cancelled().await;
        reason()
    }
    fn leads(&self) -> bool {
        Backend::leads(&self.store)
    }
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, BackendError> {
        Backend::lease_grant(&self.store, ttl).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dismissed_server_ends_its_watches_and_answers_for_no_resource() {
    let cluster = Cluster::start().await;
    let dismissed = CancellationToken::new();
    let backend = Dismissible { store: cluster.store.clone(), dismissed: dismissed.clone() };
    let admin = cluster.another_on(Arc::new(backend)).await;
    admin.create(CONFIG_MAPS, &config_map("a")).await.ok();
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=0")).await;
    assert!(watch.event().await.starts_with("ADDED a @"));
    dismissed.cancel();
    assert_eq!(watch.next().await, None, "the watch ends");
    for uri in [
        CONFIG_MAPS.to_owned(),
        format!("{CONFIG_MAPS}?resourceVersion=0"),
        format!("{CONFIG_MAPS}?watch=true"),
        format!("{CONFIG_MAPS}/a?resourceVersion=0"),
    ] {
        let answer = admin.get(&uri).await;
        assert_eq!(answer.code, 503, "{uri}");
        assert_eq!(
            answer.value["message"], "this server serves no more: its state differs",
            "{uri}"
        );
    }
    let made = admin.create(CONFIG_MAPS, &config_map("b")).await;
    assert_eq!(made.code, 503);
    assert_eq!(admin.get("/version").await.code, 200);
    // The others go on.
    cluster.admin().create(CONFIG_MAPS, &config_map("b")).await.ok();
    cluster.stop().await;
}
