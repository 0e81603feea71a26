//! Service account tokens for pods: asked for once, renewed when four fifths of their time is
//! over.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kontiki_api::Object;
use kontiki_base::tasks::render;
use kontiki_client::{Client, ObjectKey};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::pod::spec::PodExt;

/// Upstream's default lifetime.
const DEFAULT_SECONDS: i64 = 3600;
/// A token is renewed at the latest when it is this old.
const RENEWED_AFTER_MAX: SignedDuration = SignedDuration::from_hours(24);

/// A renewal that failed is tried again after this.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// Why a token could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or was not reached.
    #[error("cannot request a token of service account {namespace}/{account}")]
    Request {
        /// Namespace.
        namespace: String,
        /// Service account.
        account: String,
        /// The cause.
        source: kontiki_client::Error,
    },
    /// The answer holds no token.
    #[error("the answer to a token request holds no {0}")]
    Answer(&'static str),
}

/// What distinguishes one token from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenKey {
    /// The pod it is bound to.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// The service account.
    pub account: String,
    /// Whom it is for; the API server if `None`.
    pub audience: Option<String>,
    /// Its lifetime.
    pub seconds: i64,
}

/// A token that is wanted.
#[derive(Clone, Debug)]
pub struct TokenRequestFor {
    key: TokenKey,
    pod_name: String,
}

impl TokenRequestFor {
    /// What a projection of a pod asks for.
    pub fn projection(pod: &Pod, projection: &ServiceAccountTokenProjection) -> TokenRequestFor {
        let account = pod.pod_spec().service_account_name.clone().unwrap_or_default();
        let account = if account.is_empty() { "default".to_owned() } else { account };
        let key = TokenKey {
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            account,
            audience: projection.audience.clone().filter(|audience| !audience.is_empty()),
            seconds: projection.expiration_seconds.unwrap_or(DEFAULT_SECONDS),
        };
        TokenRequestFor { key, pod_name: pod.name().to_owned() }
    }

    /// Its key.
    pub fn key(&self) -> TokenKey {
        self.key.clone()
    }

    fn body(&self) -> Value {
        let audiences: Vec<&String> = self.key.audience.iter().collect();
        json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": self.key.seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": self.pod_name,
                    "uid": self.key.uid,
                },
            },
        })
    }
}

/// A token, and when the next one should be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// When to renew it.
    pub refresh_at: Timestamp,
    /// When it is of no use any more.
    pub expires_at: Timestamp,
}

/// The tokens of all pods on this node.
pub struct Tokens {
    client: Client,
    known: Mutex<BTreeMap<TokenKey, Token>>,
}

impl Tokens {
    /// No tokens yet.
    pub fn new(client: Client) -> Tokens {
        Tokens { client, known: Mutex::default() }
    }

    /// A token that is still fresh; while no new one can be had, one that is still valid.
    pub async fn get(&self, wanted: &TokenRequestFor) -> Result<Token, Error> {
        let now = Timestamp::now();
        let known = self.known.lock().get(&wanted.key).cloned();
        match known {
            Some(token) if token.refresh_at > now => Ok(token),
            Some(token) if token.expires_at > now => match self.request(wanted, now).await {
                Ok(newer) => Ok(newer),
                Err(error) => {
                    tracing::debug!("{}", render(&error));
                    let refresh_at = now.checked_add(RETRY).unwrap_or(token.expires_at);
                    Ok(Token { refresh_at, ..token })
                }
            },
            _ => self.request(wanted, now).await,
        }
    }

    async fn request(&self, wanted: &TokenRequestFor, now: Timestamp) -> Result<Token, Error> {
        let account = ObjectKey::new(&wanted.key.namespace, &wanted.key.account);
        let answer = self
            .client
            .create_subresource::<ServiceAccount>(&account, "token", &wanted.body())
            .await
            .map_err(|source| Error::Request {
                namespace: wanted.key.namespace.clone(),
                account: wanted.key.account.clone(),
                source,
            })?;
        let token = read(&answer.body, now)?;
        self.known.lock().insert(wanted.key(), token.clone());
        Ok(token)
    }

    /// Forgets the tokens of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.known.lock().retain(|key, _| key.uid != uid);
    }
}

fn read(answer: &[u8], now: Timestamp) -> Result<Token, Error> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| Error::Answer("JSON object"))?;
    let status = &answer["status"];
    let token = status["token"].as_str().ok_or(Error::Answer("token"))?.to_owned();
    let expires_at: Timestamp = status["expirationTimestamp"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or(Error::Answer("expirationTimestamp"))?;
    let lifetime = expires_at.duration_since(now);
    let renew_after = SignedDuration::from_secs(lifetime.as_secs() * 4 / 5).min(RENEWED_AFTER_MAX);
    let refresh_at = now.checked_add(renew_after).unwrap_or(expires_at);
    Ok(Token { token, refresh_at, expires_at })
}
