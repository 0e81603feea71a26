//! Between the versions in which the same objects are served.
//!
//! Objects are stored in one version; a row of another version says which
//! (`catalogue::Row::stored_as`), and what is written or read there passes here. Nothing may be
//! lost on the way there and back.

mod autoscaler;
mod event;

use serde_json::Value;

/// From which apiVersion, to which, of which kind, and how.
type Conversion = (&'static str, &'static str, &'static str, fn(&mut Value));

static TABLE: &[Conversion] = &[
    ("autoscaling/v1", "autoscaling/v2", "HorizontalPodAutoscaler", autoscaler::to_v2),
    ("autoscaling/v2", "autoscaling/v1", "HorizontalPodAutoscaler", autoscaler::to_v1),
    ("events.k8s.io/v1", "v1", "Event", event::to_core),
    ("v1", "events.k8s.io/v1", "Event", event::from_core),
];

/// Converts an object; tells whether there was anything to convert.
pub fn apply(from: &str, to: &str, object: &mut Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    let found = TABLE.iter().find(|(f, t, k, _)| (*f, *t, *k) == (from, to, kind));
    let Some((.., convert)) = found else { return false };
    convert(object);
    object["apiVersion"] = to.into();
    true
}

/// Moves a field to another name.
fn rename(object: &mut Value, from: &str, to: &str) {
    if let Value::Object(map) = object
        && let Some(value) = map.shift_remove(from)
    {
        map.insert(to.to_owned(), value);
    }
}

/// Takes a field out.
fn take(object: &mut Value, field: &str) -> Option<Value> {
    object.as_object_mut()?.shift_remove(field)
}

/// Puts a field in, if there is one.
fn put(object: &mut Value, field: &str, value: Option<Value>) {
    if let (Value::Object(map), Some(value)) = (object, value) {
        map.insert(field.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn round_trip(first: &str, other: &str, object: &Value) -> Value {
        let mut there = object.clone();
        assert!(apply(first, other, &mut there));
        assert_eq!(there["apiVersion"], other);
        let mut back = there.clone();
        assert!(apply(other, first, &mut back));
        assert_eq!(back, *object, "by way of {there}");
        there
    }

    #[test]
    fn events_keep_everything() {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Started", "message": "m",
            "source": {"component": "kubelet", "host": "n"}, "count": 3, "type": "Normal",
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:01Z",
            "reportingComponent": "kubelet", "reportingInstance": "n",
        });
        let new = round_trip("v1", "events.k8s.io/v1", &event);
        assert_eq!(new["regarding"]["name"], "p");
        assert_eq!((&new["note"], &new["deprecatedCount"]), (&json!("m"), &json!(3)));
        assert_eq!(new["reportingController"], "kubelet");
        assert!(new.get("message").is_none() && new.get("source").is_none());
    }

    #[test]
    fn autoscalers_keep_everything() {
        let resource = |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
        let cpu = resource("cpu", json!({"type": "Utilization", "averageUtilization": 80}));
        let simple = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "metrics": [cpu]},
            "status": {"desiredReplicas": 2, "currentReplicas": 1},
        });
        let v1 = round_trip("autoscaling/v2", "autoscaling/v1", &simple);
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(v1["metadata"].get("annotations"), None);

        let mut rich = simple;
        rich["metadata"]["annotations"] = json!({"mine": "kept"});
        rich["spec"]["behavior"] = json!({"scaleDown": {"selectPolicy": "Disabled"}});
        rich["spec"]["metrics"] = json!([
            cpu,
            resource("memory", json!({"type": "AverageValue", "averageValue": "1Gi"})),
            {"type": "Pods", "pods": {"metric": {"name": "qps", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"},
                "metric": {"name": "hits"}, "target": {"type": "Value", "value": "5"}}},
            {"type": "External", "external": {"metric": {"name": "queue"},
                "target": {"type": "AverageValue", "averageValue": "30"}}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                "target": {"type": "Utilization", "averageUtilization": 50}}},
        ]);
        rich["status"]["conditions"] = json!([{"type": "AbleToScale", "status": "True"}]);
        rich["status"]["currentMetrics"] = json!([
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "100m"}}},
            {"type": "Pods", "pods": {"metric": {"name": "qps"}, "current": {"averageValue": "7"}}},
        ]);
        let v1 = round_trip("autoscaling/v2", "autoscaling/v1", &rich);
        assert_eq!(v1["status"]["currentCPUUtilizationPercentage"], 40);
        let annotations = &v1["metadata"]["annotations"];
        let metrics = annotations["autoscaling.alpha.kubernetes.io/metrics"].as_str().unwrap();
        let metrics: Value = serde_json::from_str(metrics).unwrap();
        assert_eq!(metrics[0]["resource"], json!({"name": "memory", "targetAverageValue": "1Gi"}));
        assert_eq!(metrics[1]["pods"]["metricName"], "qps");
        assert_eq!(annotations["mine"], "kept");
    }
}
