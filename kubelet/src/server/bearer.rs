//! Bearer tokens: the API server is asked whose they are (TokenReview), and its answer is believed
//! for two minutes, as upstream does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, Method, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::access::Caller;
use crate::node::context::Context;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// How long an answer is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(120);
/// Answers remembered at most; then those that have ended go, or all.
const REMEMBERED_MAX: usize = 1000;

/// SHA-256 of a token.
type Hash = [u8; 32];

/// The answers so far, and until when they are believed.
#[derive(Default)]
pub(super) struct Bearers {
    known: Mutex<HashMap<Hash, (Arc<Caller>, Instant)>>,
}

/// The token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Bearers {
    /// Who sent a request, by its token.
    pub(super) async fn caller(
        &self,
        context: &Context,
        headers: &HeaderMap,
    ) -> Option<Arc<Caller>> {
        let token = token(headers)?;
        let hash: Hash = Sha256::digest(token).into();
        let now = Instant::now();
        if let Some(known) = self.remembered(&hash, now) {
            return Some(known);
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token},
        });
        let body = Some(("application/json", review.to_string().into_bytes()));
        let answer = match context.client.call(Method::POST, REVIEWS, body).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!("cannot ask whose a token is: {error}");
                return None;
            }
        };
        let review: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let caller = Arc::new(Caller::reviewed(&review)?);
        self.remember(hash, caller.clone(), now);
        Some(caller)
    }

    fn remembered(&self, hash: &Hash, now: Instant) -> Option<Arc<Caller>> {
        let known = self.known.lock();
        let (caller, until) = known.get(hash)?;
        (now < *until).then(|| caller.clone())
    }

    fn remember(&self, hash: Hash, caller: Arc<Caller>, now: Instant) {
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(hash, (caller, now + BELIEVED_FOR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stands_behind_its_scheme() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            token(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("Bearer"), None);
    }

    #[test]
    fn answers_are_believed_for_a_while_and_bounded() {
        let caller = json!({"status": {"authenticated": true, "user": {"username": "u"}}});
        let caller = Arc::new(Caller::reviewed(&caller).unwrap());
        let (bearers, now) = (Bearers::default(), Instant::now());
        for number in 0..2 * REMEMBERED_MAX {
            let hash: Hash = Sha256::digest(number.to_be_bytes()).into();
            bearers.remember(hash, caller.clone(), now);
            assert!(bearers.remembered(&hash, now).is_some());
            assert!(bearers.remembered(&hash, now + BELIEVED_FOR).is_none());
        }
        assert!(bearers.known.lock().len() <= REMEMBERED_MAX);
    }
}
