//! Join tokens: what lets a machine into a cluster, and what keeps it out of a false one.
//!
//! `K10<SHA-256 of the cluster's CA>::<id>.<secret>`. The first half lets the joiner recognise the
//! cluster before it shows the second half, which is a Kubernetes bootstrap token: a Secret
//! `bootstrap-token-<id>` in `kube-system` that says what the holder may join as.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::Timestamp;
use kontiki_api::k8s_openapi::{ByteString, api::core::v1::Secret};
use rand::Rng;

/// Version of the token's form.
const PREFIX: &str = "K10";
const FINGERPRINT_LENGTH: usize = 64;
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// Where bootstrap tokens live.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Type of their Secrets.
pub(crate) const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// What the holder of a token may join as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A control node: gets the cluster's private keys.
    Server,
    /// A worker.
    Agent,
}

impl Role {
    /// The group that the API server puts the holder into.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Role::Server => "system:bootstrappers:kontiki:server",
            Role::Agent => "system:bootstrappers:kontiki:agent",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Server => "server",
            Role::Agent => "agent",
        })
    }
}

/// A parsed token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Hash of the CA that the joiner insists on.
    pub(crate) ca_fingerprint: String,
    /// Public half of the credential.
    pub(crate) id: String,
    /// Private half.
    secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}::{}", self.ca_fingerprint, self.bearer())
    }
}

/// Why a text is no token. Never shows the text: it may be a secret with a slip in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ParseError {
    #[error(
        "the token is not of the form K10<hash>::<id>.<secret>; copy it whole from the server's \
         `server-token` or `agent-token` file, or make one with `kontiki token create`"
    )]
    Form,
    #[error("the token's CA hash has {0} characters instead of {FINGERPRINT_LENGTH}; it was cut")]
    Fingerprint(usize),
}

impl Token {
    /// A new credential for the cluster with that CA.
    pub(crate) fn generate(ca_fingerprint: &str) -> Token {
        Token {
            ca_fingerprint: ca_fingerprint.to_owned(),
            id: random_word(ID_LENGTH),
            secret: random_word(SECRET_LENGTH),
        }
    }

    /// The credential that follows from a seed: lower-case hexadecimal, of a hash.
    pub(crate) fn derived(ca_fingerprint: &str, seed: &str) -> Token {
        let (id, rest) = seed.split_at(ID_LENGTH);
        Token {
            ca_fingerprint: ca_fingerprint.to_owned(),
            id: id.to_owned(),
            secret: rest[..SECRET_LENGTH].to_owned(),
        }
    }

    /// What goes into the `Authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// The Secret that holds it.
    pub(crate) fn secret(&self, role: Role, expiration: Option<Timestamp>) -> Secret {
        let mut data = BTreeMap::from([
            ("auth-extra-groups", role.group().to_owned()),
            ("description", format!("lets a machine join as {role}")),
            ("token-id", self.id.clone()),
            ("token-secret", self.secret.clone()),
            ("usage-bootstrap-authentication", "true".to_owned()),
        ]);
        if let Some(expiration) = expiration {
            data.insert("expiration", format!("{expiration:.0}"));
        }
        let bytes = |(name, text): (&str, String)| (name.to_owned(), ByteString(text.into_bytes()));
        let mut secret = Secret {
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(data.into_iter().map(bytes).collect()),
            ..Secret::default()
        };
        secret.metadata.name = Some(format!("bootstrap-token-{}", self.id));
        secret.metadata.namespace = Some(NAMESPACE.to_owned());
        secret
    }
}

impl FromStr for Token {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Token, ParseError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(ParseError::Form)?;
        let (fingerprint, credential) = text.split_once("::").ok_or(ParseError::Form)?;
        let (id, secret) = credential.split_once('.').ok_or(ParseError::Form)?;
        if fingerprint.len() != FINGERPRINT_LENGTH {
            return Err(ParseError::Fingerprint(fingerprint.len()));
        }
        let hexadecimal = fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        if !hexadecimal || !is_word(id, ID_LENGTH) || !is_word(secret, SECRET_LENGTH) {
            return Err(ParseError::Form);
        }
        Ok(Token {
            ca_fingerprint: fingerprint.to_ascii_lowercase(),
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

fn is_word(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn random_word(length: usize) -> String {
    const ALPHABET: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint() -> String {
        "0a".repeat(32)
    }

    #[test]
    fn a_token_survives_being_written_down() {
        let token = Token::generate(&fingerprint());
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(format!(" {token}\n").parse(), Ok(token));
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        let whole = Token::generate(&fingerprint()).to_string();
        let cases = [
            (String::new(), ParseError::Form),
            ("abcdef.0123456789abcdef".to_owned(), ParseError::Form),
            (whole[..whole.len() - 1].to_owned(), ParseError::Form),
            (whole.replacen("0a", "", 1), ParseError::Fingerprint(62)),
            (whole.replacen("0a", "zz", 1), ParseError::Form),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Token>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_secret_is_one_that_kubernetes_knows() {
        let token = Token::generate(&fingerprint());
        let secret = token.secret(Role::Agent, Some(Timestamp::UNIX_EPOCH));
        let data = secret.data.unwrap();
        let text = |name: &str| String::from_utf8(data[name].0.clone()).unwrap();
        assert_eq!(text("auth-extra-groups"), "system:bootstrappers:kontiki:agent");
        assert_eq!(text("usage-bootstrap-authentication"), "true");
        assert_eq!(text("expiration"), "1970-01-01T00:00:00Z");
        let name = format!("bootstrap-token-{}", text("token-id"));
        assert_eq!(secret.metadata.name, Some(name));
        assert!(!format!("{token:?}").contains(&text("token-secret")));
    }
}
