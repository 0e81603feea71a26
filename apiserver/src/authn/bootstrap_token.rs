//! Bootstrap tokens: `ID.SECRET`, kept as Secrets of type `bootstrap.kubernetes.io/token` in
//! kube-system.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kontiki_api::meta;
use serde_json::Value;

use crate::{cache::Caches, user::UserInfo};

const BOOTSTRAPPERS: &str = "system:bootstrappers";

/// Whose token this is, if it is known, not expired and may authenticate.
pub fn user_of(token: &str, now: Timestamp, caches: &Caches) -> Option<UserInfo> {
    let (id, secret) = token.split_once('.')?;
    if id.len() != 6 || secret.len() != 16 || !is_word(id) || !is_word(secret) {
        return None;
    }
    let key = format!("kube-system/bootstrap-token-{id}");
    let object = caches.builtin("", "secrets").cache.get(&key)?;
    judge(&object.value(), id, secret, now)
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn judge(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    if object["type"] != "bootstrap.kubernetes.io/token" || meta::is_deleting(object) {
        return None;
    }
    let data = |field: &str| {
        let encoded = object["data"][field].as_str().unwrap_or_default();
        String::from_utf8(STANDARD.decode(encoded).unwrap_or_default()).unwrap_or_default()
    };
    let same = constant_time_eq(data("token-secret").as_bytes(), secret.as_bytes());
    if !same || data("token-id") != id || data("usage-bootstrap-authentication") != "true" {
        return None;
    }
    let expiration = data("expiration");
    if !expiration.is_empty() && expiration.parse::<Timestamp>().ok()? <= now {
        return None;
    }
    let extra = data("auth-extra-groups");
    let mut groups = vec![BOOTSTRAPPERS.to_owned()];
    for group in extra.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        // Only groups of this prefix may be given away by whoever can write Secrets.
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
}

fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let base = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2030-01-01T00:00:00Z"),
            ("auth-extra-groups", "system:bootstrappers:kontiki:agents"),
        ];
        for (field, value) in base.iter().chain(changes) {
            data[*field] = STANDARD.encode(value).into();
        }
        json!({"type": "bootstrap.kubernetes.io/token", "metadata": {"name": "x"}, "data": data})
    }

    #[test]
    fn only_a_valid_token_authenticates() {
        let now: Timestamp = "2029-01-01T00:00:00Z".parse().unwrap();
        let judge =
            |changes: &[(&str, &str)], given: &str| judge(&secret(changes), "abcdef", given, now);
        let user = judge(&[], "0123456789abcdef").unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:kontiki:agents"]);
        for (changes, given) in [
            (vec![], "0123456789abcdee"),
            (vec![("expiration", "2028-01-01T00:00:00Z")], "0123456789abcdef"),
            (vec![("usage-bootstrap-authentication", "false")], "0123456789abcdef"),
            (vec![("auth-extra-groups", "system:masters")], "0123456789abcdef"),
        ] {
            assert_eq!(judge(&changes, given), None, "{changes:?}");
        }
    }
}
