//! Which container of a pod is meant. Pure.

use kontiki_api::{Status, meta};
use serde_json::Value;

fn names<'a>(pod: &'a Value, field: &str) -> Vec<&'a str> {
    let list = pod["spec"][field].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|container| container["name"].as_str()).collect()
}

/// The container named, or the only one. Which one is meant by default where there are several is
/// for clients to know, by the annotation that they read.
pub(super) fn container_of(pod: &Value, asked: &str) -> Result<String, Status> {
    let (containers, inits) = (names(pod, "containers"), names(pod, "initContainers"));
    let ephemeral = names(pod, "ephemeralContainers");
    let pod_name = meta::name(pod);
    if asked.is_empty() {
        if let [only] = containers.as_slice() {
            return Ok((*only).to_owned());
        }
        let mut message = format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            containers.join(" ")
        );
        if !inits.is_empty() {
            message.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
        }
        return Err(Status::bad_request(message));
    }
    if containers.iter().chain(&inits).chain(&ephemeral).any(|name| *name == asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_the_one_named_or_the_only_one() {
        let one = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}], "initContainers": [{"name": "i"}],
        }});
        assert_eq!(container_of(&one, "").unwrap(), "a");
        assert_eq!(
            container_of(&one, "x").unwrap_err().message,
            "container x is not valid for pod p"
        );
        let two = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}],
        }});
        assert_eq!(container_of(&two, "i").unwrap(), "i");
        assert_eq!(
            container_of(&two, "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
    }
}
