//! Service account tokens: JWTs signed with the cluster's service account key (ES256).
//!
//! A token is bound to its account, and to a pod when it was made for one: it stops to hold when
//! either is gone, whatever its expiry says.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use kontiki_api::{account_token, meta};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{KeyError, published::PublicKey, verified::Verified};
use crate::{
    cache::Caches,
    user::{SERVICE_ACCOUNT_PREFIX, UserInfo},
};

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is.
    pub aud: Vec<String>,
    /// Until when, in seconds of the epoch.
    pub exp: i64,
    /// Since when.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Its own id.
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    /// Not before.
    pub nbf: i64,
    /// Whose it is.
    pub sub: String,
}

/// What a token is bound to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bound {
    /// The account's namespace.
    pub namespace: String,
    /// The node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// When a client should have asked for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// The key pair behind all tokens.
pub struct TokenKeys {
    signing: EncodingKey,
    verifying: DecodingKey,
    published: PublicKey,
    issuer: String,
    verified: Verified<Claims>,
    legacy: Verified<account_token::Claims>,
}

impl TokenKeys {
    /// From the private key.
    pub fn new(private_pem: &str, issuer: &str) -> Result<TokenKeys, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        let pair = rcgen::KeyPair::from_pem(private_pem).map_err(|e| failed(&e))?;
        let public_pem = pair.public_key_pem();
        Ok(TokenKeys {
            published: PublicKey::of(&pair)?,
            signing: EncodingKey::from_ec_pem(private_pem.as_bytes()).map_err(|e| failed(&e))?,
            verifying: DecodingKey::from_ec_pem(public_pem.as_bytes()).map_err(|e| failed(&e))?,
            issuer: issuer.to_owned(),
            verified: Verified::default(),
            legacy: Verified::default(),
        })
    }

    /// Who makes the tokens: also the audience of tokens that name none.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key that tokens can be checked with, as a JSON Web Key.
    pub fn published(&self) -> &PublicKey {
        &self.published
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        let kid = Some(self.published.id.clone());
        let header = Header { kid, ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.signing)
            .map_err(|error| KeyError(error.to_string()))
    }

    /// What a token says, if it is ours, of its time and for one of the audiences.
    pub fn verify(
        &self,
        token: &str,
        audiences: Option<&[String]>,
        now: Timestamp,
    ) -> Option<Arc<Claims>> {
        let claims = self.verified.get(0, token, || self.check(token, &self.issuer))?;
        let own = std::slice::from_ref(&self.issuer);
        let audiences = audiences.unwrap_or(own);
        let second = now.as_second();
        (claims.aud.iter().any(|one| audiences.contains(one))
            && claims.nbf <= second
            && second < claims.exp)
            .then_some(claims)
    }

    /// What a token out of a Secret says, if it is ours.
    pub fn verify_legacy(&self, token: &str) -> Option<Arc<account_token::Claims>> {
        self.legacy.get(0, token, || self.check(token, account_token::ISSUER))
    }

    /// What a token says, if we have signed it in this issuer's name.
    fn check<T: DeserializeOwned>(&self, token: &str, issuer: &str) -> Option<T> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[issuer]);
        // For whom and when it holds is compared for every request, where it says so at all.
        validation.set_required_spec_claims(&["iss"]);
        validation.validate_aud = false;
        validation.validate_exp = false;
        let data = jsonwebtoken::decode::<T>(token, &self.verifying, &validation).ok()?;
        Some(data.claims)
    }
}

/// The user of a verified token, if what it is bound to still exists.
pub fn user_of(claims: &Claims, caches: &Caches) -> Option<UserInfo> {
    let Bound { namespace, pod, secret, serviceaccount, node, .. } = &claims.bound;
    let alive = |resource: &str, wanted: &Reference| {
        let key = format!("{namespace}/{}", wanted.name);
        let object = caches.builtin("", resource).cache.get(&key)?;
        (meta::uid(&object.value()) == wanted.uid).then_some(())
    };
    alive("serviceaccounts", serviceaccount)?;
    match (pod, node) {
        (Some(pod), _) => alive("pods", pod)?,
        (None, Some(node)) => {
            let object = caches.builtin("", "nodes").cache.get(&node.name)?;
            (meta::uid(&object.value()) == node.uid).then_some(())?;
        }
        (None, None) => {}
    }
    if let Some(secret) = secret {
        alive("secrets", secret)?;
    }
    let mut extra = BTreeMap::new();
    let mut note = |key: &str, value: &str| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    note("credential-id", &format!("JTI={}", claims.jti));
    for (kind, reference) in [("pod", pod), ("node", node)] {
        if let Some(reference) = reference {
            note(&format!("{kind}-name"), &reference.name);
            note(&format!("{kind}-uid"), &reference.uid);
        }
    }
    Some(UserInfo { extra, ..account(namespace, &serviceaccount.name, &serviceaccount.uid) })
}

/// A service account as a user.
pub(super) fn account(namespace: &str, name: &str, uid: &str) -> UserInfo {
    UserInfo {
        name: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        ..UserInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(now: i64) -> Claims {
        Claims {
            aud: vec!["issuer".to_owned()],
            exp: now + 3600,
            iat: now,
            iss: "issuer".to_owned(),
            jti: "id".to_owned(),
            bound: Bound {
                namespace: "default".to_owned(),
                node: None,
                pod: Some(Reference { name: "web".to_owned(), uid: "u1".to_owned() }),
                secret: None,
                serviceaccount: Reference { name: "default".to_owned(), uid: "u2".to_owned() },
                warnafter: None,
            },
            nbf: now,
            sub: "system:serviceaccount:default:default".to_owned(),
        }
    }

    fn keys() -> TokenKeys {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        TokenKeys::new(&pem, "issuer").unwrap()
    }

    #[test]
    fn a_token_holds_for_its_time_audience_and_key() {
        let keys = keys();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
        let token = keys.sign(&claims(now.as_second())).unwrap();
        assert!(token.starts_with("ey"));
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.kid, Some(keys.published().id.clone()));
        let seen = keys.verify(&token, None, now).unwrap();
        assert_eq!(seen.bound.pod.as_ref().unwrap().name, "web");
        assert!(keys.verify(&token, None, later).is_none());
        assert!(keys.verify(&token, Some(&["vault".to_owned()]), now).is_none());
        assert!(self::keys().verify(&token, None, now).is_none());
    }
}
