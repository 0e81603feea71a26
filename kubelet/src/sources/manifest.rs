//! A static pod's manifest becomes a pod, and the pod becomes its mirror. Pure.

use k8s_openapi::api::core::v1::{Pod, Toleration};
use kontiki_api::Object;
use sha2::{Digest, Sha256};

use crate::pod::labels;

/// Characters of a hash that stand for a uid, as many as upstream's have.
const UID_LENGTH: usize = 32;

/// Reads a manifest, YAML or JSON. The pod's uid follows from node and contents: an unchanged file
/// is the same pod after a restart, a changed one is another.
pub fn read(text: &str, node: &str) -> Result<Pod, String> {
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|error| format!("not valid YAML: {error}"))?;
    if value["apiVersion"] != "v1" || value["kind"] != "Pod" {
        return Err("not a Pod of apiVersion v1".to_owned());
    }
    let mut pod = Pod::from_value(value).map_err(|error| error.to_string())?;
    if pod.name().is_empty() || pod.spec.as_ref().is_none_or(|spec| spec.containers.is_empty()) {
        return Err("a pod needs a name and a container".to_owned());
    }
    let hash = Sha256::digest(format!("{node}\n{text}"));
    let uid: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let uid = uid[..UID_LENGTH].to_owned();
    let name = format!("{}-{}", pod.name(), node.to_lowercase());
    let metadata = &mut pod.metadata;
    metadata.name = Some(name);
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(labels::CONFIG_HASH.to_owned(), uid.clone());
    annotations.insert(labels::CONFIG_SOURCE.to_owned(), "file".to_owned());
    metadata.uid = Some(uid);
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    // Nothing evicts what only the node itself can stop.
    spec.tolerations.get_or_insert_default().push(Toleration {
        effect: Some("NoExecute".to_owned()),
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    });
    Ok(pod)
}

/// The pod that stands for a static pod in the API.
pub fn mirror(pod: &Pod) -> Pod {
    let mut mirror = pod.clone();
    let uid = mirror.metadata.uid.take().unwrap_or_default();
    let annotations = mirror.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::CONFIG_MIRROR.to_owned(), uid);
    mirror.status = None;
    mirror
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec::{PodExt, mirror_of};

    const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";

    #[test]
    fn a_manifest_is_one_pod_until_it_changes() {
        let pod = read(MANIFEST, "W1").unwrap();
        assert_eq!((pod.namespace(), pod.name(), pod.uid().len()), ("default", "web-w1", 32));
        assert!(pod.is_static() && !pod.is_mirror());
        assert_eq!(read(MANIFEST, "W1").unwrap().uid(), pod.uid());
        assert_ne!(read(&MANIFEST.replace("image: i", "image: j"), "W1").unwrap().uid(), pod.uid());
        let mirror = mirror(&pod);
        assert_eq!((mirror_of(&mirror), mirror.uid()), (Some(pod.uid()), ""));
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for (text, problem) in [
            ("a: [", "not valid YAML"),
            ("kind: Service\napiVersion: v1", "not a Pod of apiVersion v1"),
            ("kind: Pod\napiVersion: v1\nmetadata: {name: x}", "a pod needs a name"),
        ] {
            let error = read(text, "n").unwrap_err();
            assert!(error.starts_with(problem), "{error}");
        }
    }
}
