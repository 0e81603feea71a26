//! The quality-of-service class, from requests and limits.

use kontiki_api::quantity::Quantity;
use serde_json::Value;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(spec: &Value) -> &'static str {
    let lists = ["initContainers", "containers"];
    let containers: Vec<&Value> =
        lists.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten()).collect();
    let amount = |container: &Value, kind: &str, name: &str| {
        let text = container["resources"][kind][name].as_str()?;
        Quantity::parse(text).ok().filter(|quantity| !quantity.is_zero())
    };
    let asks = |container: &&Value| {
        COUNTED.iter().any(|name| {
            amount(container, "requests", name).or(amount(container, "limits", name)).is_some()
        })
    };
    let guaranteed = |container: &&Value| {
        COUNTED.iter().all(|name| {
            let limit = amount(container, "limits", name);
            let request = amount(container, "requests", name).or(limit);
            limit.is_some() && request == limit
        })
    };
    if !containers.iter().any(asks) {
        "BestEffort"
    } else if containers.iter().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::class;

    #[test]
    fn classes_follow_requests_and_limits() {
        let spec = |resources: Value| json!({"containers": [{"resources": resources}]});
        use serde_json::Value;
        assert_eq!(class(&spec(json!({}))), "BestEffort");
        assert_eq!(class(&spec(json!({"requests": {"cpu": "0"}}))), "BestEffort");
        assert_eq!(class(&spec(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(&spec(json!({"limits": both}))), "Guaranteed");
        let less = json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": both});
        assert_eq!(class(&spec(less)), "Burstable");
    }
}
