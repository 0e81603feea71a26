//! Users of an OpenID Connect issuer: ID tokens, checked with the issuer's published keys.
//!
//! What a token's claims come to is pure ([`Settings::user_of`]). The keys are fetched beside the
//! requests ([`keys`]), at the start, every hour, and when a token names a key that is not known;
//! a request waits for that a little while, and never fetches itself.

pub mod keys;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::verified::Verified;
use crate::user::UserInfo;
use keys::Keys;

/// How much later than ours an issuer's clock may be, as upstream.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// Which issuer is believed, and what its claims mean; upstream's `--oidc-*` flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The issuer, an `https` URL.
    pub issuer_url: String,
    /// For whom tokens must be made.
    pub client_id: String,
    /// The claim that is the user's name.
    pub username_claim: String,
    /// What is put before it.
    pub username_prefix: String,
    /// The claim that is the user's groups.
    pub groups_claim: Option<String>,
    /// What is put before each.
    pub groups_prefix: String,
    /// How tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Claims that a token must have, with their values.
    pub required_claims: Vec<(String, String)>,
    /// The authorities that the issuer's own certificate may come from, as PEM.
    pub roots: String,
}

/// The settings as somebody writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Settings`, before they are checked")]
pub struct Flags {
    pub issuer_url: Option<String>,
    pub client_id: Option<String>,
    pub username_claim: Option<String>,
    pub username_prefix: Option<String>,
    pub groups_claim: Option<String>,
    pub groups_prefix: Option<String>,
    pub signing_algs: Vec<String>,
    pub required_claims: Vec<String>,
}

impl Flags {
    /// Checks them; none set is no issuer. `roots` are read by the caller, who knows where.
    ///
    /// # Errors
    /// What is wrong, by upstream's names.
    pub fn check(self) -> Result<Option<Settings>, String> {
        if self == Flags::default() {
            return Ok(None);
        }
        let (Some(issuer_url), Some(client_id)) = (self.issuer_url, self.client_id) else {
            return Err("oidc-issuer-url and oidc-client-id must be specified together when any \
                        oidc-* flags are set"
                .to_owned());
        };
        if !issuer_url.starts_with("https://") {
            return Err(format!("oidc-issuer-url {issuer_url:?} must use the https scheme"));
        }
        let username_claim = self.username_claim.unwrap_or_else(|| "sub".to_owned());
        let username_prefix = match self.username_prefix.as_deref() {
            // Names of others must not be taken for the cluster's own.
            None | Some("") if username_claim != "email" => format!("{issuer_url}#"),
            None | Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
        };
        let mut algorithms = Vec::new();
        for name in &self.signing_algs {
            match name.parse() {
                Ok(algorithm) if !name.starts_with("HS") => algorithms.push(algorithm),
                _ => return Err(format!("oidc-signing-algs: unsupported signing alg {name:?}")),
            }
        }
        if algorithms.is_empty() {
            algorithms.push(Algorithm::RS256);
        }
        let mut required_claims = Vec::new();
        for pair in &self.required_claims {
            let (claim, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("oidc-required-claim {pair:?} must be key=value"))?;
            required_claims.push((claim.to_owned(), value.to_owned()));
        }
        Ok(Some(Settings {
            issuer_url,
            client_id,
            username_claim,
            username_prefix,
            groups_claim: self.groups_claim.filter(|claim| !claim.is_empty()),
            groups_prefix: self.groups_prefix.unwrap_or_default(),
            algorithms,
            required_claims,
            roots: String::new(),
        }))
    }
}

type Claims = Map<String, Value>;

impl Settings {
    /// The user that the claims of a verified token describe.
    ///
    /// # Errors
    /// Why they describe nobody.
    pub fn user_of(&self, claims: &Claims, now: Timestamp) -> Result<UserInfo, String> {
        let second = now.as_second();
        let number = |claim: &str| claims.get(claim).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "seconds of this age are exact")]
        let (now, skewed) = (second as f64, (second + CLOCK_SKEW_SECONDS) as f64);
        if number("exp").is_none_or(|expiry| expiry < now) {
            return Err("token is expired".to_owned());
        }
        if number("nbf").is_some_and(|begin| begin > skewed) {
            return Err("token is not yet valid".to_owned());
        }
        let name = claims.get(&self.username_claim).and_then(Value::as_str);
        let name = name.ok_or_else(|| format!("no username claim {:?}", self.username_claim))?;
        if self.username_claim == "email"
            && claims.get("email_verified").is_some_and(|verified| *verified != true)
        {
            return Err("email not verified".to_owned());
        }
        for (claim, wanted) in &self.required_claims {
            match claims.get(claim) {
                None => return Err(format!("required claim {claim} not present in ID token")),
                Some(value) if value.as_str() != Some(wanted) => {
                    return Err(format!("required claim {claim} value does not match"));
                }
                Some(_) => {}
            }
        }
        Ok(UserInfo {
            name: format!("{}{name}", self.username_prefix),
            groups: self.groups_of(claims)?,
            ..UserInfo::default()
        })
    }

    fn groups_of(&self, claims: &Claims) -> Result<Vec<String>, String> {
        let Some((claim, value)) =
            self.groups_claim.as_ref().and_then(|claim| Some((claim, claims.get(claim)?)))
        else {
            return Ok(Vec::new());
        };
        let prefixed =
            |group: &Value| group.as_str().map(|group| self.groups_prefix.clone() + group);
        let groups = match value {
            Value::Array(groups) => groups.iter().map(prefixed).collect(),
            one => prefixed(one).map(|group| vec![group]),
        };
        groups.ok_or_else(|| format!("groups claim {claim:?} is neither text nor a list of texts"))
    }
}

/// Whom a token says it is from and which key signed it; believed only so far that a key is looked
/// for.
#[derive(Debug)]
struct Unverified {
    algorithm: Algorithm,
    key: Option<String>,
}

/// The authenticator.
pub struct Oidc {
    settings: Settings,
    /// The issuer's keys.
    pub keys: Arc<Keys>,
    verified: Verified<Claims>,
}

impl Oidc {
    /// Believes an issuer, as soon as its keys are there.
    pub fn new(settings: Settings) -> Oidc {
        let keys = Arc::new(Keys::new(&settings));
        Oidc { settings, keys, verified: Verified::default() }
    }

    /// Reads what a token says of itself; `None` if it is not our issuer's business.
    fn peek(&self, token: &str) -> Option<Unverified> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let issuer: Issuer = serde_json::from_slice(&payload).ok()?;
        let header = jsonwebtoken::decode_header(token).ok()?;
        (issuer.iss == self.settings.issuer_url)
            .then_some(Unverified { algorithm: header.alg, key: header.kid })
    }

    /// Whether a token could hold if the issuer's keys were fetched again.
    pub fn lacks_key(&self, token: &str) -> bool {
        self.peek(token).is_some_and(|seen| !self.keys.has(seen.key.as_deref()))
    }

    /// Whose token this is, if it is one that holds.
    pub fn user_of(&self, token: &str, now: Timestamp) -> Option<UserInfo> {
        let claims = self.verified.get(self.keys.epoch(), token, || self.check(token))?;
        let user = self.settings.user_of(&claims, now);
        user.inspect_err(|why| tracing::debug!("an ID token is not accepted: {why}")).ok()
    }

    /// What a token says, if the issuer has signed it for us.
    fn check(&self, token: &str) -> Option<Claims> {
        let seen = self.peek(token)?;
        if !self.settings.algorithms.contains(&seen.algorithm) {
            tracing::debug!("an ID token is signed with {:?}", seen.algorithm);
            return None;
        }
        let mut validation = Validation::new(seen.algorithm);
        validation.set_issuer(&[&self.settings.issuer_url]);
        validation.set_audience(&[&self.settings.client_id]);
        // Times are compared for every request.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let keys = self.keys.of(seen.key.as_deref());
        let verify = |key| jsonwebtoken::decode::<Claims>(token, key, &validation).ok();
        keys.iter().find_map(verify).map(|data| data.claims)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(change: impl FnOnce(&mut Flags)) -> Result<Option<Settings>, String> {
        let mut flags = Flags {
            issuer_url: Some("https://issuer".to_owned()),
            client_id: Some("kontiki".to_owned()),
            ..Flags::default()
        };
        change(&mut flags);
        flags.check()
    }

    #[test]
    fn flags_have_upstreams_defaults_and_rules() {
        let plain = settings(|_| {}).unwrap().unwrap();
        assert_eq!((plain.username_claim.as_str(), plain.algorithms[0]), ("sub", Algorithm::RS256));
        assert_eq!(plain.username_prefix, "https://issuer#");
        let prefix = |claim: &str, prefix: &str| {
            let (claim, prefix) = (claim.to_owned(), prefix.to_owned());
            let set = settings(|flags| {
                flags.username_claim = Some(claim);
                flags.username_prefix = Some(prefix);
            });
            set.unwrap().unwrap().username_prefix
        };
        assert_eq!(prefix("email", ""), "");
        assert_eq!(prefix("name", "-"), "");
        assert_eq!(prefix("name", "oidc:"), "oidc:");
        assert_eq!(Flags::default().check(), Ok(None));
        assert!(settings(|flags| flags.client_id = None).unwrap_err().contains("together"));
        let http = settings(|flags| flags.issuer_url = Some("http://issuer".to_owned()));
        assert!(http.unwrap_err().contains("https"));
        assert!(settings(|flags| flags.signing_algs = vec!["HS256".to_owned()]).is_err());
        assert!(settings(|flags| flags.required_claims = vec!["a".to_owned()]).is_err());
    }

    #[test]
    fn claims_become_a_user() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |change: fn(&mut Flags), more: Value, expected: Result<&str, &str>| {
            let settings = settings(|flags| {
                flags.username_prefix = Some("oidc:".to_owned());
                flags.groups_claim = Some("groups".to_owned());
                flags.groups_prefix = Some("g:".to_owned());
                change(flags);
            });
            let mut claims = json!({"sub": "jane", "exp": now.as_second() + 60});
            for (name, value) in more.as_object().unwrap() {
                claims[name] = value.clone();
            }
            let user = settings.unwrap().unwrap().user_of(claims.as_object().unwrap(), now);
            let user = user.map(|user| format!("{} {}", user.name, user.groups.join(",")));
            assert_eq!(user.as_deref().map(str::trim).map_err(String::as_str), expected, "{more}");
        };
        let same: fn(&mut Flags) = |_| {};
        check(same, json!({}), Ok("oidc:jane"));
        check(same, json!({"groups": ["a", "b"]}), Ok("oidc:jane g:a,g:b"));
        check(same, json!({"groups": "a"}), Ok("oidc:jane g:a"));
        check(
            same,
            json!({"groups": [1]}),
            Err("groups claim \"groups\" is neither text nor a list of texts"),
        );
        check(same, json!({"exp": now.as_second() - 1}), Err("token is expired"));
        check(same, json!({"exp": null}), Err("token is expired"));
        check(same, json!({"nbf": now.as_second() + 200}), Ok("oidc:jane"));
        check(same, json!({"nbf": now.as_second() + 400}), Err("token is not yet valid"));
        let email: fn(&mut Flags) = |flags| flags.username_claim = Some("email".to_owned());
        check(email, json!({}), Err("no username claim \"email\""));
        check(email, json!({"email": "j@x"}), Ok("oidc:j@x"));
        check(email, json!({"email": "j@x", "email_verified": false}), Err("email not verified"));
        let required: fn(&mut Flags) = |flags| flags.required_claims = vec!["hd=corp".to_owned()];
        check(required, json!({"hd": "corp"}), Ok("oidc:jane"));
        check(required, json!({"hd": "other"}), Err("required claim hd value does not match"));
        check(required, json!({}), Err("required claim hd not present in ID token"));
    }
}
