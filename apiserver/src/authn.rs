//! Who asks: a client certificate, a service account's token, a bootstrap token, one of the fixed
//! tokens of a file, or an ID token of an OpenID Connect issuer.
//!
//! Certificates are verified by the TLS handshake; here only their subject is read. A request with
//! credentials that do not hold is refused with 401, whatever it asks for. One without any is
//! anonymous, and may do what roles let the anonymous do: by default see health and version.

pub mod bootstrap_token;
pub mod certificate;
pub mod legacy_token;
pub mod oidc;
pub mod published;
pub mod service_account;
pub mod static_token;
pub mod verified;

use std::sync::Arc;

use jiff::Timestamp;
use kontiki_api::Status;

use crate::{
    authz::Mode,
    cache::Caches,
    exchange::{Exchange, Source},
    options::Options,
    user::{AUTHENTICATED, UserInfo},
};
use oidc::Oidc;
use service_account::TokenKeys;
use static_token::StaticTokens;

/// Why the authenticators could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the service account key: {0}")]
pub struct KeyError(pub String);

/// All ways to authenticate.
pub struct Authenticator {
    /// Makes and checks service account tokens.
    pub tokens: TokenKeys,
    static_tokens: StaticTokens,
    /// The issuer whose ID tokens are believed.
    pub oidc: Option<Oidc>,
    anonymous: bool,
}

impl Authenticator {
    /// Sets up from the server's options.
    pub fn new(options: &Options) -> Result<Authenticator, KeyError> {
        let tokens = TokenKeys::new(&options.service_account_key, &options.service_account_issuer)?;
        Ok(Authenticator {
            tokens,
            static_tokens: options.static_tokens.clone(),
            oidc: options.oidc.clone().map(Oidc::new),
            // Who may do everything must at least be somebody, as upstream.
            anonymous: options.anonymous_auth
                && !options.authorization_modes.contains(&Mode::AlwaysAllow),
        })
    }

    /// Who makes this request.
    pub fn authenticate(
        &self,
        exchange: &Exchange,
        caches: &Caches,
    ) -> Result<Arc<UserInfo>, Status> {
        let certificate = match &exchange.source {
            Source::InProcess { user } => return Ok(user.clone()),
            Source::Network { certificate } => certificate,
        };
        if let Some(user) = certificate {
            return Ok(user.clone());
        }
        match bearer(exchange) {
            Some(token) => self
                .token(token, None, exchange.now, caches)
                .map(Arc::new)
                .ok_or_else(Status::unauthorized),
            None if self.anonymous => Ok(Arc::new(UserInfo::anonymous())),
            None => Err(Status::unauthorized()),
        }
    }

    /// The issuer whose keys should be fetched again before this request is refused.
    pub fn lacks_key_for(&self, exchange: &Exchange) -> Option<&Oidc> {
        let oidc = self.oidc.as_ref()?;
        bearer(exchange).is_some_and(|token| oidc.lacks_key(token)).then_some(oidc)
    }

    /// Whose token this is, if it is one that holds. `audiences` of `None` are this server's own.
    pub fn token(
        &self,
        token: &str,
        audiences: Option<&[String]>,
        now: Timestamp,
        caches: &Caches,
    ) -> Option<UserInfo> {
        let own = audiences.is_none_or(|all| all.iter().any(|one| one == self.tokens.issuer()));
        let named = if own { self.static_tokens.user_of(token) } else { None };
        let mut user = if let Some(user) = named {
            user
        } else if token.starts_with("ey") {
            match self.tokens.verify(token, audiences, now) {
                Some(claims) => service_account::user_of(&claims, caches)?,
                None if own => legacy_token::user_of(&self.tokens, token, caches)
                    .or_else(|| self.oidc.as_ref()?.user_of(token, now))?,
                None => return None,
            }
        } else {
            bootstrap_token::user_of(token, now, caches)?
        };
        user.groups.push(AUTHENTICATED.to_owned());
        Some(user)
    }
}

/// The token of a request; what is no bearer token is nobody's business here.
fn bearer(exchange: &Exchange) -> Option<&str> {
    let header = exchange.header(http::header::AUTHORIZATION).trim();
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
