//! What holds whatever is written, over many random stories.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;
use crate::fields::{Path, Place, Set, check, collect, merge};

/// Numbers from a seed (xorshift): a failure names the seed that repeats it.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).expect("small")]
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Some of the names, in some order.
    fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        let mut some: Vec<&str> = of.iter().copied().filter(|_| self.chance()).collect();
        for at in (1..some.len()).rev() {
            some.swap(at, usize::try_from(self.below(at as u64 + 1)).expect("small"));
        }
        some
    }
}

/// A pod with something of everything: maps, keyed lists in keyed lists, sets, atomic lists,
/// atomic structs, keys with defaults.
fn pod(dice: &mut Dice) -> Value {
    let containers: Vec<Value> =
        dice.some(&["a", "b", "c"]).into_iter().map(|name| container(dice, name)).collect();
    let mut spec = Map::new();
    if !containers.is_empty() {
        spec.insert("containers".to_owned(), containers.into());
    }
    if dice.chance() {
        spec.insert("nodeName".to_owned(), (*dice.one(&["m", "n"])).into());
    }
    if dice.chance() {
        spec.insert("securityContext".to_owned(), json!({"runAsUser": dice.below(3)}));
    }
    if dice.chance() {
        let term =
            json!({"matchExpressions": [{"key": dice.one(&["x", "y"]), "operator": "Exists"}]});
        spec.insert(
            "affinity".to_owned(),
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}),
        );
    }
    let labels: Map<String, Value> = dice
        .some(&["l1", "l2", "l3"])
        .into_iter()
        .map(|key| (key.to_owned(), (*dice.one(&["v", "w"])).into()))
        .collect();
    let finalizers = dice.some(&["f/x", "f/y", "f/z"]);
    // Whoever applies something empty fights whoever once had something there; not told here.
    conformed(json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": spec}))
}

fn container(dice: &mut Dice, name: &str) -> Value {
    let mut container = json!({"name": name, "image": dice.one(&["i", "j"])});
    if dice.chance() {
        container["args"] = json!(dice.some(&["p", "q"]));
    }
    if dice.chance() {
        let ports = dice.some(&["TCP", "UDP"]).into_iter().map(|protocol| match protocol {
            "TCP" => json!({"containerPort": 80, "name": "t"}),
            _ => json!({"containerPort": 80, "protocol": "UDP"}),
        });
        container["ports"] = ports.collect();
    }
    if dice.chance() {
        let names = dice.some(&["e1", "e2"]).into_iter();
        container["env"] = names.map(|name| json!({"name": name, "value": "v"})).collect();
    }
    container
}

#[test]
fn whatever_is_written_ownership_holds_together() {
    for seed in 1..120 {
        let mut dice = Dice(seed * 7919);
        let mut story = Story::of("v1", "Pod");
        for _ in 0..12 {
            let manager = *dice.one(&["x", "y", "z"]);
            let config = pod(&mut dice);
            if story.live.is_none() || dice.chance() {
                applies(&mut story, manager, &config, seed);
            } else {
                story.update(manager, config);
            }
            holds_together(&story, seed);
        }
    }
}

fn applies(story: &mut Story, manager: &str, config: &Value, seed: u64) {
    let before = story.live.clone();
    let outcome = story.try_apply(manager, config.clone(), false);
    if let Err(Refusal::Conflicts(conflicts)) = outcome {
        assert_eq!(story.live, before, "seed {seed}: a refused apply changes nothing");
        assert!(conflicts.iter().all(|conflict| conflict.manager.manager != manager
            || conflict.manager.operation == Operation::Update));
        story.force(manager, config.clone());
    } else {
        outcome.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?}"));
    }
    let place = place(story);
    let live = story.live.clone().expect("an object");
    // The object says what the configuration says.
    let merged = conformed(merge(place, &live, config));
    assert_eq!(merged, live, "seed {seed}: {config}");
    // The applier owns exactly what it named.
    let owned = Managed::of_object(&live);
    let own = owned
        .entries
        .iter()
        .find(|entry| entry.id.manager == manager && entry.id.operation == Operation::Apply);
    let own = own.map_or(Set::default(), |entry| entry.fields.set());
    let named = collect(place, &story.whole(config.clone()));
    assert_eq!(own, update::owned_by_writer(&named), "seed {seed}");
    // Once more is not at all.
    let written = story.live.clone();
    story.apply(manager, config.clone());
    assert_eq!(story.live, written, "seed {seed}: an apply is idempotent");
}

fn place(story: &Story) -> Place<'static> {
    let scope = story.scope("");
    Place::root(scope.schema, scope.type_id)
}

fn holds_together(story: &Story, seed: u64) {
    let live = story.live.clone().expect("an object");
    check(place(story), &live).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let stored = &live["metadata"]["managedFields"];
    let managed = Managed::of_object(&live);
    assert_eq!(managed.clone().encode().unwrap_or_default(), *stored, "seed {seed}");
    let mut updated = Set::default();
    for entry in managed.entries {
        let set = entry.fields.set();
        assert!(!set.is_empty(), "seed {seed}: nobody owns nothing");
        assert_eq!(
            Managed::decode(stored).expect("valid").get(&entry.id).map(|e| e.fields.set()),
            Some(set.clone())
        );
        if entry.id.operation == Operation::Update {
            // Updaters never share: the last to change a field has it.
            assert!(updated.intersection(&set).is_empty(), "seed {seed}: {}", story.owners());
            updated = updated.union(&set);
        }
    }
}

/// The algebra against sets of paths.
#[test]
fn sets_are_sets() {
    let schema = Schema::builtin();
    let place = Place::root(schema, schema.kind("", "v1", "Pod").expect("a kind"));
    let paths = |set: &Set| -> BTreeSet<Path> { set.paths().into_iter().collect() };
    for seed in 1..200 {
        let mut dice = Dice(seed * 104_729);
        let (a, b) = (collect(place, &pod(&mut dice)), collect(place, &pod(&mut dice)));
        let (x, y) = (paths(&a), paths(&b));
        assert_eq!(paths(&a.union(&b)), x.union(&y).cloned().collect());
        assert_eq!(paths(&a.intersection(&b)), x.intersection(&y).cloned().collect());
        assert_eq!(paths(&a.difference(&b)), x.difference(&y).cloned().collect());
        assert_eq!(Set::of(x.iter().cloned()), a);
        let encoded = fields::encode(&a);
        assert_eq!(fields::decode(&encoded), Ok(a.clone()));
        assert_eq!(fields::holds_all(&encoded, &b), y.is_subset(&x));
        assert_eq!(fields::holds_any(&encoded, &b), !x.is_disjoint(&y));
        let below =
            |path: &Path| (1..=path.0.len()).any(|to| y.contains(&Path(path.0[..to].to_vec())));
        assert_eq!(paths(&a.without(&b)), x.iter().filter(|p| !below(p)).cloned().collect());
        assert_eq!(paths(&a.within(&b)), x.iter().filter(|p| below(p)).cloned().collect());
    }
}

/// What may stand in an object beside what conforms: nulls, nothing, twins, what no schema knows.
fn oddities(dice: &mut Dice, object: &mut Value) {
    let odd = [
        Value::Null,
        json!({}),
        json!([]),
        json!(""),
        json!(0),
        json!({"x": null, "y": {"z": {}}}),
        json!([{"name": "t"}, {"name": "t"}, {"name": null}, {}, 3]),
        json!(["f/x", "f/x", null, "f/y"]),
    ];
    let places = [
        "/metadata/labels",
        "/metadata/creationTimestamp",
        "/metadata/finalizers",
        "/spec/containers",
        "/spec/unknown",
        "/spec/nodeSelector",
        "/status/phase",
        "/status",
        "/spec",
        "/unknown",
    ];
    for place in dice.some(&places) {
        let (parent, key) = place.rsplit_once('/').expect("a path");
        if let Some(map) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            map.insert(key.to_owned(), dice.one(&odd).clone());
        }
    }
}

#[test]
fn who_creates_an_object_owns_what_tracking_it_against_nothing_says() {
    let services = json!({"metadata": {"name": "s"}, "spec": {
        "ports": [{"port": 80, "targetPort": 80}, {"port": 80, "protocol": "UDP"}],
        "clusterIPs": ["None"], "selector": {"a": ""}, "type": "",
    }, "status": {"loadBalancer": {"ingress": []}}});
    for seed in 1..3_000 {
        let mut dice = Dice(seed);
        let kind = *dice.one(&["Pod", "Service"]);
        let mut object = if kind == "Pod" { pod(&mut dice) } else { services.clone() };
        object["status"] = json!({"phase": "Pending"});
        oddities(&mut dice, &mut object);
        let story = Story::of("v1", kind);
        let now = jiff::Timestamp::UNIX_EPOCH;
        for subresource in ["", "status"] {
            let scope = story.scope(subresource);
            let mut slow = Managed::default();
            update::track(&scope, &mut slow, &json!({}), &object, "m", now);
            let mut fast = object.clone();
            update(&scope, None, &mut fast, "m", now);
            let fast = fast["metadata"].get("managedFields").cloned();
            assert_eq!(fast, slow.encode(), "seed {seed}: {object}");
        }
    }
}
