//! Flow control: which requests belong together, and how many of them are served at a time.

use serde_json::Value;

use super::{
    check::Check,
    declared::{Declared, WANTED},
    place::Place,
    value,
};

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// How much of a hash may be needed to deal a hand.
const HAND_BITS_MAX: f64 = 60.0;

/// The strategy of `flowschemas`.
pub(super) static SCHEMAS: Declared = Declared {
    name: kontiki_api::names::dns1123_subdomain,
    defaults: |object: &mut Value| {
        let spec = value::child_or_new(object, "spec");
        if spec["matchingPrecedence"].as_i64().unwrap_or_default() == 0 {
            value::set(spec, "matchingPrecedence", 1000);
        }
        for rule in value::items(spec, "rules") {
            for subject in value::items(rule, "subjects") {
                if value::text(subject, "kind") == "ServiceAccount" {
                    value::child_or_new(subject, "serviceAccount");
                }
            }
        }
    },
    check: check_schema,
    status_metadata: &[],
    ..WANTED
};

/// The strategy of `prioritylevelconfigurations`.
pub(super) static LEVELS: Declared = Declared {
    defaults: |object: &mut Value| {
        let spec = value::child_or_new(object, "spec");
        if let Some(exempt) = value::child(spec, "exempt") {
            value::default(exempt, "nominalConcurrencyShares", 0);
            value::default(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = value::child(spec, "limited") {
            value::default(limited, "nominalConcurrencyShares", 30);
            value::default(limited, "lendablePercent", 0);
            let response = value::child_or_new(limited, "limitResponse");
            value::default(response, "type", "Queue");
            if let Some(queuing) = value::child(response, "queuing") {
                value::default(queuing, "queues", 64);
                value::default(queuing, "handSize", 8);
                value::default(queuing, "queueLengthLimit", 50);
            }
        }
    },
    check: check_level,
    status_metadata: &[],
    ..WANTED
};

fn check_schema(check: &mut Check, schema: &Place<'_>) {
    let spec = schema.at("spec");
    let precedence = spec.at("matchingPrecedence");
    let number = precedence.number().unwrap_or_default();
    if number <= 0 {
        check.invalid(&precedence.path, number, "must be a positive value");
    }
    if number > PRECEDENCE_MAX {
        let detail = format!("must not be greater than {PRECEDENCE_MAX}");
        check.invalid(&precedence.path, number, &detail);
    }
    let exempt = kontiki_api::meta::name(schema.value) == "exempt";
    if number == 1 && !exempt {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        check.invalid(&precedence.path, number, detail);
    }
    let method = spec.at("distinguisherMethod").at("type");
    if spec.at("distinguisherMethod").is_set() {
        check.one_of(&method.path, method.text(), &["ByNamespace", "ByUser"]);
    }
    let level = spec.at("priorityLevelConfiguration").at("name");
    if level.is_empty() {
        check.required(&level.path, "must reference a priority level");
    }
    for rule in spec.at("rules").items() {
        check_rule(check, &rule);
    }
}

fn check_rule(check: &mut Check, rule: &Place<'_>) {
    if rule.at("subjects").is_empty() {
        let detail = "subjects must contain at least one value";
        check.required(&rule.at("subjects").path, detail);
    }
    for subject in rule.at("subjects").items() {
        let kind = subject.at("kind");
        let field = match kind.text() {
            "User" => "user",
            "Group" => "group",
            "ServiceAccount" => "serviceAccount",
            other => {
                let known = &["Group", "ServiceAccount", "User"];
                check.one_of(&kind.path, other, known);
                continue;
            }
        };
        let who = subject.at(field);
        if !who.is_set() {
            let detail = format!("{field} is required when subject kind is '{}'", kind.text());
            check.required(&who.path, &detail);
        } else if who.at("name").is_empty() {
            check.required(&who.at("name").path, "");
        }
    }
    let (resources, others) = (rule.at("resourceRules"), rule.at("nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        check.required(&rule.path, detail);
    }
    for resource in resources.items() {
        for (field, word) in [
            ("verbs", "verbs"),
            ("apiGroups", "resource rules must supply at least one api group"),
            ("resources", "resource rules must supply at least one resource"),
        ] {
            if resource.at(field).is_empty() {
                let detail =
                    if field == "verbs" { "verbs must contain at least one value" } else { word };
                check.required(&resource.at(field).path, detail);
            }
        }
        if resource.at("namespaces").is_empty() && !resource.at("clusterScope").flag() {
            let detail = "resource rules that are not cluster scoped must supply at least one \
                          namespace";
            check.required(&resource.at("namespaces").path, detail);
        }
    }
    for other in others.items() {
        for field in ["verbs", "nonResourceURLs"] {
            if other.at(field).is_empty() {
                let detail = format!("{field} must contain at least one value");
                check.required(&other.at(field).path, &detail);
            }
        }
    }
}

fn check_level(check: &mut Check, level: &Place<'_>) {
    let spec = level.at("spec");
    let (kind, limited, exempt) = (spec.at("type"), spec.at("limited"), spec.at("exempt"));
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                check.forbidden(&limited.path, "must be nil if the type is not Limited");
            }
            share(check, &exempt);
        }
        "Limited" => {
            if exempt.is_set() {
                check.forbidden(&exempt.path, "must be nil if the type is Limited");
            }
            if limited.is_set() {
                check_limited(check, &limited);
            } else {
                check.required(&limited.path, "must not be empty when type is Limited");
            }
        }
        other => check.one_of(&kind.path, other, &["Exempt", "Limited"]),
    }
}

fn share(check: &mut Check, place: &Place<'_>) {
    check.counts(place, &["nominalConcurrencyShares"]);
    let lendable = place.at("lendablePercent");
    if lendable.number().is_some_and(|percent| !(0..=100).contains(&percent)) {
        let detail = "must be between 0 and 100, inclusive";
        check.invalid(&lendable.path, lendable.value.clone(), detail);
    }
}

fn check_limited(check: &mut Check, limited: &Place<'_>) {
    share(check, limited);
    let response = limited.at("limitResponse");
    let (kind, queuing) = (response.at("type"), response.at("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            check.forbidden(&queuing.path, detail);
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            check.required(&queuing.path, detail);
        }
        "Queue" => queues(check, &queuing),
        other => check.one_of(&kind.path, other, &["Queue", "Reject"]),
    }
}

fn queues(check: &mut Check, queuing: &Place<'_>) {
    for field in ["queueLengthLimit", "queues", "handSize"] {
        let number = queuing.at(field);
        if number.number().unwrap_or_default() <= 0 {
            check.invalid(&number.path, number.value.clone(), "must be positive");
        }
    }
    let count = |field: &str| queuing.at(field).number().unwrap_or_default();
    if count("queues") > QUEUES_MAX {
        let detail = format!("must not be greater than {QUEUES_MAX}");
        check.invalid(&queuing.at("queues").path, count("queues"), &detail);
    }
    let bits = hand_bits(count("queues"), count("handSize"));
    if count("handSize") <= count("queues") && bits > HAND_BITS_MAX {
        let detail = format!(
            "required entropy bits of deckSize {} and handSize {} should not be greater than \
             {HAND_BITS_MAX}",
            count("queues"),
            count("handSize")
        );
        check.invalid(&queuing.at("handSize").path, count("handSize"), &detail);
    }
    if count("handSize") > count("queues") {
        let detail = format!("should not be greater than queues ({})", count("queues"));
        check.invalid(&queuing.at("handSize").path, count("handSize"), &detail);
    }
}

/// How many bits of a hash dealing a hand of queues takes, as upstream reckons: a little more than
/// it does.
#[expect(clippy::cast_precision_loss, reason = "both numbers are bounded, and so is their product")]
fn hand_bits(queues: i64, hand: i64) -> f64 {
    ((queues.max(1) as f64).log2() * hand as f64).ceil()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_are_no_larger_than_a_hash_can_deal() {
        assert!(hand_bits(128, 6) <= HAND_BITS_MAX);
        assert!(hand_bits(64, 10) <= HAND_BITS_MAX);
        assert!(hand_bits(128, 9) > HAND_BITS_MAX);
        assert!(hand_bits(15, 15) <= HAND_BITS_MAX);
        assert!(hand_bits(16, 16) > HAND_BITS_MAX, "it is more than `Hand` has room for");
        assert!(hand_bits(20, 20) > HAND_BITS_MAX);
    }
}
