//! How namespaces go, as text.

use expect_test::{Expect, expect};

use super::{
    content::{Content, Row},
    plan,
};
use crate::{
    action::Context,
    testing::{self, Fake, context},
    world::{Key, Kind},
};

fn row(kind: Kind, remaining: usize, undeleted: usize, finalizer: Option<&str>) -> Row {
    Row {
        resource: kind.resource(),
        remaining,
        undeleted,
        finalizers: finalizer.map(|name| (name.to_owned(), remaining)).into_iter().collect(),
    }
}

fn check(world: &str, rows: Vec<Row>, failures: &[&str], expected: &Expect) {
    let failures = failures.iter().map(|text| (*text).to_owned()).collect();
    let content = Content { rows, failures, ..Content::default() };
    let context = Context { content: Some(&content), ..context() };
    testing::check(&plan(&testing::world(world), &Key::new("", "default"), context), expected);
}

#[test]
fn a_namespace_in_use_is_left_alone() {
    check(
        "namespace default",
        vec![row(Kind::Pod, 1, 1, None)],
        &[],
        &expect!["because it is in use"],
    );
}

#[test]
fn pods_go_first() {
    check(
        "namespace default deleting",
        vec![row(Kind::Pod, 2, 1, None), row(Kind::Secret, 1, 1, None)],
        &[],
        &expect![[r#"
            status Namespace default {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z message:All resources successfully discovered reason:ResourcesDiscovered status:False type:NamespaceDeletionDiscoveryFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:All legacy kube types successfully parsed reason:ParsedGroupVersions status:False type:NamespaceDeletionGroupVersionParsingFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:All content successfully deleted, may be waiting on finalization reason:ContentDeleted status:False type:NamespaceDeletionContentFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:Some resources are remaining: pods. has 2 resource instances, secrets. has 1 resource instances reason:SomeResourcesRemain status:True type:NamespaceContentRemaining}, {lastTransitionTime:2033-05-18T03:33:20Z message:All content-preserving finalizers finished reason:ContentHasNoFinalizers status:False type:NamespaceFinalizersRemaining}] phase:Terminating}}
            delete all pods
            recheck after 0.1 s"#]],
    );
}

#[test]
fn then_everything_else() {
    check(
        "namespace default deleting",
        vec![row(Kind::Secret, 1, 1, None), row(Kind::Service, 1, 0, Some("example.com/wait"))],
        &[],
        &expect![[r#"
            status Namespace default {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z message:All resources successfully discovered reason:ResourcesDiscovered status:False type:NamespaceDeletionDiscoveryFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:All legacy kube types successfully parsed reason:ParsedGroupVersions status:False type:NamespaceDeletionGroupVersionParsingFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:All content successfully deleted, may be waiting on finalization reason:ContentDeleted status:False type:NamespaceDeletionContentFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:Some resources are remaining: secrets. has 1 resource instances, services. has 1 resource instances reason:SomeResourcesRemain status:True type:NamespaceContentRemaining}, {lastTransitionTime:2033-05-18T03:33:20Z message:Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances reason:SomeFinalizersRemain status:True type:NamespaceFinalizersRemaining}] phase:Terminating}}
            delete all secrets
            recheck after 0.1 s"#]],
    );
}

#[test]
fn an_empty_namespace_is_finalized_unless_something_could_not_be_looked_at() {
    check("namespace default deleting", Vec::new(), &[], &expect!["finalize default"]);
    check(
        "namespace default deleting",
        Vec::new(),
        &["widgets: refused"],
        &expect![[r#"
            status Namespace default {status:{conditions:[{lastTransitionTime:2033-05-18T03:33:20Z message:Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: widgets: refused reason:DiscoveryFailed status:True type:NamespaceDeletionDiscoveryFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:All legacy kube types successfully parsed reason:ParsedGroupVersions status:False type:NamespaceDeletionGroupVersionParsingFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:All content successfully deleted, may be waiting on finalization reason:ContentDeleted status:False type:NamespaceDeletionContentFailure}, {lastTransitionTime:2033-05-18T03:33:20Z message:All content successfully removed reason:ContentRemoved status:False type:NamespaceContentRemaining}, {lastTransitionTime:2033-05-18T03:33:20Z message:All content-preserving finalizers finished reason:ContentHasNoFinalizers status:False type:NamespaceFinalizersRemaining}] phase:Terminating}}
            because what is left is being deleted already
            recheck after 5 s"#]],
    );
}

#[test]
fn a_namespace_goes_with_all_it_contains() {
    let mut fake = Fake::new(
        "
        namespace default deleting
        namespace other
        pod a phase=Pending
        secret s
        secret s namespace=other uid=other
        ",
    );
    for _ in 0..4 {
        let kinds = [Kind::Pod, Kind::Secret];
        let rows = kinds
            .into_iter()
            .map(|kind| {
                let objects = fake.list(kind);
                let here =
                    objects.iter().filter(|object| object["metadata"]["namespace"] == "default");
                let count = here.count();
                row(kind, count, count, None)
            })
            .filter(|row| row.remaining > 0)
            .collect();
        let content = Content { rows, failures: Vec::new(), ..Content::default() };
        let context = Context { content: Some(&content), ..context() };
        let plan = plan(&fake.world, &Key::new("", "default"), context);
        fake.apply(plan, |fake| {
            let pods = fake.list(Kind::Pod).len();
            assert!(pods == 0 || fake.list(Kind::Secret).len() == 2, "pods go first");
        });
    }
    assert_eq!(fake.list(Kind::Namespace).len(), 1);
    assert_eq!(fake.list(Kind::Secret).len(), 1);
}
