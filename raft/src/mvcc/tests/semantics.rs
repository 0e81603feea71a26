//! What etcd's API means by its words, as transcripts.

use expect_test::expect;

use super::check;

#[test]
fn a_compare_holds_for_every_key_of_its_range() {
    check(
        "
        put a=1 and put b=1
        put b=2
        when a..c version > 0 put yes=1
        when a..c version = 1 put no=1 else read a
        when a value = 1 read a
        when b lease = 0 read b
        when a..c value != 3 read a
        when x..y value = 3 read a else read b
        when x..y value != 3 read a else read b
        when x create = 0 read a
        when x..y mod < 1 read a
        when x version > 0 read a else read b
        ",
        expect![[r#"
            put a=1 and put b=1: put, new, put, new @2
            put b=2: put, was b=1 (2,2,1) @3
            when a..c version > 0 put yes=1: put, new @4
            when a..c version = 1 put no=1 else read a: else read a=1 (2,2,1) of 1 @4
            when a value = 1 read a: read a=1 (2,2,1) of 1 @4
            when b lease = 0 read b: read b=2 (2,3,2) of 1 @4
            when a..c value != 3 read a: read a=1 (2,2,1) of 1 @4
            when x..y value = 3 read a else read b: else read b=2 (2,3,2) of 1 @4
            when x..y value != 3 read a else read b: else read b=2 (2,3,2) of 1 @4
            when x create = 0 read a: read a=1 (2,2,1) of 1 @4
            when x..y mod < 1 read a: read a=1 (2,2,1) of 1 @4
            when x version > 0 read a else read b: else read b=2 (2,3,2) of 1 @4
        "#]],
    );
}

#[test]
fn every_branch_is_chosen_by_the_state_before() {
    check(
        "
        put a=1
        put a=2 and [when_a_value_=_1_put_b=before_else_put_b=after] and read ..
        [put_c=1] and [when_c_create_=_0_put_d=absent]
        [put_e=1_and_read_e] and read e
        [put_f=1] and [delete_f]
        [delete_f] and [put_f=1]
        get ..
        replay .. 2
        ",
        expect![[r#"
            put a=1: put, new @2
            put a=2 and [when_a_value_=_1_put_b=before_else_put_b=after] and read ..: put, was a=1 (2,2,1), [put, new @3], read a=2 (2,3,2), b=before (3,3,1) of 2 @3
            [put_c=1] and [when_c_create_=_0_put_d=absent]: [put, new @4], [put, new @4] @4
            [put_e=1_and_read_e] and read e: [put, new, read e=1 (5,5,1) of 1 @5], read e=1 (5,5,1) of 1 @5
            [put_f=1] and [delete_f]: refused, duplicate key given in the transaction: f
            [delete_f] and [put_f=1]: refused, duplicate key given in the transaction: f
            get ..: a=2 (2,3,2), b=before (3,3,1), c=1 (4,4,1), d=absent (4,4,1), e=1 (5,5,1) of 5
            replay .. 2: a=1 @2, a=2 was 1, b=before @3, c=1, d=absent @4, e=1 @5
        "#]],
    );
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is() {
    check(
        "
        put a=1 and put b=* lease 0
        put b=1 lease *
        put a=1 and put c=1 lease 5
        put a=1 and read .. @9
        when a version = 0 put b=1 else put b=*
        get ..
        ",
        expect![[r#"
            put a=1 and put b=* lease 0: refused, key b not found
            put b=1 lease *: refused, key b not found
            put a=1 and put c=1 lease 5: refused, lease LeaseId(5) not found
            put a=1 and read .. @9: refused, revision 9 is in the future, the current is 1
            when a version = 0 put b=1 else put b=*: put, new @2
            get ..: b=1 (2,2,1) of 1
        "#]],
    );
}

#[test]
fn a_put_keeps_what_it_is_told_to_keep() {
    check(
        "
        grant 7 5000
        put a=1 lease 7
        put a=2 lease *
        put a=* lease 0
        put a=* lease *
        put a=3 and delete x and read a
        end 7 9
        get ..
        ",
        expect![[r#"
            grant 7 5000: lease 7 of 5s
            put a=1 lease 7: put, new @2
            put a=2 lease *: put, was a=1 (2,2,1 lease 7) @3
            put a=* lease 0: put, was a=2 (2,3,2 lease 7) @4
            put a=* lease *: put, was a=2 (2,4,3) @5
            put a=3 and delete x and read a: put, was a=2 (2,5,4), deleted nothing, read a=3 (2,6,5) of 1 @6
            end 7 9: ended, nothing
            get ..: a=3 (2,6,5) of 1
        "#]],
    );
}

#[test]
fn a_range_in_a_transaction_sees_the_writes_before_it_and_the_past_as_it_was() {
    check(
        "
        put a=1
        put a=2
        put a=3 and put b=1 and read .. and read .. @2 and read .. @3
        get ..
        compact 3
        put a=4 and read .. @2
        read .. @3 and read ..
        ",
        expect![[r#"
            put a=1: put, new @2
            put a=2: put, was a=1 (2,2,1) @3
            put a=3 and put b=1 and read .. and read .. @2 and read .. @3: put, was a=2 (2,3,2), put, new, read a=3 (2,4,3), b=1 (4,4,1) of 2, read a=1 (2,2,1) of 1, read a=2 (2,3,2) of 1 @4
            get ..: a=3 (2,4,3), b=1 (4,4,1) of 2
            compact 3: floor 3
            put a=4 and read .. @2: refused, revision 2 is compacted, the oldest kept is 3
            read .. @3 and read ..: read a=2 (2,3,2) of 1, read a=3 (2,4,3), b=1 (4,4,1) of 2 @4
        "#]],
    );
}

#[test]
fn order_comes_before_the_limit_and_filters_do_not_change_the_count() {
    check(
        "
        put a=3
        put b=1
        put c=2
        put a=4
        get .. sort key desc limit 2
        get .. sort mod desc limit 1
        get .. sort version desc
        get .. sort create asc limit 2 keys
        get .. sort value asc
        get .. sort value desc keys limit 1
        get .. mod 4-4
        get .. mod 4-
        get .. create -3 limit 1
        get .. create 3- mod -4 limit 1
        get .. count limit 1
        get .. count mod 9-
        get .. limit 3
        get .. @4 sort value asc limit 1
        get .. @4 mod 3-3
        get .. @4 limit 1 keys
        get .. @4 count
        ",
        expect![[r#"
            put a=3: put, new @2
            put b=1: put, new @3
            put c=2: put, new @4
            put a=4: put, was a=3 (2,2,1) @5
            get .. sort key desc limit 2: c=2 (4,4,1), b=1 (3,3,1) and more of 3
            get .. sort mod desc limit 1: a=4 (2,5,2) and more of 3
            get .. sort version desc: a=4 (2,5,2), b=1 (3,3,1), c=2 (4,4,1) of 3
            get .. sort create asc limit 2 keys: a= (2,5,2), b= (3,3,1) and more of 3
            get .. sort value asc: b=1 (3,3,1), c=2 (4,4,1), a=4 (2,5,2) of 3
            get .. sort value desc keys limit 1: a= (2,5,2) and more of 3
            get .. mod 4-4: c=2 (4,4,1) of 3
            get .. mod 4-: a=4 (2,5,2), c=2 (4,4,1) of 3
            get .. create -3 limit 1: a=4 (2,5,2) and more of 3
            get .. create 3- mod -4 limit 1: b=1 (3,3,1) and more of 3
            get .. count limit 1: nothing of 3
            get .. count mod 9-: nothing of 3
            get .. limit 3: a=4 (2,5,2), b=1 (3,3,1), c=2 (4,4,1) of 3
            get .. @4 sort value asc limit 1: b=1 (3,3,1) and more of 3
            get .. @4 mod 3-3: b=1 (3,3,1) of 3
            get .. @4 limit 1 keys: a= (2,2,1) and more of 3
            get .. @4 count: nothing of 3
        "#]],
    );
}

#[test]
fn keys_of_a_lease_end_as_it_was_granted() {
    check(
        "
        grant 1 200 together
        grant 2 200
        grant 2 200
        grant any 9000000001000
        put a=1 lease 1 and put b=1 lease 1
        put c=1 lease 2 and put d=1 lease 2
        put a=2 lease 2
        end 1 1
        end 2 2
        end 2 2
        end 1 1
        grant 3 1500 together
        end 3 1
        get ..
        ",
        expect![[r#"
            grant 1 200 together: lease 1 of 1s
            grant 2 200: lease 2 of 200ms
            grant 2 200: refused, lease LeaseId(2) exists already
            grant any 9000000001000: refused, a lease cannot live 9000000001s, 9000000000s is the most
            put a=1 lease 1 and put b=1 lease 1: put, new, put, new @2
            put c=1 lease 2 and put d=1 lease 2: put, new, put, new @3
            put a=2 lease 2: put, was a=1 (2,2,1 lease 1) @4
            end 1 1: ended, -b was 1 @5
            end 2 2: not ended yet, -a was 2 @6, -c was 1 @7
            end 2 2: ended, -d was 1 @8
            end 1 1: refused, lease LeaseId(1) not found
            grant 3 1500 together: lease 3 of 1.5s
            end 3 1: ended, nothing
            get ..: nothing of 0
        "#]],
    );
}

#[test]
fn an_id_is_chosen_alike_and_never_one_in_use() {
    let granted = |script: &str| {
        let mut world = super::World::default();
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| world.run(line)).collect::<Vec<_>>()
    };
    let first = granted("grant any 1000");
    assert_eq!(first, granted("grant any 1000"));
    let id = first[0].split(' ').nth(1).unwrap();
    assert!(id.parse::<i64>().unwrap() > 0, "{id}");
    // The same entry finds it taken.
    let mut world = super::World { index: 100, ..super::World::default() };
    world.run(&format!("grant {id} 1000"));
    world.index = 0;
    let other = world.run("grant any 1000");
    assert!(other.starts_with("lease ") && other != first[0], "{other}");
}

#[test]
fn the_cluster_version_is_set_by_a_command() {
    let mut world = super::World::default();
    assert_eq!(world.machine.header.cluster_version, 1);
    assert_eq!(world.run("version 2"), "cluster version 2");
    assert_eq!(world.machine.header.cluster_version, 2);
}
