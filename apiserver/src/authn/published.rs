//! What others need to check service account tokens: the discovery document of their issuer, and
//! the issuer's key (OpenID Connect Discovery 1.0, RFC 7517). Whoever trusts the issuer, as clouds
//! do for workloads, fetches both without knowing what Kubernetes is.

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::KeyError;
use crate::{
    answer::{self, Body},
    core::Core,
};

/// Where the key is.
const KEYS_PATH: &str = "/openid/v1/jwks";
/// The one algorithm that tokens are signed with.
const ALGORITHM: &str = "ES256";
/// A point of the curve P-256, uncompressed: a mark, and its coordinates.
const POINT_BYTES: usize = 1 + 2 * COORDINATE_BYTES;
const COORDINATE_BYTES: usize = 32;

/// The public half of the key behind all tokens.
pub struct PublicKey {
    /// What tokens call it: the hash of its DER form, as upstream has it.
    pub id: String,
    x: String,
    y: String,
}

impl PublicKey {
    /// Of a pair on the curve P-256.
    pub fn of(pair: &rcgen::KeyPair) -> Result<PublicKey, KeyError> {
        use rcgen::PublicKeyData as _;

        let point = pair.der_bytes();
        if point.len() != POINT_BYTES {
            return Err(KeyError("the key is not one of the curve P-256".to_owned()));
        }
        let (x, y) = point[1..].split_at(COORDINATE_BYTES);
        Ok(PublicKey {
            id: URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info())),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        })
    }

    fn to_value(&self) -> Value {
        json!({
            "use": "sig",
            "kty": "EC",
            "kid": self.id,
            "crv": "P-256",
            "alg": ALGORITHM,
            "x": self.x,
            "y": self.y,
        })
    }
}

/// Answers one of the two documents, by the path's parts.
pub fn serve(core: &Core, parts: &[&str]) -> Option<Response<Body>> {
    let tokens = &core.authenticator.tokens;
    let options = &core.options;
    let (media_type, document) = match parts {
        [".well-known", "openid-configuration"] => {
            // Brackets and all, where it is an address of IPv6.
            let host = SocketAddr::new(options.advertise_address, options.advertise_port);
            let keys = format!("https://{host}{KEYS_PATH}");
            ("application/json", configuration(tokens.issuer(), &keys))
        }
        ["openid", "v1", "jwks"] => {
            ("application/jwk-set+json", json!({"keys": [tokens.published().to_value()]}))
        }
        _ => return None,
    };
    let body = Body::full(document.to_string());
    let mut response = answer::typed(StatusCode::OK, media_type, body);
    let hour = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, hour);
    Some(response)
}

fn configuration(issuer: &str, keys: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": keys,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    })
}
