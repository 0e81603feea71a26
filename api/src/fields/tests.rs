//! Sets as text: one path a line.

use serde_json::{Value, json};

use super::*;

fn set(fields: impl Into<Value>) -> Set {
    decode(&fields.into()).expect("FieldsV1")
}

fn text(set: &Set) -> String {
    set.paths().iter().map(|path| format!("{path}\n")).collect()
}

#[test]
fn encoding_keeps_a_set() {
    let fields = json!({
        "f:a": {".": {}, "f:b": {}, "k:{\"name\":\"x\",\"port\":1}": {".": {}, "f:name": {}}},
        "f:list": {"v:\"x\"": {}, "v:3": {}},
        "f:plain": {},
        "i:0": {},
    });
    let set = set(fields.clone());
    expect_test::expect![[r#"
        .a
        .plain
        [0]
        .a.b
        .a[name="x",port=1]
        .a[name="x",port=1].name
        .list[=3]
        .list[="x"]
    "#]]
    .assert_eq(&text(&Set::union(&set, &Set::default())));
    assert_eq!(encode(&set), fields);
    assert_eq!(set.len(), 8);
    for wrong in [json!([]), json!({"x": {}}), json!({"k:{": {}}), json!({"i:x": {}})] {
        assert!(decode(&wrong).is_err(), "{wrong}");
        assert!(well_formed(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_algebra_of_sets() {
    let a = json!({"f:x": {".": {}, "f:y": {}, "f:z": {}}, "f:only": {}});
    let b = json!({"f:x": {"f:y": {}}, "f:other": {}});
    let (left, right) = (set(a.clone()), set(b.clone()));
    let cases = [
        (
            "union",
            left.union(&right),
            json!({"f:only": {}, "f:other": {}, "f:x": {".": {}, "f:y": {}, "f:z": {}}}),
        ),
        ("intersection", left.intersection(&right), json!({"f:x": {"f:y": {}}})),
        ("difference", left.difference(&right), json!({"f:only": {}, "f:x": {".": {}, "f:z": {}}})),
        (
            "a member does not take what is below",
            left.difference(&set(json!({"f:x": {}}))),
            json!({"f:only": {}, "f:x": {"f:y": {}, "f:z": {}}}),
        ),
        ("without takes it", left.without(&set(json!({"f:x": {}}))), json!({"f:only": {}})),
        (
            "within keeps it",
            left.within(&set(json!({"f:x": {}}))),
            json!({"f:x": {".": {}, "f:y": {}, "f:z": {}}}),
        ),
    ];
    for (what, found, expected) in cases {
        assert_eq!(encode(&found), expected, "{what}");
    }
    assert!(holds_all(&a, &set(json!({"f:x": {".": {}, "f:z": {}}}))));
    assert!(!holds_all(&b, &set(json!({"f:x": {}}))));
    assert!(holds_any(&b, &left) && !holds_any(&b, &set(json!({"f:x": {}}))));
}
