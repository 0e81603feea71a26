//! Bootstrap tokens that have ended are taken away.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kontiki_api::Object;

use crate::{
    action::{Action, Context, Plan, Target},
    controller::{Controller, Keys},
    pods,
    world::{Change, Key, Secret, World},
};

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

/// The cleaner of bootstrap tokens.
pub(crate) struct TokenCleaner;

impl Controller for TokenCleaner {
    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn queue_name(&self) -> &'static str {
        "token_cleaner"
    }

    fn workers(&self) -> usize {
        1
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::Secret(delta) = change {
            keys.extend(delta.new.filter(|secret| is_bootstrap_token(secret)).map(Key::of));
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let tokens = world.secrets.iter().filter(|secret| is_bootstrap_token(secret));
        keys.extend(tokens.map(|secret| Key::of(&**secret)));
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context.now)
    }
}

/// Whether a Secret is a token that nodes join with.
pub(crate) fn is_bootstrap_token(secret: &Secret) -> bool {
    secret.namespace() == NAMESPACE && secret.field("type") == TYPE
}

/// Decides whether a token goes, or when.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let secret = world.secrets.get(key).filter(|secret| is_bootstrap_token(secret));
    let Some(secret) = secret else { return Plan::nothing("it is gone") };
    let Some(end) = secret.field("data")["expiration"].as_str() else {
        return Plan::nothing("it has no end");
    };
    let text = STANDARD.decode(end).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // An end that nobody can read has come: a token is no good if it cannot be told for how long.
    let end = text.and_then(|text| text.trim().parse::<Timestamp>().ok()).unwrap_or(now);
    let mut plan = Plan::default();
    if end <= now {
        plan.then([Action::delete(Target::of(&**secret))]);
    } else {
        plan.because("its end is yet to come");
        plan.recheck(pods::elapsed(now, end));
    }
    plan
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::testing::{self, now};

    fn check(expiration: &str, expected: &Expect) {
        let world = testing::world(&format!(
            r#"Secret t namespace=kube-system {{"type": "{TYPE}", "data": {{"expiration": "{}"}}}}"#,
            STANDARD.encode(expiration)
        ));
        testing::check(&plan(&world, &Key::new(NAMESPACE, "t"), now()), expected);
    }

    #[test]
    fn tokens_go_when_they_end() {
        check("2033-05-18T03:33:19Z", &expect!["delete Secret t"]);
        check("2033-05-18T05:33:20+02:00", &expect!["delete Secret t"]);
        check(
            "2033-05-18T03:34:20Z",
            &expect![[r#"
                because its end is yet to come
                recheck after 60 s"#]],
        );
        check("some day", &expect!["delete Secret t"]);
        let world =
            testing::world(&format!("Secret t namespace=kube-system {{\"type\": \"{TYPE}\"}}"));
        testing::check(
            &plan(&world, &Key::new(NAMESPACE, "t"), now()),
            &expect!["because it has no end"],
        );
    }
}
