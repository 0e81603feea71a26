//! Tokens that stand in Secrets: whoever writes a Secret of type
//! `kubernetes.io/service-account-token` that names an account finds a token of that account in it,
//! with what else a client needs. With the account goes the Secret.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kontiki_api::{Object, account_token};
use serde_json::Value;

use crate::{
    Options,
    action::{Action, Context, Plan, Target},
    controller::{Controller, Keys},
    world::{Change, Key, Kind, Secret, World},
};

const TOKEN: &str = "token";
const NAMESPACE: &str = "namespace";
const CERTIFICATES: &str = "ca.crt";

/// Fills Secrets with tokens.
pub(crate) struct TokensController {
    key: Option<EncodingKey>,
    root_ca: String,
}

impl TokensController {
    pub(crate) fn new(options: &Options) -> TokensController {
        let key = EncodingKey::from_ec_pem(options.service_account_key.as_bytes()).ok();
        TokensController { key, root_ca: options.root_ca.clone() }
    }
}

impl Controller for TokensController {
    fn name(&self) -> &'static str {
        "serviceaccount-token-controller"
    }

    fn queue_name(&self) -> &'static str {
        "serviceaccount_tokens_secret"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::Secret(delta) => {
                keys.extend(delta.new.filter(|secret| is_account_token(secret)).map(Key::of));
            }
            Change::Other(Kind::ServiceAccount, delta) => {
                let Some(account) = delta.latest() else { return };
                let namespace = account.namespace.as_deref().unwrap_or_default();
                let own = world.secrets.in_namespace(namespace).filter(|secret| {
                    is_account_token(secret)
                        && annotation(secret, account_token::ACCOUNT_NAME)
                            == account.name.as_deref().unwrap_or_default()
                });
                keys.extend(own.map(|secret| Key::of(&**secret)));
            }
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let tokens = world.secrets.iter().filter(|secret| is_account_token(secret));
        keys.extend(tokens.map(|secret| Key::of(&**secret)));
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        let sign = |claims: &account_token::Claims| {
            let header = Header::new(Algorithm::ES256);
            jsonwebtoken::encode(&header, claims, self.key.as_ref()?).ok()
        };
        plan(world, key, &self.root_ca, &sign)
    }
}

/// Whether a Secret is for a token of an account.
pub(crate) fn is_account_token(secret: &Secret) -> bool {
    secret.field("type") == account_token::SECRET_TYPE
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> &'a str {
    let all = secret.metadata().annotations.as_ref();
    all.and_then(|all| all.get(name)).map(String::as_str).unwrap_or_default()
}

/// Decides what one Secret lacks, or whether it goes.
pub(super) fn plan(
    world: &World,
    key: &Key,
    root_ca: &str,
    sign: &dyn Fn(&account_token::Claims) -> Option<String>,
) -> Plan {
    let secret = world.secrets.get(key).filter(|secret| is_account_token(secret));
    let Some(secret) = secret.filter(|secret| !secret.is_deleting()) else {
        return Plan::nothing("it is gone, or going");
    };
    let name = annotation(secret, account_token::ACCOUNT_NAME);
    let uid = annotation(secret, account_token::ACCOUNT_UID);
    let account = world.graph.get(Kind::ServiceAccount, &Key::new(key.namespace.as_str(), name));
    let account = account.filter(|account| uid.is_empty() || account.uid == uid);
    let Some(account) = account else {
        let version = secret.metadata().resource_version.as_deref();
        let version = version.and_then(|text| text.parse().ok()).unwrap_or(0);
        if world.passed(Kind::ServiceAccount) < version {
            let awaits = vec![(Kind::ServiceAccount, version)];
            return Plan { awaits, ..Plan::nothing("its account may not have been seen yet") };
        }
        let mut plan = Plan::nothing("its account is gone");
        plan.then([Action::delete(Target::of(&**secret))]);
        return plan;
    };
    let data = secret.field("data");
    let has = |field: &str| data[field].as_str().is_some_and(|text| !text.is_empty());
    let certificates = STANDARD.encode(root_ca);
    let mut missing: Vec<(&str, String)> = Vec::new();
    if !root_ca.is_empty() && data[CERTIFICATES] != certificates.as_str() {
        missing.push((CERTIFICATES, certificates));
    }
    if !has(NAMESPACE) {
        missing.push((NAMESPACE, STANDARD.encode(&key.namespace)));
    }
    if !has(TOKEN) {
        let claims =
            account_token::Claims::new(&key.namespace, &key.name, &account.key.name, &account.uid);
        let Some(token) = sign(&claims) else { return Plan::nothing("nothing to sign with") };
        missing.push((TOKEN, STANDARD.encode(token)));
    }
    if missing.is_empty() {
        return Plan::nothing("it has all that it needs");
    }
    let mut filled = (**secret).clone();
    for (field, value) in missing {
        filled.field_mut("data")[field] = Value::String(value);
    }
    let annotations = filled.metadata_mut().annotations.get_or_insert_default();
    annotations.insert(account_token::ACCOUNT_UID.to_owned(), account.uid.clone());
    let mut plan = Plan::default();
    plan.then(Action::update(&**secret, &filled));
    plan
}
