//! PodTemplates.

use kontiki_api::meta;

use super::{Printer, column, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Containers"), column("Images"), column("Pod Labels")],
    cells: |object, _| {
        let template = &object["template"];
        let [containers, images] = workload::containers(&template["spec"]);
        let labels = workload::labels(&template["metadata"]["labels"]);
        vec![meta::name(object).into(), containers, images, labels]
    },
};
