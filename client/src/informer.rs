//! Keeps a [`Store`] equal to what the API server has: one list, then a watch for as long as it
//! lasts, then a watch from where that one ended.
//!
//! A watch that breaks is resumed, on another server if need be, from the last revision seen:
//! revisions are the same on every server. Only an expired revision (410) leads to a new list.
//!
//! Who owns which fields is of no use to a control loop: informed objects have no `managedFields`.

mod lines;

use std::time::Duration;

use futures::StreamExt;
use http_body_util::BodyExt;
use kontiki_api::{Object, typed::DecodeError};
use kontiki_base::{
    backoff::Backoff,
    tasks::{TaskKind, Tasks, render},
};
use serde::Deserialize;

use crate::{Client, Error, ListOptions, ObjectKey, Store, client};
use lines::{Event, Lines, TooLong, without_managers};

/// The longest line of a watch that is accepted: an object of the largest size with its frame.
const WATCH_LINE_MAX: usize = 8 << 20;

/// The server ends a watch after this long, so that watches spread over the servers again.
const WATCH_SECONDS: u32 = 1800;

/// Starts informers.
pub struct Informer;

impl Informer {
    /// Keeps a store of the objects that `options` selects, until the tasks are stopped.
    pub fn start<T: Object>(client: Client, options: ListOptions, tasks: &Tasks) -> Store<T> {
        let path = client::collection::<T>(options.namespace.as_deref());
        Informer::follow(client, path, options, tasks)
    }

    /// The same for the collection at a path: one type may read objects of many kinds.
    pub fn follow<T: Object>(
        client: Client,
        path: String,
        options: ListOptions,
        tasks: &Tasks,
    ) -> Store<T> {
        let store = Store::new();
        let (target, shutdown) = (store.clone(), tasks.shutdown());
        tasks.spawn_infallible(TaskKind::logged("informer"), async move {
            let source = Source { client, path, options };
            let run = run(&source, &target);
            tokio::select! { biased;
                () = shutdown.cancelled() => {}
                () = run => {}
            }
        });
        store
    }
}

/// What an informer follows.
struct Source {
    client: Client,
    path: String,
    options: ListOptions,
}

async fn run<T: Object>(source: &Source, store: &Store<T>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut listed = false;
    loop {
        let outcome = if listed { follow(source, store).await } else { Ok(()) };
        let outcome = match outcome {
            Ok(()) if listed => Ok(()),
            Ok(()) => relist(source, store).await,
            Err(error) if error.is_expired() => {
                tracing::debug!(resource = source.path, "watch expired, listing again: {error}");
                relist(source, store).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                listed = true;
                backoff.reset();
            }
            Err(error) => {
                let delay = backoff.next_delay();
                // One failure is how a server's restart looks from here; more are worth a line.
                if backoff.failures() > 2 {
                    tracing::warn!(resource = source.path, "informer: {}", render(&error));
                }
                tokio::time::sleep(jittered(delay)).await;
            }
        }
    }
}

fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.75 + rand::random::<f64>() / 2.0)
}

async fn relist<T: Object>(source: &Source, store: &Store<T>) -> Result<(), Error> {
    let list = source.client.list_at(&source.path, &source.options, decode::<T>).await?;
    store.replace(list.items, list.revision);
    Ok(())
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMetadata {
    resource_version: String,
}

#[derive(Deserialize)]
struct ErrorStatus {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// Follows one watch until it ends.
async fn follow<T: Object>(source: &Source, store: &Store<T>) -> Result<(), Error> {
    let uri = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}&{}",
        source.path,
        store.revision(),
        source.options.query(),
    );
    let mut body = source.client.stream(&uri).await?.into_data_stream();
    let mut lines = Lines::default();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| broken(&format!("the watch broke off: {error}")))?;
        lines.push(&chunk);
        while let Some(line) = lines.next(WATCH_LINE_MAX).map_err(too_long)? {
            take::<T>(&line, store)?;
        }
    }
    Ok(())
}

fn decode<T: Object>(json: &[u8]) -> Result<T, DecodeError> {
    T::decode(&without_managers(json))
}

fn take<T: Object>(line: &[u8], store: &Store<T>) -> Result<(), Error> {
    let event =
        Event::read(line).map_err(|error| broken(&format!("unreadable watch event: {error}")))?;
    let json = event.object;
    match event.kind {
        "ADDED" | "MODIFIED" => {
            let object = decode::<T>(json)?;
            let revision = revision_of(&object);
            store.apply(object, revision);
        }
        "DELETED" => {
            let object = decode::<T>(json)?;
            store.remove(&ObjectKey::of(&object), revision_of(&object));
        }
        "BOOKMARK" => {
            let bookmark: Bookmark = serde_json::from_slice(json)
                .map_err(|error| broken(&format!("unreadable bookmark: {error}")))?;
            store.advance(bookmark.metadata.resource_version.parse().unwrap_or(0));
        }
        "ERROR" => {
            let status: ErrorStatus = serde_json::from_slice(json)
                .map_err(|error| broken(&format!("unreadable error event: {error}")))?;
            return Err(Error::Api {
                code: status.code,
                reason: status.reason,
                message: status.message,
            });
        }
        other => tracing::debug!("unknown watch event {other:?} left out"),
    }
    Ok(())
}

fn revision_of<T: Object>(object: &T) -> u64 {
    object.metadata().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn too_long(_: TooLong) -> Error {
    broken(&format!("a watch event is over {WATCH_LINE_MAX} bytes long"))
}

fn broken(message: &str) -> Error {
    Error::Transport { message: message.to_owned(), outcome_unknown: false }
}

#[cfg(test)]
mod tests {
    use kontiki_api::k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn events_change_the_store_and_bookmarks_move_it() {
        let store: Store<ConfigMap> = Store::new();
        let object = |version: u64| {
            format!(
                r#"{{"metadata":{{"namespace":"a","name":"x","resourceVersion":"{version}"}}}}"#
            )
        };
        let line =
            |kind: &str, version| format!(r#"{{"type":"{kind}","object":{}}}"#, object(version));
        take(line("ADDED", 3).as_bytes(), &store).unwrap();
        take(line("BOOKMARK", 5).as_bytes(), &store).unwrap();
        assert_eq!((store.len(), store.revision()), (1, 5));
        take(line("DELETED", 6).as_bytes(), &store).unwrap();
        assert_eq!((store.len(), store.revision()), (0, 6));
    }

    #[test]
    fn an_expired_watch_says_so() {
        let store: Store<ConfigMap> = Store::new();
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(take(line, &store).unwrap_err().is_expired());
    }
}
