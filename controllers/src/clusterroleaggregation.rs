//! ClusterRoles that are made of others: their rules are those of all roles that they select.

use kontiki_api::{Object, typed};
use serde_json::Value;

use crate::{
    action::{Action, Context, Plan},
    controller::{Controller, Keys},
    selector,
    world::{Change, ClusterRole, Key, World},
};

/// The controller.
pub(crate) struct ClusterRoleAggregation;

impl Controller for ClusterRoleAggregation {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn queue_name(&self) -> &'static str {
        "ClusterRoleAggregator"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        // There are few that aggregate, and which ones a role feeds shows only in their selectors.
        if let Change::ClusterRole(_) = change {
            self.all(world, keys);
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let aggregating = world.cluster_roles.iter().filter(|role| selectors(role).is_some());
        keys.extend(aggregating.map(|role| Key::of(&**role)));
    }

    fn plan(&self, world: &World, key: &Key, _: Context<'_>) -> Plan {
        plan(world, key)
    }
}

fn selectors(role: &ClusterRole) -> Option<&Vec<Value>> {
    let rule = role.field("aggregationRule");
    rule["clusterRoleSelectors"].as_array()
}

/// Decides which rules one role has.
pub(crate) fn plan(world: &World, key: &Key) -> Plan {
    let Some(role) = world.cluster_roles.get(key) else { return Plan::nothing("it is gone") };
    let Some(selectors) = selectors(role) else {
        return Plan::nothing("it is made of no others");
    };
    let mut rules: Vec<Value> = Vec::new();
    for wanted in selectors {
        let Ok(wanted) = typed::label_selector(wanted) else {
            return Plan::nothing("its selectors cannot be read");
        };
        // In the order of their names.
        for part in world.cluster_roles.iter().filter(|part| part.name() != role.name()) {
            if !selector::matches(&wanted, part.metadata().labels.as_ref()) {
                continue;
            }
            for rule in part.field("rules").as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let same = match role.field("rules").as_array() {
        Some(known) => *known == rules,
        None => rules.is_empty(),
    };
    if same {
        return Plan::nothing("it has the rules of its parts");
    }
    let mut updated = (**role).clone();
    *updated.field_mut("rules") = Value::Array(rules);
    let mut plan = Plan::default();
    plan.then(Action::update(&**role, &updated));
    plan
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{self, Fake};

    const ROLES: &str = r#"
        ClusterRole monitoring {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"m": "yes"}}, {"matchLabels": {"n": "yes"}}]}, "rules": [{"verbs": ["old"]}]}
        ClusterRole part-b labels=m:yes {"rules": [{"verbs": ["get"]}, {"verbs": ["list"]}]}
        ClusterRole part-a labels=m:yes,n:yes {"rules": [{"verbs": ["get"]}]}
        ClusterRole other {"rules": [{"verbs": ["delete"]}]}
    "#;

    #[test]
    fn a_role_has_the_rules_of_its_parts_once_each() {
        let mut fake = Fake::new(ROLES);
        let key = Key::new("", "monitoring");
        testing::check(
            &plan(&fake.world, &key),
            &expect!["patch ClusterRole monitoring {rules:[{verbs:[get]}, {verbs:[list]}]}"],
        );
        let first = plan(&fake.world, &key);
        fake.apply(first, |_| {});
        testing::check(&plan(&fake.world, &key), &expect!["because it has the rules of its parts"]);
        testing::check(
            &plan(&fake.world, &Key::new("", "other")),
            &expect!["because it is made of no others"],
        );
    }
}
