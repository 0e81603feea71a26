//! Who asks: a client certificate, a service account's token, a bootstrap token, or one of the fixed
//! tokens of a file.
//!
//! Certificates are verified by the TLS handshake; here only their subject is read. A request with
//! credentials that do not hold is refused with 401, whatever it asks for. One without any is
//! anonymous, and gets no further than health and version.

pub mod bootstrap_token;
pub mod certificate;
pub mod service_account;
pub mod static_token;

use std::sync::Arc;

use jiff::Timestamp;
use kontiki_api::Status;

use crate::{
    cache::Caches,
    exchange::{Exchange, Source},
    options::Options,
    user::{AUTHENTICATED, UserInfo},
};
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
    anonymous: bool,
}

impl Authenticator {
    /// Sets up from the server's options.
    pub fn new(options: &Options) -> Result<Authenticator, KeyError> {
        let tokens = TokenKeys::new(&options.service_account_key, &options.service_account_issuer)?;
        Ok(Authenticator {
            tokens,
            static_tokens: options.static_tokens.clone(),
            anonymous: options.anonymous_auth,
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
        let header = exchange.header(http::header::AUTHORIZATION).trim();
        match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self
                .token(token.trim(), None, exchange.now, caches)
                .map(Arc::new)
                .ok_or_else(Status::unauthorized),
            _ if header.is_empty() && self.anonymous => Ok(Arc::new(UserInfo::anonymous())),
            _ => Err(Status::unauthorized()),
        }
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
            let claims = self.tokens.verify(token, audiences, now)?;
            service_account::user_of(&claims, caches)?
        } else {
            bootstrap_token::user_of(token, now, caches)?
        };
        user.groups.push(AUTHENTICATED.to_owned());
        Some(user)
    }
}
