//! The services of one member, called without a network.

use std::{path::Path, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use kontiki_base::{
    CancellationToken,
    pki::{Authority, CertificateRequest, Usage},
    tasks::Tasks,
    tls::Roots,
};
use tonic::{Code, Request, Status};

use super::{
    api::Api,
    auth::NoAuth,
    kv::Keys,
    maintenance::Care,
    proto::etcdserverpb::{
        AuthStatusRequest, PutRequest, RangeRequest, StatusRequest, WatchCancelRequest,
        WatchCreateRequest, WatchProgressRequest, WatchRequest, auth_server::Auth, kv_server::Kv,
        maintenance_server::Maintenance, watch_request::RequestUnion,
    },
    watch::Session,
};
use crate::{
    options::{Options, PeerTls, Start, Timing, Tuning},
    store::Store,
};

/// Longer than any test.
const PROGRESS_EVERY: Duration = Duration::from_secs(600);

/// The only member of a store.
async fn member(folder: &Path) -> Store {
    let authority = Authority::generate("store").unwrap();
    let host = [127, 0, 0, 1];
    let request = CertificateRequest::serving("m", vec![], vec![host.into()], Usage::Peer);
    let options = Options {
        data_dir: folder.to_owned(),
        name: "m".to_owned(),
        listen: (host, 0).into(),
        peer_address: "127.0.0.1:1".to_owned(),
        api_address: String::new(),
        client_address: String::new(),
        tls: PeerTls {
            identity: authority.issue(&request).unwrap(),
            roots: Roots { pem: authority.certificate_pem.clone() },
        },
        timing: Timing::default(),
        tuning: Tuning::default(),
        start: Start::Bootstrap,
    };
    let store = Store::open(options, &Tasks::new()).await.unwrap();
    store.ready().await.unwrap();
    store
}

fn api(store: &Store) -> Api {
    Api::new(store.clone(), None, CancellationToken::new())
}

fn create(start_revision: i64) -> WatchRequest {
    let watch = WatchCreateRequest { key: "k".into(), start_revision, ..Default::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(watch)) }
}

async fn put(store: &Store, value: &'static str) -> Result<(), Status> {
    let request = PutRequest { key: "k".into(), value: value.into(), ..Default::default() };
    Keys(api(store)).put(Request::new(request)).await.map(drop)
}

async fn get(store: &Store, serializable: bool) -> Result<i64, Status> {
    let request = RangeRequest { key: "k".into(), serializable, ..Default::default() };
    let answer = Keys(api(store)).range(Request::new(request)).await?;
    Ok(answer.into_inner().count)
}

/// A stream with a watch on it that was told so.
async fn watching(
    store: &Store,
) -> Session<impl futures::Stream<Item = Result<WatchRequest, Status>> + Unpin> {
    let requests = stream::iter([Ok(create(0))]).chain(stream::pending());
    let mut session = Session::new(api(store), requests, false, PROGRESS_EVERY);
    assert!(session.next().await.unwrap().unwrap().created);
    session
}

/// What everything that a member is asked is answered with.
async fn answers(store: &Store) -> Vec<Code> {
    let asked = [put(store, "b").await.err(), get(store, false).await.err()];
    let asked = asked.into_iter().chain([get(store, true).await.err()]);
    let mut codes: Vec<Code> = asked.map(|status| status.unwrap().code()).collect();
    let requests = stream::iter([Ok(create(0))]).chain(stream::pending());
    let mut fresh = Session::new(api(store), requests, false, PROGRESS_EVERY);
    codes.push(fresh.next().await.unwrap().unwrap_err().code());
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_sends_its_clients_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let store = member(folder.path()).await;
    put(&store, "a").await.unwrap();
    let mut session = watching(&store).await;
    store.expel("it was removed");
    let ended = session.next().await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(ended.message(), "etcdserver: server stopped: it was removed");
    assert!(session.next().await.is_none());
    assert_eq!(answers(&store).await, [Code::Unavailable; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_member_ends_its_streams_and_answers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = member(folder.path()).await;
    put(&store, "a").await.unwrap();
    let mut session = watching(&store).await;
    store.condemn("it differs").await;
    assert_eq!(session.next().await.unwrap().unwrap_err().code(), Code::DataLoss);
    assert_eq!(answers(&store).await, [Code::DataLoss; 4]);
    assert!(store.backup(Vec::new()).await.is_err(), "nobody should restore this");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_for_progress_hold_up_nothing_while_a_watch_is_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = member(folder.path()).await;
    // More than is kept in memory, so that the watch begins on disk.
    let puts = join_all((0..1_100).map(|_| put(&store, "a"))).await;
    assert!(puts.iter().all(Result::is_ok));
    // Whoever hears of one more, hears it behind all of them.
    let mut live = watching(&store).await;
    put(&store, "a").await.unwrap();
    assert_eq!(live.next().await.unwrap().unwrap().header.unwrap().revision, 1_102);
    let ask = || {
        let request_union = Some(RequestUnion::ProgressRequest(WatchProgressRequest {}));
        WatchRequest { request_union }
    };
    let cancel = WatchRequest {
        request_union: Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 })),
    };
    let all = [create(2)].into_iter().chain((0..200).map(|_| ask())).chain([cancel]);
    let requests = stream::iter(all.map(Ok).collect::<Vec<_>>()).chain(stream::pending());
    let mut session = Session::new(api(&store), requests, false, PROGRESS_EVERY);
    assert!(session.next().await.unwrap().unwrap().created);
    let next = session.next().await.unwrap().unwrap();
    assert!(next.canceled, "the request behind the questions comes first: {next:?}");
    // With nothing left that is behind, all of them are answered at once.
    let progress = session.next().await.unwrap().unwrap();
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 1_102));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_store_has_a_size_and_auth_counts_from_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = member(folder.path()).await;
    put(&store, "a").await.unwrap();
    let status = Care(api(&store)).status(Request::new(StatusRequest {})).await.unwrap();
    let status = status.into_inner();
    assert!(status.db_size > 0 && status.db_size_in_use > 0, "{status:?}");
    let auth = NoAuth(api(&store)).auth_status(Request::new(AuthStatusRequest {})).await.unwrap();
    assert_eq!(auth.into_inner().auth_revision, 1);
}
