//! Every verb of the real etcdctl against three members of a store.

use anyhow::{Context, Result, ensure};
use kontiki_tests::{cluster::Cluster, etcdctl::Etcdctl, eventually};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_verbs_of_etcdctl_work() -> Result<()> {
    let cluster = Cluster::start_store().await?;
    let etcdctl = Etcdctl::of(&cluster.servers)?;
    // A fresh store is empty: what we keep for ourselves is not in it.
    assert_eq!(etcdctl.run(&["get", "", "--prefix"])?, "");
    assert_eq!(etcdctl.json(&["get", "a"])?["header"]["revision"], 1);
    keys(&etcdctl)?;
    revisions(&etcdctl)?;
    transactions(&etcdctl)?;
    leases(&etcdctl)?;
    watching(&etcdctl)?;
    locks_and_elections(&etcdctl)?;
    members(&cluster, &etcdctl)?;
    maintenance(&cluster, &etcdctl).await?;
    leadership(&cluster, &etcdctl).await
}

fn keys(etcdctl: &Etcdctl) -> Result<()> {
    for (key, value) in [("k/b", "2"), ("k/a", "3"), ("k/c", "1"), ("z", "last")] {
        assert_eq!(etcdctl.run(&["put", key, value])?, "OK");
    }
    assert_eq!(etcdctl.run(&["put", "k/a", "1", "--prev-kv"])?, "OK\nk/a\n3");
    let cases: [(&[&str], &str); 9] = [
        (&["k/a"], "k/a\n1"),
        (&["k/a", "--print-value-only"], "1"),
        (&["absent"], ""),
        (&["k/", "--prefix", "--keys-only"], "k/a\n\nk/b\n\nk/c"),
        (&["k/b", "--from-key", "--limit=2"], "k/b\n2\nk/c\n1"),
        (&["k/a", "k/c", "--print-value-only"], "1\n2"),
        (&["k/", "--prefix", "--order=DESCEND", "--keys-only"], "k/c\n\nk/b\n\nk/a"),
        (&["k/", "--prefix", "--sort-by=VALUE", "--print-value-only"], "1\n1\n2"),
        (&["k/", "--prefix", "--sort-by=MODIFY", "--order=ASCEND", "--limit=1"], "k/b\n2"),
    ];
    for (arguments, expected) in cases {
        let found = etcdctl.run(&[&["get"], arguments].concat())?;
        assert_eq!(found, expected, "get {arguments:?}");
    }
    assert_eq!(etcdctl.run(&["get", "k/c", "--consistency=s"])?, "k/c\n1");
    let limited = etcdctl.json(&["get", "k/", "--prefix", "--limit=1"])?;
    assert_eq!((&limited["count"], &limited["more"]), (&Value::from(3), &Value::from(true)));
    assert_eq!(etcdctl.run(&["put", "--ignore-value", "k/a"])?, "OK");
    let complaint = etcdctl.fail(&["put", "--ignore-value", "absent"])?;
    assert!(complaint.contains("etcdserver: key not found"), "{complaint}");
    let complaint = etcdctl.fail(&["put", "", "x"])?;
    assert!(complaint.contains("etcdserver: key is not provided"), "{complaint}");
    let large = "x".repeat(1_800_000);
    let complaint = etcdctl.finish(&["put", "large"], Some(&large))?.failure()?;
    assert!(complaint.contains("etcdserver: request is too large"), "{complaint}");
    assert_eq!(etcdctl.run(&["del", "k/a", "--prev-kv"])?, "1\nk/a\n1");
    assert_eq!(etcdctl.run(&["del", "k/", "--prefix"])?, "2");
    assert_eq!(etcdctl.run(&["del", "k/", "--prefix"])?, "0");
    Ok(())
}

fn revisions(etcdctl: &Etcdctl) -> Result<()> {
    etcdctl.run(&["put", "r", "old"])?;
    let before = etcdctl.json(&["get", "r"])?["header"]["revision"].as_u64().context("none")?;
    etcdctl.run(&["put", "r", "new"])?;
    let at = format!("--rev={before}");
    assert_eq!(etcdctl.run(&["get", "r", &at])?, "r\nold");
    let future = etcdctl.fail(&["get", "r", &format!("--rev={}", before + 1_000)])?;
    assert!(future.contains("etcdserver: mvcc: required revision is a future revision"));
    let next = (before + 1).to_string();
    assert_eq!(etcdctl.run(&["compaction", &next])?, format!("compacted revision {next}"));
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    assert!(etcdctl.fail(&["get", "r", &at])?.contains(compacted));
    assert!(etcdctl.fail(&["compaction", &next])?.contains(compacted));
    assert_eq!(etcdctl.run(&["get", "r", &format!("--rev={next}")])?, "r\nnew");
    Ok(())
}

fn transactions(etcdctl: &Etcdctl) -> Result<()> {
    let run = |text: &str| -> Result<String> {
        etcdctl.finish(&["txn"], Some(text))?.success().map(|text| text.trim_end().to_owned())
    };
    etcdctl.run(&["put", "t", "1"])?;
    let swap = "value(\"t\") = \"1\"\n\nput t 2\nget t\n\nget t\n\n";
    assert_eq!(run(swap)?, "SUCCESS\n\nOK\n\nt\n2");
    assert_eq!(run(swap)?, "FAILURE\n\nt\n2");
    assert_eq!(run("ver(\"t\") > \"1\"\nmod(\"t\") > \"1\"\n\ndel t\n\n\n")?, "SUCCESS\n\n1");
    let twice = etcdctl.finish(&["txn"], Some("\nput a 1\nput a 2\n\n\n"))?.failure()?;
    assert!(twice.contains("etcdserver: duplicate key given in txn request"), "{twice}");
    let many: String = (0..129).map(|i| format!("put many/{i} x\n")).collect();
    let many = etcdctl.finish(&["txn"], Some(&format!("\n{many}\n\n")))?.failure()?;
    assert!(many.contains("etcdserver: too many operations in txn request"), "{many}");
    Ok(())
}

fn leases(etcdctl: &Etcdctl) -> Result<()> {
    let granted = etcdctl.run(&["lease", "grant", "60"])?;
    let lease = granted.split(' ').nth(1).context("no lease")?.to_owned();
    assert_eq!(granted, format!("lease {lease} granted with TTL(60s)"));
    etcdctl.run(&["put", "leased/a", "x", &format!("--lease={lease}")])?;
    etcdctl.run(&["put", "leased/b", "x", &format!("--lease={lease}")])?;
    let left = etcdctl.run(&["lease", "timetolive", &lease, "--keys"])?;
    assert!(left.starts_with(&format!("lease {lease} granted with TTL(60s), remaining(")));
    assert!(left.ends_with("attached keys([leased/a leased/b])"), "{left}");
    assert_eq!(
        etcdctl.run(&["lease", "keep-alive", "--once", &lease])?,
        format!("lease {lease} keepalived with TTL(60)")
    );
    assert_eq!(etcdctl.run(&["lease", "list"])?, format!("found 1 leases\n{lease}"));
    assert_eq!(etcdctl.run(&["lease", "revoke", &lease])?, format!("lease {lease} revoked"));
    assert_eq!(etcdctl.run(&["get", "leased/", "--prefix"])?, "");
    let gone = etcdctl.run(&["lease", "timetolive", &lease])?;
    assert_eq!(gone, format!("lease {lease} already expired"));
    let wrong: [&[&str]; 2] = [&["lease", "revoke", &lease], &["put", "x", "y", "--lease=1234"]];
    for arguments in wrong {
        let complaint = etcdctl.fail(arguments)?;
        assert!(complaint.contains("etcdserver: requested lease not found"), "{complaint}");
    }
    // A lease that nobody renews ends, and its keys with it; one that is renewed lives on.
    let [short, kept] = ["2", "2"].map(|ttl| etcdctl.run(&["lease", "grant", ttl]));
    let id = |granted: &str| granted.split(' ').nth(1).map(str::to_owned).context("no lease");
    let (short, kept) = (id(&short?)?, id(&kept?)?);
    let keeper = etcdctl.follow(&["lease", "keep-alive", &kept])?;
    etcdctl.run(&["put", "short", "x", &format!("--lease={short}")])?;
    keeper.lines(6)?;
    assert_eq!(etcdctl.run(&["get", "short"])?, "");
    assert_eq!(etcdctl.run(&["lease", "list"])?, format!("found 1 leases\n{kept}"));
    drop(keeper);
    etcdctl.run(&["lease", "revoke", &kept]).map(drop)
}

fn watching(etcdctl: &Etcdctl) -> Result<()> {
    etcdctl.run(&["put", "w/a", "1"])?;
    let from = etcdctl.json(&["get", "w/a"])?["kvs"][0]["mod_revision"].to_string();
    etcdctl.run(&["put", "w/a", "2"])?;
    let from = format!("--rev={from}");
    let watch = etcdctl.follow(&["watch", "w/", "--prefix", "--prev-kv", &from])?;
    assert_eq!(watch.lines(8)?, ["PUT", "w/a", "1", "PUT", "w/a", "1", "w/a", "2"]);
    etcdctl.run(&["del", "w/a"])?;
    assert_eq!(watch.lines(5)?, ["DELETE", "w/a", "2", "w/a", ""]);
    let compacted = etcdctl.fail(&["watch", "w/", "--prefix", "--rev=1"])?;
    assert!(compacted.contains("required revision has been compacted"), "{compacted}");
    Ok(())
}

fn locks_and_elections(etcdctl: &Etcdctl) -> Result<()> {
    assert_eq!(etcdctl.run(&["lock", "mutex", "echo", "held"])?, "held");
    let holder = etcdctl.follow(&["lock", "mutex"])?;
    let held = holder.lines(1)?;
    assert!(held[0].starts_with("mutex/"), "{held:?}");
    let waiter = etcdctl.follow(&["lock", "mutex", "echo", "mine"])?;
    holder.interrupt()?;
    assert_eq!(waiter.lines(1)?, ["mine"]);

    let candidate = etcdctl.follow(&["elect", "office", "first"])?;
    assert_eq!(candidate.lines(2)?[1], "first");
    let observer = etcdctl.follow(&["elect", "--listen", "office"])?;
    assert_eq!(observer.lines(2)?[1], "first");
    let next = etcdctl.follow(&["elect", "office", "second"])?;
    candidate.interrupt()?;
    assert_eq!(next.lines(2)?[1], "second");
    assert_eq!(observer.lines(2)?[1], "second");
    next.interrupt()
}

fn members(cluster: &Cluster, etcdctl: &Etcdctl) -> Result<()> {
    let list = etcdctl.json(&["member", "list"])?;
    let members = list["members"].as_array().context("no members")?;
    assert_eq!(members.len(), 3, "{list}");
    for server in &cluster.servers {
        let url = format!("https://{}", server.store_address());
        let found = members.iter().find(|member| member["clientURLs"][0] == url.as_str());
        assert_eq!(found.map(|member| &member["name"]), Some(&Value::from(server.name())));
    }
    let complaint = etcdctl.fail(&["member", "remove", "123"])?;
    assert!(complaint.contains("etcdserver: member not found"), "{complaint}");
    let ours = cluster.servers[0].kontiki(&["member", "list"])?.success()?;
    assert_eq!(ours.lines().count(), 4, "{ours}");
    let wrong = etcdctl.fail(&["user", "add", "somebody:password"])?;
    assert!(wrong.contains("etcdserver: authentication is not enabled"), "{wrong}");
    Ok(())
}

/// Of every endpoint, what it answers below `field`.
fn of_endpoints(answers: &Value, part: &str, field: &str) -> Vec<Value> {
    answers.as_array().into_iter().flatten().map(|answer| answer[part][field].clone()).collect()
}

async fn maintenance(cluster: &Cluster, etcdctl: &Etcdctl) -> Result<()> {
    let health = etcdctl.json(&["endpoint", "health"])?;
    let healthy = health.as_array().into_iter().flatten().filter(|one| one["health"] == true);
    assert_eq!(healthy.count(), 3, "{health}");
    let status = etcdctl.json(&["endpoint", "status"])?;
    let leaders = of_endpoints(&status, "Status", "leader");
    assert!(leaders.len() == 3 && leaders.iter().all(|leader| *leader == leaders[0]), "{status}");
    for version in of_endpoints(&status, "Status", "version") {
        assert!(version.as_str().is_some_and(|version| version.starts_with("3.6.")), "{status}");
    }
    eventually("equal hashes", || async {
        let hashes = of_endpoints(&etcdctl.json(&["endpoint", "hashkv"])?, "HashKV", "hash");
        ensure!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        Ok(())
    })
    .await?;
    assert_eq!(etcdctl.run(&["alarm", "list"])?, "");
    assert_eq!(etcdctl.run(&["defrag"])?.matches("Finished defragmenting").count(), 3);
    let one = Etcdctl::of(&cluster.servers[..1])?;
    let file = cluster.servers[0].data_dir().join("backup.db");
    let file = file.to_str().context("a path")?;
    let saved = one.run(&["snapshot", "save", file])?;
    assert!(saved.contains(&format!("Snapshot saved at {file}")), "{saved}");
    let status = cluster.servers[0].kontiki(&["snapshot", "status", file])?.success()?;
    assert!(!status.is_empty());
    Ok(())
}

async fn leadership(cluster: &Cluster, etcdctl: &Etcdctl) -> Result<()> {
    let leader = cluster.leader(0).await?;
    let list = etcdctl.json(&["member", "list"])?;
    let id_of = |name: &str| -> Result<String> {
        let members = list["members"].as_array().context("no members")?;
        let member = members.iter().find(|member| member["name"] == name).context("no member")?;
        Ok(format!("{:x}", member["ID"].as_u64().context("no id")?))
    };
    let successor = (leader + 1) % 3;
    let target = id_of(cluster.servers[successor].name())?;
    let follower = Etcdctl::of(&cluster.servers[successor..=successor])?;
    let complaint = follower.fail(&["move-leader", &target])?;
    assert!(complaint.contains("no leader endpoint given"), "{complaint}");
    let moved = etcdctl.run(&["move-leader", &target])?;
    assert!(moved.starts_with("Leadership transferred from "), "{moved}");
    eventually("the chosen leader", || async {
        ensure!(cluster.leader(leader).await? == successor, "another leads");
        Ok(())
    })
    .await
}
