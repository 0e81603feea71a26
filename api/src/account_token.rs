//! Tokens of service accounts that stand in Secrets (type `kubernetes.io/service-account-token`),
//! by upstream's names: whoever writes such a Secret gets a token in it that has no end, and holds
//! as long as the Secret says it.

use serde::{Deserialize, Serialize};

/// The type of Secrets that are filled with a token.
pub const SECRET_TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation that names the account.
pub const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// The annotation that says which account of that name it is.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The label of a Secret whose token does not hold any more.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// Who makes such tokens, whatever the cluster's issuer is.
pub const ISSUER: &str = "kubernetes/serviceaccount";

/// What such a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// The namespace of Secret and account.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    /// The Secret that it stands in.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    /// The account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    /// The account's uid.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
    /// The account as a user.
    pub sub: String,
}

impl Claims {
    /// What a token in a Secret says.
    pub fn new(namespace: &str, secret: &str, account: &str, uid: &str) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            uid: uid.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{account}"),
        }
    }
}
