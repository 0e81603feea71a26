//! The commands that are about one kind each, and every kind listed and explained.

use super::Kubectl;

/// What no command creates.
const OBJECTS: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ds}
spec: {selector: {matchLabels: {a: ds}}, template: {metadata: {labels: {a: ds}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: sts}
spec:
  serviceName: s
  selector: {matchLabels: {a: sts}}
  template: {metadata: {labels: {a: sts}}, spec: {containers: [{name: c, image: i}]}}
  volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np}
spec: {podSelector: {matchLabels: {a: b}}}
";

/// The words by which all kinds are listed.
const KINDS: &str = "componentstatuses,configmaps,endpoints,events,limitranges,namespaces,nodes,\
                     pvc,pv,pods,podtemplates,rc,quota,secrets,sa,svc,controllerrevisions,ds,deploy,\
                     rs,sts,hpa,cj,jobs,csr,leases,endpointslices,events.events.k8s.io,flowschemas,\
                     prioritylevelconfigurations,ingressclasses,ing,ipaddresses,netpol,servicecidrs,\
                     runtimeclasses,pdb,clusterroles,rolebindings,pc,csidrivers,csinodes,\
                     csistoragecapacities,sc,volumeattachments,volumeattributesclasses";

pub(super) async fn drive(kubectl: &Kubectl<'_>) {
    let class = format!("priority-of-{}", kubectl.namespace);
    for command in [
        "create deployment web --image=web:1",
        "create job once --image=busybox -- echo hi",
        "create cronjob often --image=busybox --schedule=@hourly -- echo hi",
        "create job again --from=cronjob/often",
        "create ingress way --rule=foo.com/*=svc:80",
        "create poddisruptionbudget guard --selector=app=web --min-available=50%",
        &format!("create priorityclass {class} --value=100"),
        "create quota all --hard=pods=100,cpu=20",
        "autoscale deployment web --min=2 --max=5",
    ] {
        kubectl.ok(command, "").await;
    }
    kubectl.ok("create -f -", OBJECTS).await;
    let table = |words: &'static str| kubectl.ok(words, "");
    assert!(table("get job once -o wide").await.contains("0/1"));
    assert!(table("get cronjob often").await.contains("@hourly"));
    assert!(table("get ingress way").await.contains("foo.com"));
    assert!(table("get pdb guard").await.contains("50%"));
    assert!(table("get hpa web").await.contains("Deployment/web"));
    assert!(table("get pvc claim").await.contains("Pending"));
    assert!(table("get sts sts").await.contains("0/1"));
    kubectl.ok(&format!("get {KINDS} -A"), "").await;
    for kind in
        ["ds/ds", "sts/sts", "job/once", "cj/often", "ing/way", "pdb/guard", "hpa/web", "pvc/claim"]
    {
        let described = kubectl.ok(&format!("describe {kind}"), "").await;
        assert!(described.contains("Name:"), "{described}");
    }
    for field in ["cronjob.spec.schedule", "ingress.spec.rules", "pvc.spec", "pdb.spec", "hpa.spec"]
    {
        assert!(kubectl.ok(&format!("explain {field}"), "").await.contains("VERSION"));
    }
    kubectl.ok("scale sts sts --replicas=3", "").await;
    let refused = kubectl.refused("patch sts sts -p {\"spec\":{\"serviceName\":\"x\"}}", "").await;
    assert!(refused.contains("are forbidden"), "{refused}");
    kubectl.ok(&format!("delete pc {class}"), "").await;
    kubectl.ok("delete all,ing,pdb,pvc,quota,netpol --all --wait=false", "").await;
}
