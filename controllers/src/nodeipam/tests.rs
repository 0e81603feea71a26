//! Who gets which range, as text.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};

use super::plan;
use crate::{
    Options,
    testing::{self, Fake, context},
    world::Kind,
};

fn check(options: &Options, world: &str, expected: &Expect) {
    testing::check(&plan(options, &testing::world(world), context()), expected);
}

#[test]
fn the_lowest_free_ranges_are_handed_out() {
    check(
        &Options::default(),
        "
        node a cidr=10.42.0.0/24
        node b
        node c cidr=10.42.2.0/24
        node d
        node e deleting
        ",
        &expect![[r#"
            patch Node b {spec:{podCIDR:10.42.1.0/24 podCIDRs:[10.42.1.0/24]}}
            patch Node d {spec:{podCIDR:10.42.3.0/24 podCIDRs:[10.42.3.0/24]}}"#]],
    );
}

#[test]
fn a_node_of_two_families_gets_both() {
    let mut options = Options::default();
    options.cluster_cidrs.push("fd42::/56".parse().unwrap());
    check(
        &options,
        "node a",
        &expect!["patch Node a {spec:{podCIDR:10.42.0.0/24 podCIDRs:[10.42.0.0/24, fd42::/64]}}"],
    );
}

#[test]
fn service_ranges_and_overlaps_are_left_out_and_exhaustion_is_said() {
    let options = Options {
        cluster_cidrs: vec!["10.0.0.0/22".parse().unwrap()],
        service_cluster_ip_ranges: vec!["10.0.0.0/24".parse().unwrap()],
        ..Options::default()
    };
    check(
        &options,
        "
        node a cidr=10.0.1.128/25
        node b
        node c
        node d
        ",
        &expect![[r#"
            patch Node b {spec:{podCIDR:10.0.2.0/24 podCIDRs:[10.0.2.0/24]}}
            patch Node c {spec:{podCIDR:10.0.3.0/24 podCIDRs:[10.0.3.0/24]}}
            CIDRNotAvailable: Node d status is now: CIDRNotAvailable
            because no range is left for node d"#]],
    );
}

#[test]
fn no_range_is_ever_given_twice() {
    let text: String = (0..250).map(|number| format!("node n{number}\n")).collect();
    let mut fake = Fake::new(&text);
    loop {
        let plan = plan(&Options::default(), &fake.world, context());
        if plan.is_idle() {
            break;
        }
        fake.apply(plan, |fake| {
            let given: Vec<String> = fake
                .list(Kind::Node)
                .iter()
                .filter_map(|node| node["spec"]["podCIDR"].as_str().map(str::to_owned))
                .collect();
            assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
        });
    }
    assert!(fake.list(Kind::Node).iter().all(|node| node["spec"]["podCIDR"].is_string()));
}
