//! ReplicationControllers.

use kontiki_api::meta;

use super::{Printer, age_of, replica_set, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: replica_set::PRINTER.columns,
    cells: |controller, now| {
        let (spec, status) = (&controller["spec"], &controller["status"]);
        let count = |field: &str| status[field].as_i64().unwrap_or_default();
        let [containers, images] = workload::containers(&spec["template"]["spec"]);
        vec![
            meta::name(controller).into(),
            spec["replicas"].as_i64().unwrap_or_default().into(),
            count("replicas").into(),
            count("readyReplicas").into(),
            age_of(controller, now),
            containers,
            images,
            workload::labels(&spec["selector"]),
        ]
    },
};
