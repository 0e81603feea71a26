//! DaemonSets.

use kontiki_api::meta;

use super::{Printer, age_of, column, number, wide, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        number("Desired"),
        number("Current"),
        number("Ready"),
        number("Up-to-date"),
        number("Available"),
        column("Node Selector"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |set, now| {
        let (spec, status) = (&set["spec"], &set["status"]);
        let count = |field: &str| status[field].as_i64().unwrap_or_default();
        let template = &spec["template"]["spec"];
        let [containers, images] = workload::containers(template);
        vec![
            meta::name(set).into(),
            count("desiredNumberScheduled").into(),
            count("currentNumberScheduled").into(),
            count("numberReady").into(),
            count("updatedNumberScheduled").into(),
            count("numberAvailable").into(),
            workload::labels(&template["nodeSelector"]),
            age_of(set, now),
            containers,
            images,
            workload::selector(&spec["selector"]),
        ]
    },
};
