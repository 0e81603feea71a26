//! The pod-template-hash: a short name for a template.
//!
//! Like upstream's it is FNV-1a of the template and the collision count, spelt in letters that
//! form no words. The bytes hashed are the template's JSON, so the value differs from upstream's;
//! nobody may rely on it, since it is compared only with itself.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kontiki_api::Object;

/// The label that carries it.
pub(super) const LABEL: &str = "pod-template-hash";
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template.
pub(super) fn of(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    // A template is a pod without a status; a pod's encoding exists already.
    let pod = Pod {
        metadata: template.metadata.clone().unwrap_or_default(),
        spec: template.spec.clone(),
        status: None,
    };
    let mut hash = fnv1a(0x811c_9dc5, &pod.encode());
    if let Some(count) = collision_count {
        hash = fnv1a(hash, &count.to_le_bytes());
    }
    hash.to_string()
        .bytes()
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}

fn fnv1a(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Whether two templates are the same but for the hash label.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    without_hash(a) == without_hash(b)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let metadata = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(LABEL);
    }
    metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
    metadata.annotations = metadata.annotations.take().filter(|all| !all.is_empty());
    metadata.creation_timestamp = None;
    template
}
