//! Deployments.

use kontiki_api::meta;

use super::{Printer, age_of, column, number, wide, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Ready"),
        number("Up-to-date"),
        number("Available"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |deployment, now| {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let count = |field: &str| status[field].as_i64().unwrap_or_default();
        let desired = spec["replicas"].as_i64().unwrap_or_default();
        let [containers, images] = workload::containers(&spec["template"]["spec"]);
        vec![
            meta::name(deployment).into(),
            format!("{}/{desired}", count("readyReplicas")).into(),
            count("updatedReplicas").into(),
            count("availableReplicas").into(),
            age_of(deployment, now),
            containers,
            images,
            workload::selector(&spec["selector"]),
        ]
    },
};
