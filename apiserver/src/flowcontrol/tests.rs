//! Seats as requests hold them.

use serde_json::json;

use super::*;
use crate::query::Query;

fn control(seats: u64) -> FlowControl {
    let control = FlowControl::new(1000);
    let level = json!({"metadata": {"name": "small"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5 * seats,
        "limitResponse": {"type": "Queue", "queuing": {
            "queues": 8, "handSize": 2, "queueLengthLimit": 2,
        }},
    }}});
    let rest = json!({"metadata": {"name": "rest"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5000 - 5 * seats - 5, "limitResponse": {"type": "Reject"},
    }}});
    let schema = json!({"metadata": {"name": "all", "uid": "u1"}, "spec": {
        "matchingPrecedence": 10,
        "priorityLevelConfiguration": {"name": "small"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{
            "subjects": [{"kind": "Group", "group": {"name": "*"}}],
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                "namespaces": ["*"],
            }],
        }],
    }});
    control.follow(&[schema], &[level, rest]);
    control
}

fn arrive(control: &FlowControl, user: &str) -> Admission {
    let info = RequestInfo::parse(&http::Method::GET, "/api/v1/pods", &Query::default());
    let groups: &[&str] = if user == "root" { &["system:masters"] } else { &[] };
    let user = UserInfo::new(user, groups);
    control.classify(&user, &info).unwrap().arrive(&user, &info, |_| 1)
}

fn served(admission: Admission) -> Seat {
    let Admission::Served(seat) = admission else { panic!("no seat") };
    seat
}

fn waits(admission: Admission) -> Waiting {
    let Admission::Waits(waiting) = admission else { panic!("it does not wait") };
    waiting
}

#[tokio::test]
async fn a_seat_goes_to_whoever_waits_when_it_is_given_back() {
    let control = control(1);
    let seat = served(arrive(&control, "a"));
    let waiting = waits(arrive(&control, "b"));
    // Whatever the level is busy with, the administrator is served.
    drop(served(arrive(&control, "root")));
    drop(seat);
    let seat = waiting.seat(Duration::from_secs(1)).await.expect("its turn");
    drop(seat);
    drop(served(arrive(&control, "c")));
}

#[tokio::test]
async fn waiting_ends_in_time_and_a_full_queue_refuses() {
    let control = control(1);
    let _seat = served(arrive(&control, "a"));
    let waiting: Vec<Waiting> = (0..4).map(|_| waits(arrive(&control, "b"))).collect();
    assert!(matches!(arrive(&control, "b"), Admission::Refused));
    let mut waiting = waiting.into_iter();
    let first = waiting.next().unwrap();
    assert!(first.seat(Duration::from_millis(5)).await.is_none());
    // It left room, and so does whoever just goes away.
    drop(waits(arrive(&control, "b")));
    drop(waits(arrive(&control, "b")));
}

#[tokio::test]
async fn whoever_gives_up_when_its_turn_has_come_passes_the_seat_on() {
    let control = control(1);
    let seat = served(arrive(&control, "a"));
    let (first, second) = (waits(arrive(&control, "b")), waits(arrive(&control, "c")));
    drop(seat);
    drop(first);
    assert!(second.seat(Duration::from_secs(1)).await.is_some());
}

#[tokio::test]
async fn an_answer_that_nobody_reads_does_not_keep_its_seat() {
    let control = control(1);
    let seat = served(arrive(&control, "a"));
    let sending = seat.while_sending(Instant::now() + Duration::from_secs(60));
    let waiting = waits(arrive(&control, "b"));
    control.adjust(Instant::now());
    control.adjust(Instant::now() + Duration::from_secs(61));
    assert!(waiting.seat(Duration::from_secs(1)).await.is_some());
    drop(sending);
}

#[tokio::test]
async fn seats_are_lent_to_those_who_ask() {
    let control = FlowControl::new(100);
    let level = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 45, "lendablePercent": 80,
            "limitResponse": {"type": "Queue", "queuing": {
                "queues": 8, "handSize": 4, "queueLengthLimit": 100,
            }},
        }}})
    };
    let schema = json!({"metadata": {"name": "all"}, "spec": {
        "matchingPrecedence": 10,
        "priorityLevelConfiguration": {"name": "one"},
        "rules": [{
            "subjects": [{"kind": "Group", "group": {"name": "*"}}],
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                "namespaces": ["*"],
            }],
        }],
    }});
    control.follow(&[schema], &[level("one"), level("two")]);
    let _seats: Vec<Seat> = (0..48).map(|_| served(arrive(&control, "a"))).collect();
    let waiting: Vec<Waiting> = (0..40).map(|_| waits(arrive(&control, "a"))).collect();
    control.adjust(Instant::now() + Duration::from_secs(10));
    // The other level lends four fifths of its 48.
    let mut got = Vec::new();
    for one in waiting {
        got.extend(one.seat(Duration::from_millis(1)).await);
    }
    assert!(got.len() >= 36, "{}", got.len());
}

#[tokio::test]
async fn dumps_tell_who_is_busy_with_what() {
    let control = control(1);
    let _seat = served(arrive(&control, "a"));
    let _waiting = waits(arrive(&control, "a"));
    let levels = control.dump("dump_priority_levels").unwrap();
    let lines: Vec<&str> = levels.lines().collect();
    assert_eq!(
        lines[0],
        "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, \
         ExecutingRequests"
    );
    let small = lines.iter().find(|line| line.starts_with("small,")).unwrap();
    let cells: Vec<&str> = small.split(',').map(str::trim).collect();
    assert_eq!((cells[2], cells[4], cells[5]), ("false", "1", "1"));
    assert!(lines.iter().any(|line| line.starts_with("exempt,")));
    let queues = control.dump("dump_queues").unwrap();
    assert!(queues.lines().count() >= 2, "{queues}");
    assert!(control.dump("nonsense").is_none());
}
