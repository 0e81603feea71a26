//! Namespaces.

use kontiki_api::meta;

use super::{Printer, age_of, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Status"), column("Age")],
    cells: |namespace, now| {
        let phase = namespace["status"]["phase"].as_str().unwrap_or_default();
        vec![meta::name(namespace).into(), phase.into(), age_of(namespace, now)]
    },
};
