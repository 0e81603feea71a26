//! ReplicaSets.

use kontiki_api::meta;

use super::{Printer, age_of, column, number, wide, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        number("Desired"),
        number("Current"),
        number("Ready"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |set, now| {
        let (spec, status) = (&set["spec"], &set["status"]);
        let count = |field: &str| status[field].as_i64().unwrap_or_default();
        let [containers, images] = workload::containers(&spec["template"]["spec"]);
        vec![
            meta::name(set).into(),
            spec["replicas"].as_i64().unwrap_or_default().into(),
            count("replicas").into(),
            count("readyReplicas").into(),
            age_of(set, now),
            containers,
            images,
            workload::selector(&spec["selector"]),
        ]
    },
};
