//! Secrets: `stringData`, the keys that some types need, and what `immutable` freezes.

use base64::{Engine, prelude::BASE64_STANDARD};
use kontiki_api::{
    account_token,
    field::{Error, Errors, Path},
    k8s_openapi::{ByteString, api::core::v1::Secret},
    names,
};
use serde_json::{Map, Value};

use super::{
    check::{self, Check},
    config_map::{BYTES_MAX, FROZEN},
    value,
};
use crate::registry::Strategy;

const DOCKER_CONFIG: &str = "kubernetes.io/dockercfg";
const DOCKER_CONFIG_JSON: &str = "kubernetes.io/dockerconfigjson";

/// The strategy of `secrets`.
pub(super) struct Secrets;

impl Strategy for Secrets {
    fn set_defaults(&self, object: &mut Value) {
        value::default(object, "type", "Opaque");
        let Some(Value::Object(texts)) = object.get_mut("stringData").map(Value::take) else {
            return;
        };
        value::unset(object, "stringData");
        let Some(data) = value::child_or_new(object, "data").as_object_mut() else { return };
        for (key, text) in texts {
            let encoded = BASE64_STANDARD.encode(text.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
        let mut sorted: Vec<(String, Value)> = std::mem::take(data).into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        *data = sorted.into_iter().collect::<Map<String, Value>>();
    }

    fn prepare_for_update(
        &self,
        object: &mut Value,
        old: &Value,
        _: &crate::registry::Context<'_>,
    ) {
        // Upstream lets an update leave the type out.
        if value::is_unset(object, "type") {
            value::set(object, "type", value::text(old, "type"));
        }
    }

    fn validate(&self, object: &Value) -> Errors {
        check::typed(object, validate)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        check::typed_pair(object, old, |new: &Secret, old: &Secret, check| {
            check.immutable(&Path::new("type"), &new.type_, &old.type_);
            if old.immutable == Some(true) {
                if new.immutable != Some(true) {
                    check.forbidden(&Path::new("immutable"), FROZEN);
                }
                if new.data != old.data {
                    check.forbidden(&Path::new("data"), FROZEN);
                }
            }
            validate(new, check);
        })
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn validate(secret: &Secret, check: &mut Check) {
    let data = Path::new("data");
    let mut total = 0;
    for (key, value) in secret.data.iter().flatten() {
        check.errors.invalid_each(&data.key(key), key, names::config_key(key));
        total += value.0.len();
    }
    if total > BYTES_MAX {
        check.push(Error::too_long(&data, BYTES_MAX));
    }
    let content = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    match secret.type_.as_deref().unwrap_or_default() {
        account_token::SECRET_TYPE => {
            const ANNOTATION: &str = account_token::ACCOUNT_NAME;
            let annotations = secret.metadata.annotations.as_ref();
            if annotations.and_then(|all| all.get(ANNOTATION)).is_none_or(String::is_empty) {
                check.required(&Path::new("metadata").child("annotations").key(ANNOTATION), "");
            }
        }
        DOCKER_CONFIG => docker(check, &data, ".dockercfg", content(".dockercfg")),
        DOCKER_CONFIG_JSON => {
            docker(check, &data, ".dockerconfigjson", content(".dockerconfigjson"));
        }
        "kubernetes.io/basic-auth" if content("username").or(content("password")).is_none() => {
            check.required(&data.key("username"), "");
            check.required(&data.key("password"), "");
        }
        "kubernetes.io/ssh-auth"
            if content("ssh-privatekey").is_none_or(|key| key.0.is_empty()) =>
        {
            check.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if content(key).is_none() {
                    check.required(&data.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn docker(check: &mut Check, data: &Path, key: &str, content: Option<&ByteString>) {
    match content {
        None => check.required(&data.key(key), ""),
        Some(bytes) => {
            if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes.0) {
                check.invalid(&data.key(key), "<secret contents redacted>", &error.to_string());
            }
        }
    }
}
