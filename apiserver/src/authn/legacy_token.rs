//! Tokens that stand in Secrets, where the token controller puts them: without an end of their own,
//! they hold as long as their Secret says them and their account is there.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kontiki_api::{account_token, meta};
use serde_json::Value;

use super::service_account::{TokenKeys, account};
use crate::{cache::Caches, user::UserInfo};

/// Whose token this is, if it is one that holds.
pub fn user_of(keys: &TokenKeys, token: &str, caches: &Caches) -> Option<UserInfo> {
    let claims = keys.verify_legacy(token)?;
    let found = |resource: &str, name: &str| {
        let key = format!("{}/{name}", claims.namespace);
        caches.builtin("", resource).cache.get(&key).map(|object| object.value())
    };
    let secret = found("secrets", &claims.secret)?;
    let holder = found("serviceaccounts", &claims.account)?;
    let holds = says(&secret, token) && !meta::is_deleting(&holder);
    (holds && meta::uid(&holder) == claims.uid)
        .then(|| account(&claims.namespace, &claims.account, &claims.uid))
}

/// Whether a Secret still stands for a token.
fn says(secret: &Value, token: &str) -> bool {
    !meta::is_deleting(secret)
        && secret["metadata"]["labels"][account_token::INVALID_SINCE].is_null()
        && secret["data"]["token"] == STANDARD.encode(token)
}
