//! The keys of an issuer: fetched from where its discovery document says, kept, fetched again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{DecodingKey, jwk::JwkSet};
use kontiki_base::{
    CancellationToken,
    backoff::Backoff,
    tasks::{TaskKind, Tasks},
    tls,
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsConnector;

use super::Settings;

const CONNECTION: TaskKind = TaskKind::logged("connection to the OIDC issuer");
/// How long one fetch may take.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// Most bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Most keys of an issuer.
const KEYS_MAX: usize = 100;
/// How old keys may be.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// Whoever sends tokens with made-up keys makes us ask no more often than this.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long a request waits for keys.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// An issuer's keys as they were fetched last.
pub struct Keys {
    issuer_url: String,
    roots: String,
    current: ArcSwap<Vec<(Option<String>, DecodingKey)>>,
    epoch: AtomicU64,
    asked: Notify,
    /// Counts fetches.
    fetched: watch::Sender<u64>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    pub(super) fn new(settings: &Settings) -> Keys {
        Keys {
            issuer_url: settings.issuer_url.clone(),
            roots: settings.roots.clone(),
            current: ArcSwap::default(),
            epoch: AtomicU64::new(0),
            asked: Notify::new(),
            fetched: watch::Sender::new(0),
        }
    }

    /// Counts the times that keys were replaced. Asked before the keys: what an older set has
    /// verified is then never taken for a newer one's.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether a key of that id is known; a token that names none may be signed with any.
    pub(super) fn has(&self, id: Option<&str>) -> bool {
        let current = self.current.load();
        match id {
            None => !current.is_empty(),
            id => current.iter().any(|(known, _)| known.as_deref() == id),
        }
    }

    /// The keys that may have signed a token that names this one.
    pub(super) fn of(&self, id: Option<&str>) -> Vec<DecodingKey> {
        let current = self.current.load();
        let may = current.iter().filter(|(known, _)| id.is_none() || known.as_deref() == id);
        may.map(|(_, key)| key.clone()).collect()
    }

    /// Has the keys fetched again, and waits for it for a while.
    pub async fn refresh(&self) {
        let mut fetched = self.fetched.subscribe();
        fetched.mark_unchanged();
        self.asked.notify_one();
        let _ = timeout(WAIT_MAX, fetched.changed()).await;
    }

    /// Fetches until `shutdown`.
    pub async fn run(self: Arc<Keys>, tasks: Tasks, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        loop {
            let fetch = timeout(FETCH_MAX, self.fetch(&tasks));
            let fetched = tokio::select! { biased;
                () = shutdown.cancelled() => return,
                fetched = fetch => fetched.unwrap_or_else(|_| Err("timed out".to_owned())),
            };
            let pause = match fetched {
                Ok(keys) => {
                    backoff.reset();
                    self.current.store(Arc::new(keys));
                    self.epoch.fetch_add(1, Ordering::Release);
                    AGE_MAX
                }
                Err(why) => {
                    tracing::warn!(issuer = self.issuer_url, "cannot fetch OIDC keys: {why}");
                    backoff.next_delay()
                }
            };
            self.fetched.send_modify(|times| *times += 1);
            let earliest = Instant::now() + PAUSE_MIN;
            let asked = async {
                self.asked.notified().await;
                sleep_until(earliest).await;
            };
            tokio::select! { biased;
                () = shutdown.cancelled() => return,
                () = asked => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn fetch(&self, tasks: &Tasks) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
        let base = self.issuer_url.trim_end_matches('/');
        let document = self.get(&format!("{base}/.well-known/openid-configuration"), tasks).await?;
        let discovery: Discovery =
            serde_json::from_slice(&document).map_err(|error| error.to_string())?;
        if discovery.issuer != self.issuer_url {
            return Err(format!("the issuer calls itself {:?}", discovery.issuer));
        }
        read_keys(&self.get(&discovery.jwks_uri, tasks).await?)
    }

    async fn get(&self, url: &str, tasks: &Tasks) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| format!("{url} is not an https URL"))?;
        let failed = |error: &dyn std::fmt::Display| format!("{url}: {error}");
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, uri.port_u16().unwrap_or(443)))
            .await
            .map_err(|error| failed(&error))?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| failed(&error))?;
        let stream =
            self.connector()?.connect(name, stream).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        let stop = tasks.shutdown();
        tasks.spawn_infallible(CONNECTION, async move {
            tokio::select! { biased;
                () = stop.cancelled() => {}
                _ = connection => {}
            }
        });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        if response.status() != StatusCode::OK {
            return Err(failed(&response.status()));
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX);
        Ok(body.collect().await.map_err(|error| failed(&error))?.to_bytes())
    }

    fn connector(&self) -> Result<TlsConnector, String> {
        tls::install_provider();
        let mut store = RootCertStore::empty();
        let roots = tls::certificates(&self.roots).map_err(|error| error.to_string())?;
        // A system's bundle may hold some that are too old to be read.
        store.add_parsable_certificates(roots);
        let config = ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Reads a set of keys; those of unknown kinds are left out.
fn read_keys(document: &[u8]) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
    let set: JwkSet = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    let keys = set.keys.iter().take(KEYS_MAX);
    Ok(keys
        .filter_map(|key| Some((key.common.key_id.clone(), DecodingKey::from_jwk(key).ok()?)))
        .collect())
}
