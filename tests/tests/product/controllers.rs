//! The controllers that the API's meaning needs, against the real server: no node runs, and what
//! kubelets would say is said here.

use anyhow::{Context, Result, ensure};
use http::Method;
use kontiki_base::pki;
use kontiki_client::Client;
use kontiki_tests::{
    command::{kubectl, run},
    eventually,
    server::Server,
};
use serde_json::{Value, json};

/// A server and its administrator.
struct Lab {
    server: Server,
    client: Client,
}

impl Lab {
    async fn start() -> Result<Lab> {
        let mut server = Server::new("one")?;
        server.start_ready().await?;
        let client = server.client()?;
        let lab = Lab { server, client };
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        eventually("the account that pods run as", || lab.get(account)).await?;
        Ok(lab)
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client.call(Method::GET, path, None).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let body = Some(("application/json", object.to_string().into_bytes()));
        let answer = self.client.call(Method::POST, path, body).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    async fn merge(&self, path: &str, patch: &Value) -> Result<()> {
        let body = Some(("application/merge-patch+json", patch.to_string().into_bytes()));
        self.client.call(Method::PATCH, path, body).await?;
        Ok(())
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.client.call(Method::DELETE, path, None).await?;
        Ok(())
    }

    /// Waits until a path is as wanted.
    async fn until(&self, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(what, || async {
            let found = self.get(path).await?;
            ensure!(holds(&found), "{found}");
            Ok(found)
        })
        .await
    }

    async fn until_gone(&self, path: &str) -> Result<()> {
        eventually("its end", || async {
            match self.client.call(Method::GET, path, None).await {
                Err(error) if error.is_not_found() => Ok(()),
                Err(error) => Err(error.into()),
                Ok(answer) => {
                    anyhow::bail!("it is there: {}", String::from_utf8_lossy(&answer.body))
                }
            }
        })
        .await
    }

    /// A pod that some kubelet says is ready.
    async fn ready_pod(&self, name: &str) -> Result<()> {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "terminationGracePeriodSeconds": 0, "containers": [
                {"name": "c", "image": "example.invalid/web:1"},
            ]},
        });
        self.create("/api/v1/namespaces/default/pods", &pod).await?;
        let status = json!({"status": {
            "phase": "Running", "podIP": "10.42.0.9", "podIPs": [{"ip": "10.42.0.9"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.merge(&format!("/api/v1/namespaces/default/pods/{name}/status"), &status).await
    }

    /// The real kubectl's words, if the machine has one.
    fn kubectl(&self, arguments: &[&str]) -> Option<Result<(bool, String)>> {
        let command = kubectl(&self.server.kubeconfig(), arguments)?;
        Some(
            run(command, None)
                .map(|done| (done.code == Some(0), format!("{}{}", done.stdout, done.stderr))),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_respect_what_must_stay() -> Result<()> {
    const BUDGET: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let lab = Lab::start().await?;
    lab.create("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await?;
    for name in ["a", "b"] {
        lab.ready_pod(name).await?;
    }
    let budget = json!({
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    lab.create(BUDGET, &budget).await?;
    let budget = format!("{BUDGET}/web");
    lab.until("one disruption", &budget, |found| found["status"]["disruptionsAllowed"] == 1)
        .await?;
    let drain = ["drain", "n1", "--force", "--timeout=1s"];
    match lab.kubectl(&drain) {
        Some(drained) => {
            let (success, text) = drained?;
            ensure!(!success, "{text}");
            ensure!(text.contains("would violate the pod's disruption budget"), "{text}");
        }
        None => {
            let eviction = json!({"metadata": {"name": "a"}});
            let path = "/api/v1/namespaces/default/pods/a/eviction";
            lab.create(path, &eviction).await?;
        }
    }
    // Whichever of them went: the other is kept, and told to be kept.
    let status = lab
        .until("no disruption left", &budget, |found| found["status"]["disruptionsAllowed"] == 0)
        .await?;
    ensure!(status["status"]["conditions"][0]["reason"] == "InsufficientPods", "{status}");
    lab.ready_pod("c").await?;
    lab.until("another one", &budget, |found| found["status"]["currentHealthy"] == 2).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_approved_and_signed() -> Result<()> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let lab = Lab::start().await?;
    let (pem, _key) = pki::signing_request()?;
    let request = |name: &str| {
        json!({
            "metadata": {"name": name},
            "spec": {
                "request": STANDARD.encode(&pem), "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client", "expirationSeconds": 3600,
            },
        })
    };
    for name in ["good", "bad"] {
        lab.create(REQUESTS, &request(name)).await?;
    }
    let decide = |name: &'static str, how: &'static str| {
        let verb = if how == "Approved" { "approve" } else { "deny" };
        lab.kubectl(&["certificate", verb, name])
    };
    for (name, how) in [("good", "Approved"), ("bad", "Denied")] {
        match decide(name, how) {
            Some(done) => ensure!(done?.0, "kubectl certificate {how}"),
            None => {
                let decision = json!({"status": {"conditions": [{"type": how, "status": "True"}]}});
                lab.merge(&format!("{REQUESTS}/{name}/approval"), &decision).await?;
            }
        }
    }
    let signed = lab
        .until("a certificate", &format!("{REQUESTS}/good"), |found| {
            found["status"]["certificate"].is_string()
        })
        .await?;
    let certificate = STANDARD.decode(signed["status"]["certificate"].as_str().context("text")?)?;
    let end = pki::requested::end_of(&String::from_utf8(certificate)?)?;
    let created: kontiki_api::k8s_openapi::jiff::Timestamp =
        signed["metadata"]["creationTimestamp"].as_str().context("a time")?.parse()?;
    ensure!((3600..3660).contains(&(end - created.as_second())), "it ends {end}");
    let denied = lab.get(&format!("{REQUESTS}/bad")).await?;
    ensure!(denied["status"]["certificate"].is_null(), "{denied}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_or_lost_its_owner_goes_and_what_is_used_stays() -> Result<()> {
    let lab = Lab::start().await?;
    let core = "/api/v1/namespaces/default";
    // A Job that ended, with a pod of its own.
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({
        "metadata": {"name": "j"},
        "spec": {"ttlSecondsAfterFinished": 0, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
        }}},
    });
    let job = lab.create(jobs, &job).await?;
    let pod = json!({
        "metadata": {"name": "jp", "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": job["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    lab.create(&format!("{core}/pods"), &pod).await?;
    let now = kontiki_api::k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let now = now.to_string();
    let done = json!({"status": {"startTime": now, "conditions": [
        {"type": "FailureTarget", "status": "True", "reason": "x", "message": "x", "lastProbeTime": now, "lastTransitionTime": now},
        {"type": "Failed", "status": "True", "reason": "x", "message": "x", "lastProbeTime": now, "lastTransitionTime": now},
    ]}});
    lab.merge(&format!("{jobs}/j/status"), &done).await?;
    lab.until_gone(&format!("{jobs}/j")).await?;
    lab.until_gone(&format!("{core}/pods/jp")).await?;
    // A claim that a pod uses.
    let claim = json!({
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    lab.create(&format!("{core}/persistentvolumeclaims"), &claim).await?;
    let user = json!({
        "metadata": {"name": "user"},
        "spec": {
            "nodeName": "n1", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        },
    });
    lab.create(&format!("{core}/pods"), &user).await?;
    let claim = format!("{core}/persistentvolumeclaims/c");
    lab.delete(&claim).await?;
    let leaving = lab.get(&claim).await?;
    ensure!(leaving["metadata"]["deletionTimestamp"].is_string(), "{leaving}");
    lab.delete(&format!("{core}/pods/user")).await?;
    lab.until_gone(&claim).await
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_endpoints_and_addresses_and_roles_their_parts() -> Result<()> {
    let lab = Lab::start().await?;
    let core = "/api/v1/namespaces/default";
    lab.ready_pod("a").await?;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let service = lab.create(&format!("{core}/services"), &service).await?;
    let endpoints = format!("{core}/endpoints/web");
    lab.until("Endpoints", &endpoints, |found| {
        found["subsets"][0]["addresses"][0]["ip"] == "10.42.0.9"
    })
    .await?;
    let ip = service["spec"]["clusterIP"].as_str().context("an address")?;
    let address = format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}");
    lab.until("the address", &address, |found| found["spec"]["parentRef"]["name"] == "web").await?;
    let range = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    lab.until("the range", range, |found| {
        found["status"]["conditions"][0]["status"] == "True"
            && found["metadata"]["finalizers"][0] == "networking.k8s.io/service-cidr-finalizer"
    })
    .await?;
    lab.delete(&format!("{core}/services/web")).await?;
    lab.until_gone(&address).await?;
    lab.until_gone(&endpoints).await?;
    // Another range, and an address of it, which nobody else can have then.
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.99.0.0/24"]}});
    lab.create(ranges, &more).await?;
    let more = format!("{ranges}/more");
    lab.until("the new range", &more, |found| found["status"]["conditions"][0]["status"] == "True")
        .await?;
    let named = json!({
        "metadata": {"name": "named"}, "spec": {"clusterIP": "10.99.0.9", "ports": [{"port": 80}]},
    });
    lab.create(&format!("{core}/services"), &named).await?;
    let address = "/apis/networking.k8s.io/v1/ipaddresses/10.99.0.9";
    lab.until("its address", address, |found| found["spec"]["parentRef"]["name"] == "named")
        .await?;
    lab.delete(&more).await?;
    lab.until("why it stays", &more, |found| {
        found["status"]["conditions"][0]["reason"] == "Terminating"
    })
    .await?;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let part = json!({
        "metadata": {
            "name": "part", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"},
        },
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}],
    });
    lab.create(roles, &part).await?;
    for role in ["view", "edit", "admin"] {
        lab.until("the new rule", &format!("{roles}/{role}"), |found| {
            let rules = found["rules"].as_array().into_iter().flatten();
            rules.into_iter().any(|rule| rule["apiGroups"] == json!(["example.com"]))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_says_what_keeps_it_and_goes_with_all_it_has() -> Result<()> {
    let lab = Lab::start().await?;
    lab.create("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await?;
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/wait"]}});
    lab.create("/api/v1/namespaces/n/configmaps", &held).await?;
    lab.create("/api/v1/namespaces/n/secrets", &json!({"metadata": {"name": "s"}})).await?;
    lab.delete("/api/v1/namespaces/n").await?;
    let message = |found: &Value, kind: &str| {
        let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
        let mut of_kind = conditions.into_iter().filter(|one| one["type"] == kind);
        of_kind.next().map(|one| format!("{} {}", one["reason"], one["message"]).replace('"', ""))
    };
    lab.until("what keeps it", "/api/v1/namespaces/n", |found| {
        message(found, "NamespaceContentRemaining").as_deref()
            == Some(
                "SomeResourcesRemain Some resources are remaining: configmaps. has 1 resource \
                 instances",
            )
            && message(found, "NamespaceFinalizersRemaining").as_deref()
                == Some(
                    "SomeFinalizersRemain Some content in the namespace has finalizers \
                     remaining: example.com/wait in 1 resource instances",
                )
    })
    .await?;
    let free = json!({"metadata": {"finalizers": null}});
    lab.merge("/api/v1/namespaces/n/configmaps/held", &free).await?;
    lab.until_gone("/api/v1/namespaces/n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_follow_their_owners_in_all_three_ways() -> Result<()> {
    let lab = Lab::start().await?;
    let (core, apps) = ("/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default");
    let deployment = |name: &str| {
        json!({
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "example.invalid/web:1"}]},
            }},
        })
    };
    for policy in ["Background", "Foreground", "Orphan"] {
        let name = policy.to_lowercase();
        lab.create(&format!("{apps}/deployments"), &deployment(&name)).await?;
        let pods = format!("{core}/pods?labelSelector=app%3D{name}");
        let sets = format!("{apps}/replicasets?labelSelector=app%3D{name}");
        let count = |list: &Value| list["items"].as_array().map_or(0, Vec::len);
        lab.until("a pod", &pods, |list| count(list) == 1).await?;
        let path = format!("{apps}/deployments/{name}");
        lab.delete(&format!("{path}?propagationPolicy={policy}")).await?;
        lab.until_gone(&path).await?;
        if policy == "Orphan" {
            let left = lab.get(&sets).await?;
            ensure!(count(&left) == 1, "{left}");
            ensure!(left["items"][0]["metadata"]["ownerReferences"].is_null(), "{left}");
            ensure!(count(&lab.get(&pods).await?) == 1, "the pod is its ReplicaSet's");
        } else {
            if policy == "Foreground" {
                ensure!(count(&lab.get(&sets).await?) == 0, "its ReplicaSet goes first");
            }
            lab.until("no pod", &pods, |list| count(list) == 0).await?;
        }
    }
    // Owners are in the dependent's own namespace, or they are none.
    lab.create("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await?;
    let owner = json!({"metadata": {"name": "owner"}});
    let owner = lab.create("/api/v1/namespaces/other/configmaps", &owner).await?;
    let owners = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
    }]);
    let stray = json!({"metadata": {"name": "stray", "ownerReferences": owners}});
    lab.create(&format!("{core}/configmaps"), &stray).await?;
    lab.until_gone(&format!("{core}/configmaps/stray")).await?;
    let events = format!("{core}/events?fieldSelector=reason%3DOwnerRefInvalidNamespace");
    lab.until("an explanation", &events, |list| {
        list["items"][0]["involvedObject"]["name"] == "stray"
            && list["items"][0]["type"] == "Warning"
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_for_tokens_are_filled_and_go_with_their_account() -> Result<()> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let lab = Lab::start().await?;
    let core = "/api/v1/namespaces/default";
    lab.create(&format!("{core}/serviceaccounts"), &json!({"metadata": {"name": "robot"}})).await?;
    let secret = json!({
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    });
    lab.create(&format!("{core}/secrets"), &secret).await?;
    let secret = format!("{core}/secrets/t");
    let filled = lab.until("a token", &secret, |found| found["data"]["token"].is_string()).await?;
    let of = |field: &str| -> Result<String> {
        let text = filled["data"][field].as_str().context(field.to_owned())?;
        Ok(String::from_utf8(STANDARD.decode(text)?)?)
    };
    ensure!(of("namespace")? == "default" && of("ca.crt")?.contains("BEGIN CERTIFICATE"));
    let review = json!({"spec": {"token": of("token")?}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let reviewed = lab.create(reviews, &review).await?;
    ensure!(reviewed["status"]["user"]["username"] == "system:serviceaccount:default:robot");
    lab.delete(&format!("{core}/serviceaccounts/robot")).await?;
    lab.until_gone(&secret).await?;
    let reviewed = lab.create(reviews, &review).await?;
    ensure!(reviewed["status"]["authenticated"] != true, "{reviewed}");
    Ok(())
}
