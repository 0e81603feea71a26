//! StatefulSets.

use kontiki_api::meta;

use super::{Printer, age_of, column, wide, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Ready"), column("Age"), wide("Containers"), wide("Images")],
    cells: |set, now| {
        let spec = &set["spec"];
        let ready = set["status"]["readyReplicas"].as_i64().unwrap_or_default();
        let desired = spec["replicas"].as_i64().unwrap_or_default();
        let [containers, images] = workload::containers(&spec["template"]["spec"]);
        vec![
            meta::name(set).into(),
            format!("{ready}/{desired}").into(),
            age_of(set, now),
            containers,
            images,
        ]
    },
};
