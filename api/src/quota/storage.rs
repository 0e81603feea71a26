//! What a claim uses: itself and its size, in all and of its class.

use serde_json::Value;

use super::Usage;
use crate::{meta, quantity::Quantity};

const CLASS: &str = ".storageclass.storage.k8s.io/";
const COUNT: &str = "persistentvolumeclaims";
const SIZE: &str = "requests.storage";

pub(super) fn concerns(name: &str) -> bool {
    let plain = name.split_once(CLASS).map_or(name, |(_, rest)| rest);
    matches!(plain, COUNT | SIZE)
}

pub(super) fn add_usage(claim: &Value, usage: &mut Usage) {
    let named = claim["spec"]["storageClassName"].as_str();
    let annotated = meta::annotation(claim, "volume.beta.kubernetes.io/storage-class");
    let class = annotated.or(named).filter(|class| !class.is_empty());
    let parse = |value: &Value| value.as_str().and_then(|text| Quantity::parse(text).ok());
    let asked = parse(&claim["spec"]["resources"]["requests"]["storage"]);
    let allocated = parse(&claim["status"]["allocatedResources"]["storage"]);
    let mut add = |name: &str, amount: Quantity| {
        usage.insert(name.to_owned(), amount);
        if let Some(class) = class {
            usage.insert(format!("{class}{CLASS}{name}"), amount);
        }
    };
    add(COUNT, Quantity::from_units(1));
    if let Some(size) = asked.max(allocated) {
        add(SIZE, size);
    }
}
