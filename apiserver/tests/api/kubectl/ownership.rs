//! `kubectl apply --server-side` and whoever else owns fields.

use super::Kubectl;

fn config(replicas: &str, image: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: owned, labels: {{app: owned}}}}
spec:
  {replicas}
  selector: {{matchLabels: {{app: owned}}}}
  template:
    metadata: {{labels: {{app: owned}}}}
    spec:
      containers: [{{name: web, image: 'web:{image}'}}]
"
    )
}

pub(super) async fn drive(kubectl: &Kubectl<'_>) {
    let one = config("replicas: 2", "1");
    let applied = kubectl.ok("apply --server-side -f -", &one).await;
    assert!(applied.contains("deployment.apps/owned serverside-applied"), "{applied}");
    let version = "get deployment owned -o jsonpath={.metadata.resourceVersion}";
    let before = kubectl.ok(version, "").await;
    kubectl.ok("apply --server-side -f -", &one).await;
    assert_eq!(kubectl.ok(version, "").await, before, "nothing changed, nothing was written");
    let shown = kubectl.ok("get deployment owned -o yaml", "").await;
    assert!(!shown.contains("managedFields"), "{shown}");
    let shown = kubectl.ok("get deployment owned -o yaml --show-managed-fields", "").await;
    assert!(shown.contains("f:replicas") && shown.contains("operation: Apply"), "{shown}");
    // Somebody else takes the image and the replicas.
    kubectl.ok("set image deployment/owned web=web:2 --field-manager=ci", "").await;
    kubectl.ok("scale deployment owned --replicas=5", "").await;
    kubectl.ok("label deployment owned tier=front --field-manager=labeller", "").await;
    let owners = r#"get deployment owned --show-managed-fields -o jsonpath={range.metadata.managedFields[*]}{.manager}/{.operation}/{.subresource}{"\n"}{end}"#;
    let owners = kubectl.ok(owners, "").await;
    for owner in ["kubectl/Apply/\n", "ci/Update/\n", "labeller/Update/\n", "/Update/scale\n"] {
        assert!(owners.contains(owner), "{owner} in {owners}");
    }
    let refused = kubectl.refused("apply --server-side -f -", &one).await;
    assert!(
        refused.contains("Apply failed with 2 conflicts: conflicts with \"ci\" using apps/v1"),
        "{refused}"
    );
    assert!(refused.contains("- .spec.template.spec.containers[name=\"web\"].image"), "{refused}");
    assert!(refused.contains("\" with subresource \"scale\" using apps/v1"), "{refused}");
    // Who does not name the replicas leaves them to others.
    let less = config("", "3");
    let diff = kubectl.run("diff --server-side --force-conflicts -f -", &less).await;
    let diff = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(diff.contains("web:3") && !diff.contains("replicas: 2"), "{diff}");
    kubectl.ok("apply --server-side --force-conflicts -f -", &less).await;
    let seen = kubectl.ok("get deployment owned -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].image}/{.metadata.labels.tier}", "").await;
    assert_eq!(seen, "5/web:3/front");
    migrates(kubectl).await;
    kubectl.ok("delete deployment owned", "").await;
}

/// What was applied from the client can be applied from the server afterwards, and the other way.
async fn migrates(kubectl: &Kubectl<'_>) {
    let config = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: moved}}\ndata: {data}\n")
    };
    kubectl.ok("apply -f -", &config("{a: '1', b: '2'}")).await;
    kubectl.ok("apply --server-side -f -", &config("{a: '3'}")).await;
    let data = kubectl.ok("get configmap moved -o jsonpath={.data}", "").await;
    assert_eq!(data, r#"{"a":"3"}"#, "what is no longer named is gone");
    let annotation = r"get configmap moved -o jsonpath={.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}";
    let annotation = kubectl.ok(annotation, "").await;
    assert!(annotation.contains(r#"{"a":"3"}"#), "{annotation}");
    kubectl.ok("apply -f -", &config("{c: '4'}")).await;
    let data = kubectl.ok("get configmap moved -o jsonpath={.data}", "").await;
    assert_eq!(data, r#"{"c":"4"}"#);
    kubectl.ok("delete configmap moved", "").await;
}
