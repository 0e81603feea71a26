//! The audit log as a policy wants it, line by line.

use kontiki_apiserver::audit::{self, Policy, Rotation};
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Cluster, config_map};

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: RequestResponse
  users: ["admin"]
  resources: [{resources: ["configmaps"]}]
- level: Metadata
  users: ["eve"]
  omitStages: ["RequestReceived"]
"#;

/// `LEVEL STAGE VERB RESOURCE CODE DECISION`, of the lines of one user.
fn lines(log: &str, user: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["user"]["username"] == user)
        .map(|event| {
            format!(
                "{} {} {} {} {} {}",
                text(&event["level"]),
                text(&event["stage"]),
                text(&event["verb"]),
                text(&event["objectRef"]["resource"]),
                event["responseStatus"]["code"],
                text(&event["annotations"]["authorization.k8s.io/decision"])
            )
        })
        .collect()
}

#[tokio::test]
async fn the_log_tells_what_the_policy_wants() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let options = audit::Options {
        policy: Policy::parse(POLICY).unwrap(),
        path: path.clone(),
        rotation: Rotation::default(),
    };
    let cluster = Cluster::start_with(|all| all.audit = Some(options)).await;
    let (admin, eve) = (cluster.admin(), cluster.user("eve", &[]));
    admin.create(CONFIG_MAPS, &config_map("a")).await.ok();
    admin.get("/api/v1/nodes").await.ok();
    assert_eq!(eve.get(CONFIG_MAPS).await.code.as_u16(), 403);
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1")).await;
    while watch.next().await.is_some() {}
    drop(watch);
    let log = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        lines(&log, "admin"),
        [
            "RequestResponse RequestReceived create configmaps null -",
            "RequestResponse ResponseComplete create configmaps 201 allow",
            "RequestResponse RequestReceived watch configmaps null -",
            "RequestResponse ResponseStarted watch configmaps 200 allow",
            "RequestResponse ResponseComplete watch configmaps 200 allow",
        ]
    );
    assert_eq!(lines(&log, "eve"), ["Metadata ResponseComplete list configmaps 403 forbid"]);
    let created: Value = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|event| event["stage"] == "ResponseComplete" && event["verb"] == "create")
        .unwrap();
    assert_eq!(created["requestObject"], config_map("a"));
    assert_eq!(created["responseObject"]["metadata"]["name"], "a");
    assert_eq!(
        created["objectRef"],
        json!({
            "resource": "configmaps", "namespace": "default", "apiVersion": "v1",
        })
    );
    cluster.stop().await;
}
